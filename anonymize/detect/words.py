"""Which words are safe to show, and which are names. Philter's lists (BSD-3-Clause, from the package philter-lite) and our own."""

from __future__ import annotations

import importlib.util
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def _philter() -> dict[str, frozenset[str]]:
    found = importlib.util.find_spec("philter_lite")
    if found is None or found.origin is None:
        raise RuntimeError("the word lists are not installed: pip install --no-deps -r requirements-models.txt")
    with (Path(found.origin).parent / "filters" / "set.toml").open("rb") as file:
        data = tomllib.load(file)
    return {name: frozenset(word for word in words if word) for name, words in _lists(data).items()}


def _lists(data: dict[str, object]) -> dict[str, list[str]]:
    """The named lists, wherever in the file they stand."""
    found: dict[str, list[str]] = {}
    for name, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            found[name] = [str(word) for word in value]
        elif isinstance(value, dict):
            found |= _lists(value)
    return found


@cache
def _own(name: str) -> frozenset[str]:
    text = (files("anonymize.detect") / "data" / f"{name}.txt").read_text(encoding="utf-8")
    return frozenset(line.strip().lower() for line in text.splitlines() if line.strip() and not line.startswith("#"))


@cache
def safe_words() -> frozenset[str]:
    """Lower-case words that are common or clinical."""
    return _philter()["nonames"] | _own("safe-words")


@cache
def eponyms() -> frozenset[str]:
    """Lower-case names that stand for diseases, signs and devices: Parkinson, Foley."""
    return _own("eponyms")


@cache
def first_names() -> frozenset[str]:
    """Lower-case given names."""
    return _philter()["firstnames"]


@cache
def last_names() -> frozenset[str]:
    """Lower-case family names."""
    return _philter()["lastnames"]


def is_common(word: str) -> bool:
    """Whether a word is one of the language or the clinic, so that as a name it counts only where written as one."""
    return word.lower() in safe_words()
