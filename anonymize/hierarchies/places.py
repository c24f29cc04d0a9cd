"""Hierarchies of places: US states and ZIP codes up to the Census Bureau's regions, and countries up to the United Nations'."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.texts import zip_digits
from anonymize.hierarchies.tools import checked, each, each_number, is_text, top

#: Where a ZIP of no known prefix stands: a misspelt one does not stop a run.
OTHER = "other"


@dataclass(frozen=True)
class State:
    """US states (`MA`, `Massachusetts`): the state, the Census Bureau's division and region.

    Source: Census Regions and Divisions of the United States; territories and the armed forces' mail are regions of their own.
    """

    name: str = "us-state"
    levels: tuple[str, ...] = ("state", "division", "region", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: _states().get(_key(v), (None,))[0])))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: _states()[_key(v)][level] if _key(v) in _states() else None), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        under = Counter(row[level] for row in set(_states().values()))
        return each_number(values, lambda v: (under[_states()[_key(v)][level]] - 1) / (len(set(_states().values())) - 1))


@dataclass(frozen=True)
class ZipState:
    """US ZIP codes up to places that people know: 5 digits, 3 digits, the state, the Census Bureau's division and region.

    Without the restriction of small areas: for that there is `us-zip3`; from the state on (`min-level: 2`) there is none to restrict. A
    prefix that serves two states stands with one of them, so a few ZIPs show the state beside their own. Source: `data/us-states.csv`.
    """

    name: str = "us-zip-state"
    levels: tuple[str, ...] = ("5 digits", "3 digits", "state", "division", "region", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, zip_digits)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(zip_digits(v), level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level in (0, 1, len(self.levels) - 1):
            return np.full(len(values), (0.0, 99 / 99_999, 1.0)[min(level, 2)])
        prefixes = Counter(_state_of(f"{prefix:03}")[level - 2] for prefix in range(1000))
        return each_number(values, lambda v: (100 * prefixes[self._shown(zip_digits(v), level) or OTHER] - 1) / 99_999)

    def _shown(self, digits: str | None, level: int) -> str | None:
        if digits is None:
            return None
        return (digits, f"{digits[:3]}**")[level] if level < 2 else _state_of(digits[:3])[level - 2]


@dataclass(frozen=True)
class Country:
    """Countries by ISO 3166 code or English name: the country (two letters), the United Nations' sub-region and region (M49)."""

    name: str = "country"
    levels: tuple[str, ...] = ("country", "sub-region", "region", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: _countries().get(_key(v), (None,))[0])))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: _countries()[_key(v)][level] if _key(v) in _countries() else None), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        every = set(_countries().values())
        under = Counter(row[level] for row in every)
        return each_number(values, lambda v: (under[_countries()[_key(v)][level]] - 1) / (len(every) - 1))


def _key(value: str) -> str:
    return " ".join(value.casefold().replace(".", "").split())


def _rows(file: str) -> list[dict[str, str]]:
    text = (files("anonymize.hierarchies") / "data" / file).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def _states() -> dict[str, tuple[str, str, str]]:
    """Code and name -> code, division, region."""
    found: dict[str, tuple[str, str, str]] = {}
    for row in _rows("us-states.csv"):
        found[_key(row["code"])] = found[_key(row["name"])] = (row["code"], row["division"], row["region"])
    return found


@cache
def _prefixes() -> dict[str, tuple[str, str, str]]:
    found = {}
    for row in _rows("us-states.csv"):
        for part in row["prefixes"].split():
            first, _, last = part.partition("-")
            for prefix in range(int(first), int(last or first) + 1):
                found[f"{prefix:03}"] = _states()[_key(row["code"])]
    return found


def _state_of(prefix: str) -> tuple[str, str, str]:
    return _prefixes().get(prefix, (OTHER, OTHER, OTHER))


@cache
def _countries() -> dict[str, tuple[str, str, str]]:
    """Two letters, three letters and name -> two letters, sub-region, region."""
    found: dict[str, tuple[str, str, str]] = {}
    for row in _rows("countries.csv"):
        names = (row["alpha2"], row["alpha3"], row["name"], row["name"].replace("&", "and"), row["name"].partition(" (")[0])
        found |= {_key(name): (row["alpha2"], row["subregion"], row["region"]) for name in names}
    return found
