"""Hierarchies of numbers: ages, ranges of equal width, and coded ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, each_number, is_text, top

_AGE = re.compile(r"\s*([0-9]{1,3})(?:\.[0-9]+)?\s*\+?\s*")


def _takes(type: pa.DataType) -> bool:
    return pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type) or is_text(type)


@dataclass(frozen=True)
class Ages:
    """Ages in years, those over 89 as `90+` from the first level on; then spans of 5, 10, 20 and 40 years.

    Source: 45 CFR 164.514(b)(2)(i)(C).
    """

    name: str = "age"
    levels: tuple[str, ...] = ("1 year", "5 years", "10 years", "20 years", "40 years", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return _takes(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, _years)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(_years(v), level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        span = (1, 5, 10, 20, 40, 91)[level]
        return np.full(len(values), (span - 1) / 90)

    def _shown(self, years: str | None, level: int) -> str | None:
        if years is None:
            return None
        if int(years) > 89:
            return "90+"
        span = (1, 5, 10, 20, 40)[level]
        low = int(years) // span * span
        return years if span == 1 else f"{low}-{min(low + span - 1, 89)}"


def _years(value: str) -> str | None:
    match = _AGE.fullmatch(value)
    return str(int(match[1])) if match else None


@dataclass(frozen=True)
class Ranges:
    """Numbers in ranges of growing width between a bottom and a top, beyond which they are coded (`<0`, `>=120`)."""

    bottom: float
    ceiling: float
    widths: tuple[float, ...]
    name: str = "ranges"

    @classmethod
    def parse(cls, argument: str) -> Ranges:
        """`0..120:5,10,20`."""
        match = re.fullmatch(r"(-?[0-9.]+)\.\.(-?[0-9.]+):([0-9.]+(?:,[0-9.]+)*)", argument)
        if match is None:
            raise ValueError("needs bottom, top and widths")
        bottom, ceiling = float(match[1]), float(match[2])
        widths = tuple(float(width) for width in match[3].split(","))
        nested = all(b % a == 0 for a, b in pairwise(widths))
        if bottom >= ceiling or not all(widths) or not nested:
            raise ValueError("the bottom must be under the top, and each width a multiple of the one before")
        return cls(bottom, ceiling, widths)

    @property
    def levels(self) -> tuple[str, ...]:
        return (*(f"width {width:g}" for width in self.widths), ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return _takes(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: self._shown(v, 0))))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        return top(values) if level == len(self.widths) else checked(values, each(values, lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.widths):
            return np.ones(len(values))
        return np.full(len(values), min(1.0, (self.widths[level] - self.widths[0] / 2) / (self.ceiling - self.bottom)))

    def _shown(self, value: str, level: int) -> str | None:
        try:
            number = float(value)
        except ValueError:
            return None
        if not np.isfinite(number):
            return None
        if number < self.bottom:
            return f"<{self.bottom:g}"
        if number >= self.ceiling:
            return f">={self.ceiling:g}"
        width = self.widths[level]
        low = self.bottom + (number - self.bottom) // width * width
        return f"[{low:g}, {min(low + width, self.ceiling):g})"


@dataclass(frozen=True)
class Coded:
    """Exact numbers between a bottom and a top, beyond which they are coded (`<18`, `>89`); on each level the bounds are narrower."""

    bounds: tuple[tuple[float, float], ...]
    name: str = "coded"

    @classmethod
    def parse(cls, argument: str) -> Coded:
        """`18..89`, or `18..89,30..70`."""
        matches = [re.fullmatch(r"(-?[0-9.]+)\.\.(-?[0-9.]+)", part) for part in argument.split(",")]
        bounds = tuple((float(m[1]), float(m[2])) for m in matches if m is not None)
        inside = all(a[0] <= b[0] and b[1] <= a[1] for a, b in pairwise(bounds))
        if len(bounds) < len(matches) or not all(low < high for low, high in bounds) or not inside:
            raise ValueError("needs a bottom and a top, and each pair must lie within the one before")
        return cls(bounds, f"coded:{argument}")

    @property
    def levels(self) -> tuple[str, ...]:
        return (*(f"{low:g} to {high:g}" for low, high in self.bounds), ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return _takes(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: self._shown(v, 0))))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        return top(values) if level == len(self.bounds) else checked(values, each(values, lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        """What lies within the bounds is exact; a coded end is as wide as what was cut off of the widest bounds, a tenth of them at least."""
        if level == len(self.bounds):
            return np.ones(len(values))
        low, high = self.bounds[level]
        (bottom, ceiling), width = self.bounds[0], self.bounds[0][1] - self.bounds[0][0]
        ends = {"<": min(1.0, (low - bottom) / width + 0.1), ">": min(1.0, (ceiling - high) / width + 0.1)}
        return each_number(values, lambda v: ends.get((self._shown(v, level) or "?")[0], 0.0))

    def _shown(self, value: str, level: int) -> str | None:
        try:
            number = float(value)
        except ValueError:
            return None
        if not np.isfinite(number):
            return None
        low, high = self.bounds[level]
        return f"<{low:g}" if number < low else f">{high:g}" if number > high else repr(number).removesuffix(".0")
