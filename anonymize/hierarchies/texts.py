"""Hierarchies of texts: all or nothing, masks, and ZIP codes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, each_number, is_text, top


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
    """A code whose last characters are masked one by one: `12345`, `1234*`, `123**` …"""

    length: int
    name: str = "mask"

    @classmethod
    def parse(cls, argument: str) -> Mask:
        """`5`: codes of five characters."""
        if not argument.isdigit() or not 1 <= int(argument) <= 64:
            raise ValueError("needs the length of its codes, 1 to 64")
        return cls(int(argument))

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
        keep = self.length - level
        shown = each(_trimmed(values), lambda v: v[:keep] + "*" * level if len(v) == self.length else None)
        return checked(values, shown, self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        return np.full(len(values), (10.0**level - 1) / (10.0**self.length - 1))


def _trimmed(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(values.cast(pa.string()))


def _digits(value: str) -> str | None:
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
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, _digits)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(_digits(v), level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        return np.full(len(values), (10.0 ** (0, 2, 3, 4, 5)[level] - 1) / (10.0**5 - 1))

    def _shown(self, digits: str | None, level: int) -> str | None:
        keep = (5, 3, 2, 1)[level]
        return None if digits is None else digits[:keep] + "*" * (5 - keep)


@dataclass(frozen=True)
class Zip3:
    """The first three digits of a US ZIP; `000` where the area holds 20,000 people or fewer; then 2 and 1 digits.

    Source: 45 CFR 164.514(b)(2)(i)(B); the restricted prefixes and their census stand in `data/restricted-zip3.csv`.
    """

    name: str = "us-zip3"
    levels: tuple[str, ...] = ("3 digits", "2 digits", "1 digit", ANY)

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
            merged = (len(restricted_zip3()) - 1) / 999
            return each_number(values, lambda v: merged if self._prefix(v) == "000" else 0.0)
        return np.full(len(values), (10.0 ** (0, 1, 2, 3)[level] - 1) / 999)

    def _prefix(self, value: str) -> str | None:
        text = value.strip()
        digits = text if len(text) == 3 and text.isascii() and text.isdigit() else _digits(value)
        return None if digits is None else "000" if digits[:3] in restricted_zip3() else digits[:3]

    def _shown(self, value: str, level: int) -> str | None:
        prefix = self._prefix(value)
        return None if prefix is None else prefix[: 3 - level] + "*" * level


@cache
def restricted_zip3() -> frozenset[str]:
    """The three-digit prefixes whose area holds 20,000 people or fewer: the union of all known lists."""
    text = (files("anonymize.hierarchies") / "data" / "restricted-zip3.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(row["prefix"] for row in rows)
