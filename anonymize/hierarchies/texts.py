"""Hierarchies of texts: all or nothing, masks, and ZIP codes."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, each_number, is_text, top

#: An area of so many people or fewer is not told. Source: 45 CFR 164.514(b)(2)(i)(B).
SMALL_AREA = 20_000


@dataclass(frozen=True)
class Flat:
    """The value, or `*`."""

    name: str = "flat"
    levels: tuple[str, ...] = ("value", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type) or pa.types.is_boolean(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pa.repeat(True, len(values))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        return top(values) if level else values.cast(pa.string())

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        return np.full(len(values), float(level))


@dataclass(frozen=True)
class Ordered:
    """Categories in an order: joined by two, then by four, and so on: `none`, `none-mild`, `none-severe`."""

    values: tuple[str, ...]

    @classmethod
    def parse(cls, argument: str) -> Ordered:
        """`none<mild<moderate<severe`, from the least to the most."""
        values = tuple(value.strip() for value in argument.split("<"))
        if len(values) < 2 or not all(values) or len(set(values)) < len(values):
            raise ValueError("give two or more different categories, from the least to the most")
        return cls(values)

    @property
    def name(self) -> str:
        return f"ordered:{'<'.join(self.values)}"

    @property
    def levels(self) -> tuple[str, ...]:
        steps = (len(self.values) - 1).bit_length()
        return (*(f"{2**step} together" if step else "value" for step in range(steps)), ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: v if v in self.values else None)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        return each_number(values, lambda v: (len(self._together(v, level)) - 1) / (len(self.values) - 1))

    def _together(self, value: str, level: int) -> tuple[str, ...]:
        first = self.values.index(value) >> level << level
        return self.values[first : first + 2**level]

    def _shown(self, value: str, level: int) -> str | None:
        if value not in self.values:
            return None
        together = self._together(value, level)
        return together[0] if len(together) == 1 else f"{together[0]}-{together[-1]}"


@dataclass(frozen=True)
class Mask:
    """A code whose last characters are masked one by one: `12345`, `1234*`, `123**` …; or its first ones: `*2345`."""

    length: int
    left: bool = False
    name: str = "mask"

    @classmethod
    def parse(cls, argument: str) -> Mask:
        """`5`: codes of five characters; `5,left`: the first ones go first."""
        length, comma, side = argument.partition(",")
        if not length.isdecimal() or not 1 <= int(length) <= 64 or (comma and side not in ("left", "right")):
            raise ValueError("needs the length of its codes, 1 to 64, and 'left' where the first characters go first")
        return cls(int(length), side == "left", f"mask:{argument}")

    @property
    def levels(self) -> tuple[str, ...]:
        return (*(f"{self.length - hidden} characters" for hidden in range(self.length)), ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.fill_null(pc.equal(pc.utf8_length(_trimmed(values)), self.length), True)

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == self.length:
            return top(values)
        return checked(values, each(_trimmed(values), lambda v: self._shown(v, level)), self.name)

    def _shown(self, code: str, level: int) -> str | None:
        if len(code) != self.length:
            return None
        return "*" * level + code[level:] if self.left else code[: self.length - level] + "*" * level

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        return np.full(len(values), (10.0**level - 1) / (10.0**self.length - 1))


def _trimmed(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(values.cast(pa.string()))


def zip_digits(value: str) -> str | None:
    """The five digits of a US ZIP: of `02139`, `02139-4307`, `021394307`, and of 2139, whose zero a number lost."""
    text = value.strip().split("-")[0]
    if not (text.isascii() and text.isdigit()):
        return None
    return text[:5] if len(text) == 9 else text.zfill(5) if 3 <= len(text) <= 5 else None


@dataclass(frozen=True)
class Zip:
    """US ZIP codes: 5, 3, 2, 1 digits. Without the restriction of small areas: for that there is `us-zip3`."""

    name: str = "us-zip"
    levels: tuple[str, ...] = ("5 digits", "3 digits", "2 digits", "1 digit", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, zip_digits)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(zip_digits(v), level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        return np.full(len(values), (10.0 ** (0, 2, 3, 4, 5)[level] - 1) / (10.0**5 - 1))

    def _shown(self, digits: str | None, level: int) -> str | None:
        keep = (5, 3, 2, 1)[level]
        return None if digits is None else digits[:keep] + "*" * (5 - keep)


@cache
def restricted_zip3() -> frozenset[str]:
    """The three-digit prefixes whose area holds 20,000 people or fewer: the union of all known lists."""
    text = (files("anonymize.hierarchies") / "data" / "restricted-zip3.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(row["prefix"] for row in rows)


@dataclass(frozen=True)
class Zip3:
    """The first three digits of a US ZIP; `000` where the area holds 20,000 people or fewer; then 2 and 1 digits.

    restricted: the prefixes of small areas; by default those of `data/restricted-zip3.csv`, with their census.
    Source: 45 CFR 164.514(b)(2)(i)(B).
    """

    name: str = "us-zip3"
    levels: tuple[str, ...] = ("3 digits", "2 digits", "1 digit", ANY)
    restricted: frozenset[str] = field(default_factory=restricted_zip3, repr=False)

    @classmethod
    def load(cls, file: Path) -> Zip3:
        """By a site's own counts: a CSV with `prefix` (or `zip`; five digits are added up by their first three) and `population`.

        A prefix that the file does not have is restricted too. Raises ValueError with the line of what is wrong.
        """
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip() and not line.startswith("#")]
        reader = csv.DictReader(lines)
        where = next((name for name in ("prefix", "zip") if name in (reader.fieldnames or ())), None)
        if where is None or "population" not in (reader.fieldnames or ()):
            raise ValueError("the file's first line must name the columns 'prefix' (or 'zip') and 'population'")
        people: Counter[str] = Counter()
        for number, row in enumerate(reader, start=2):
            prefix, count = row[where].strip(), (row["population"] or "").strip()
            if not re.fullmatch(r"[0-9]{3}([0-9]{2})?", prefix) or not count.isdecimal():
                raise ValueError(f"line {number} has no prefix of three or five digits, or no whole number of people")
            people[prefix[:3]] += int(count)
        small = frozenset(prefix for prefix in (f"{n:03}" for n in range(1000)) if people[prefix] <= SMALL_AREA)
        return cls(f"us-zip3:{file.name}", restricted=small)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, self._prefix)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == 0:
            merged = (len(self.restricted) - 1) / 999
            return each_number(values, lambda v: merged if self._prefix(v) == "000" else 0.0)
        return np.full(len(values), (10.0 ** (0, 1, 2, 3)[level] - 1) / 999)

    def _prefix(self, value: str) -> str | None:
        text = value.strip()
        digits = text if len(text) == 3 and text.isascii() and text.isdigit() else zip_digits(value)
        return None if digits is None else "000" if digits[:3] in self.restricted else digits[:3]

    def _shown(self, value: str, level: int) -> str | None:
        prefix = self._prefix(value)
        return None if prefix is None else prefix[: 3 - level] + "*" * level
