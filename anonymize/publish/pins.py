"""Pins and announcements: small files beside a dataset's versions, which readers and the catalogue read.

    <store>/<dataset>/pins/<version>/<who>.json    somebody relies on a version until a day
    <store>/<dataset>/announced/<version>.json     the day on which a version goes by the policy, though somebody pinned it

A file a pin, so that people who pin at the same time do not write over each other.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from anonymize.errors import StoreError
from anonymize.publish.backends import Backend
from anonymize.publish.store import Store, folder_of

T = TypeVar("T", bound=BaseModel)


class Pin(BaseModel):
    """Who relies on a version, and until which day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    version: str
    by: str
    until: date
    at: date


class Announcement(BaseModel):
    """On which day a version goes, and why; said on `at`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    version: str
    goes: date
    reason: str
    at: date

    def __str__(self) -> str:
        return f"goes on {self.goes:%Y-%m-%d}: {self.reason}"


def pins(store: Store, dataset: str, version: str) -> list[Pin]:
    """The pins of a version. Raises StoreError where one cannot be read: it may be somebody's."""
    folder_of(dataset, version)
    paths = [f"{dataset}/pins/{version}/{name}" for name in store.backend.files(f"{dataset}/pins/{version}") if name.endswith(".json")]
    return [_read(store.backend, path, Pin) for path in paths]


def put_pin(store: Store, pin: Pin) -> None:
    """Pin a version; the same person's earlier pin of it is replaced."""
    store.backend.put_bytes(_pin_path(pin.dataset, pin.version, pin.by), pin.model_dump_json(indent=1).encode() + b"\n")


def take_pin(store: Store, dataset: str, version: str, by: str) -> bool:
    """Give a person's pin back; whether there was one."""
    path = _pin_path(dataset, version, by)
    there = store.backend.read_bytes(path) is not None
    store.backend.delete_file(path)
    return there


def announcement(store: Store, dataset: str, version: str) -> Announcement | None:
    """The day on which a version goes; None where none was announced."""
    path = f"{dataset}/announced/{version}.json"
    return _read(store.backend, path, Announcement) if store.backend.read_bytes(path) is not None else None


def announcements(store: Store, dataset: str) -> dict[str, Announcement]:
    """What was announced of a dataset, by version."""
    named = [name.removesuffix(".json") for name in store.backend.files(f"{dataset}/announced") if name.endswith(".json")]
    found = {version: announcement(store, dataset, version) for version in named}
    return {version: said for version, said in found.items() if said is not None}


def announce(store: Store, said: Announcement) -> None:
    """Tell readers on which day a version goes."""
    store.backend.put_bytes(f"{said.dataset}/announced/{said.version}.json", said.model_dump_json(indent=1).encode() + b"\n")


def forget(store: Store, dataset: str, version: str) -> None:
    """Away with what was said of a version that is gone."""
    store.backend.delete(f"{dataset}/pins/{version}")
    store.backend.delete_file(f"{dataset}/announced/{version}.json")


def _pin_path(dataset: str, version: str, by: str) -> str:
    folder_of(dataset, version)
    return f"{dataset}/pins/{version}/{hashlib.sha256(by.casefold().encode()).hexdigest()[:16]}.json"


def _read(backend: Backend, path: str, kind: type[T]) -> T:
    try:
        return kind.model_validate_json(backend.read_bytes(path) or b"")
    except ValidationError:
        raise StoreError(f"{path} cannot be read as {'a pin' if kind is Pin else 'an announcement'}. Mend it, or write it again") from None
