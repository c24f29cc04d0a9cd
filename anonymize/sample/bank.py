"""What the sample hospital is made of and how its notes are written, as data: `data/hospital.yaml` and `data/notes.yaml`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML


@cache
def hospital() -> dict[str, Any]:
    """Names that are words, places, codes, labs, wards, and how often each comes."""
    return _read("hospital.yaml")


@cache
def notes() -> dict[str, Any]:
    """`banks` of sentences, `kinds` of notes with their templates, and `survivors`: phrases that name nobody."""
    return _read("notes.yaml")


def draw(rnd: random.Random, weights: Mapping[Any, float]) -> Any:
    """One of the keys, by its weight."""
    return rnd.choices(list(weights), list(weights.values()))[0]


def _read(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe").load((files("anonymize.sample") / "data" / name).read_text(encoding="utf-8")))
