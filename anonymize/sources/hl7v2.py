"""HL7 v2 messages from folders of files, as linked tables by a mapping in YAML (`mappings/hl7v2.yaml`).

Every file of the folder is read; a message, and a file, that is none falls out alone, with its reason. Messages that the standard lets be
about nobody (acknowledgements, master files) are records of the kind `other`, all others of the kind `message`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from anonymize.errors import SourceError
from anonymize.policy.origins import HL7_ID_TYPES
from anonymize.sources.base import Malformed
from anonymize.sources.folder import data_files
from anonymize.sources.hl7.er7 import Message, NotHl7, parse
from anonymize.sources.hl7.framing import messages
from anonymize.sources.hl7.groups import MERGES, Subject, first, record
from anonymize.sources.mapped import MappedSource
from anonymize.sources.mapping import read_mapping, ready_made
from anonymize.sources.opening import open_bytes

KINDS = ("message", "other")


class Hl7Folder(MappedSource):
    """The tables that a mapping makes of a folder of HL7 v2 files.

    encoding: None goes by MSH-18, then by what the bytes are. id_types, id_authorities: which of a patient's numbers (PID-3) is the
    subject's key. merges: whether a number that was given up (MRG) counts as the one that took its place, in messages before it too.
    told: the tables that the policy reads; the first with a row a message tells of what could not be read.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        mapping: str,
        policy_folder: Path,
        files: Sequence[str] = ("*",),
        encoding: str | None = None,
        id_types: Sequence[str] = HL7_ID_TYPES,
        id_authorities: Sequence[str] = (),
        merges: bool = True,
        told: Sequence[str] = (),
    ) -> None:
        super().__init__(name, read_mapping(mapping, policy_folder))
        self.path, self.files, self.encoding, self.merges = path, tuple(files), encoding, merges
        if not path.is_dir():
            raise SourceError(f"source '{name}': there is no folder {path}")
        self._subject = Subject(tuple(id_types), tuple(id_authorities))
        self.lenient = mapping in ready_made()
        self.tell_once(told, "message")

    def kinds(self) -> Collection[str]:
        return KINDS

    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
        subject, number = self.subject, 0
        for item in self._parsed(where):
            number += 1
            if isinstance(item, Message):
                try:
                    found = record(item, subject, number)
                except NotHl7 as error:
                    item = Malformed(0, str(error), raw=_raw(item))
                else:
                    if ("patients" in found) == (kind == "message"):
                        yield found, item.size
                    continue
            if kind == "message":
                yield item

    @cached_property
    def subject(self) -> Subject:
        """How a patient's key is found, with the merges of all files."""
        merged: dict[str, str] = {}
        if self.merges:
            for file in data_files(f"source '{self.name}'", self.path, self.files):
                if _may_merge(file):
                    for item in messages(file):
                        merged |= _merged(item, self.encoding, self._subject)
        return Subject(self._subject.types, self._subject.authorities, merged)

    def _parsed(self, where: str) -> Iterator[Message | Malformed]:
        for file in data_files(where, self.path, self.files):
            empty = True
            for item in messages(file):
                empty = False
                if isinstance(item, Malformed):
                    yield item
                    continue
                try:
                    yield parse(item, self.encoding)
                except NotHl7 as error:
                    yield Malformed(0, str(error), raw=b"\r".join(item).decode("utf-8", "replace"))
            if empty:
                yield Malformed(0, "empty-file")


def _may_merge(file: Path) -> bool:
    """Whether a file holds an MRG segment, by its bytes: few do, and only these are read twice."""
    tail = b""
    try:
        with open_bytes(file) as stream:
            while piece := stream.read(1 << 20):
                if b"MRG" in tail + piece or b"M\0R\0G" in tail + piece:
                    return True
                tail = piece[-8:]
    except (OSError, EOFError, ValueError):
        # What is wrong with it is told when it is read.
        return False
    return False


def _merged(item: list[bytes] | Malformed, encoding: str | None, subject: Subject) -> dict[str, str]:
    """The numbers that a message gives up, each with the one that stays: an MRG belongs to the PID before it."""
    if isinstance(item, Malformed) or not any(line.startswith(b"MRG") for line in item):
        return {}
    try:
        message = parse(item, encoding)
    except NotHl7:
        return {}
    if first([part.get("2") for part in message.header.get("9") if isinstance(part, dict)]) not in MERGES:
        return {}
    merged: dict[str, str] = {}
    stays: str | None = None
    for segment in message.segments:
        if segment.name == "PID":
            stays, _ = subject.of(segment)
        elif segment.name == "MRG" and stays is not None:
            merged |= {gone: stays for gone in subject.retired(segment) if gone != stays}
    return merged


def _raw(message: Message) -> str:
    return "\r".join(segment.signs.field.join(segment.fields) for segment in message.segments)
