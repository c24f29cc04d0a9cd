"""Hierarchies of dates: the calendar, and years of birth that do not tell an age over 89."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, is_text, top

_ISO = re.compile(r"\s*([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})([T ].*)?)?)?\s*")
#: The days of the domain against which loss is measured: 130 years.
_DOMAIN = 130 * 365.25


def _takes(type: pa.DataType) -> bool:
    return pa.types.is_date(type) or pa.types.is_timestamp(type) or is_text(type)


def _iso(values: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        return pc.strftime(values, format="%Y-%m-%d")
    return values.cast(pa.string())


def _span(year: int, years: int) -> str:
    low = year // years * years
    return f"{low}-{low + years - 1}"


@dataclass(frozen=True)
class Calendar:
    """Days, months, quarters, years, and spans of 5 and 10 years. A date of less precision than a level asks for shows what it has."""

    name: str = "date"
    levels: tuple[str, ...] = ("day", "month", "quarter", "year", "5 years", "10 years", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return _takes(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(_iso(values), lambda v: _ISO.fullmatch(v) and v)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(_iso(values), lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        days = (1.0, 30.4, 91.3, 365.25, 1826.25, 3652.5, _DOMAIN)[level]
        return np.full(len(values), (days - 1) / (_DOMAIN - 1))

    def _shown(self, value: str, level: int) -> str | None:
        match = _ISO.fullmatch(value)
        if match is None:
            return None
        year, month, day = match[1], match[2], match[3]
        if level >= 3 or month is None:
            return year if level <= 3 else _span(int(year), 5 if level == 4 else 10)
        if level == 2:
            return f"{year}-Q{(int(month) + 2) // 3}"
        return f"{year}-{month}-{day}" if level == 0 and day else f"{year}-{month}"


@dataclass(frozen=True)
class Weeks:
    """Days, ISO weeks (`2024-W07`), ISO years and spans of 5 and 10 of them: a week lies in one year. Dates need their day."""

    name: str = "week"
    levels: tuple[str, ...] = ("day", "week", "ISO year", "5 years", "10 years", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return _takes(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(_iso(values), lambda v: self._shown(v, 0))))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(_iso(values), lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        days = (1.0, 7.0, 365.25, 1826.25, 3652.5, _DOMAIN)[level]
        return np.full(len(values), (days - 1) / (_DOMAIN - 1))

    def _shown(self, value: str, level: int) -> str | None:
        try:
            day = date.fromisoformat(value.strip()[:10])
        except ValueError:
            return None
        year, week, _ = day.isocalendar()
        return (str(day), f"{year}-W{week:02}", str(year))[level] if level < 3 else _span(year, (5, 10)[level - 3])


@dataclass(frozen=True)
class BirthYear:
    """Years of birth; those that tell an age over 89 in the year of reference are one value, at every level.

    reference: the year in which the release is read, from which ages are counted.
    Source: 45 CFR 164.514(b)(2)(i)(C), "all elements of dates (including year) indicative of such age".
    """

    reference: int
    name: str = "birth-year"
    levels: tuple[str, ...] = ("year", "5 years", "10 years", "20 years", ANY)

    @classmethod
    def parse(cls, argument: str) -> BirthYear:
        """`2026`; without an argument, as a run gives it its year (`Policy.counting_ages_in`), outside of one it is this year."""
        if not re.fullmatch(r"([12][0-9]{3})?", argument):
            raise ValueError("takes the year from which ages are counted, or none: then it is that of the run")
        return cls(int(argument or datetime.now(UTC).year))

    def accepts(self, type: pa.DataType) -> bool:
        return _takes(type) or pa.types.is_integer(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(_iso(values), lambda v: _ISO.fullmatch(v) and v)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(_iso(values), lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        return np.full(len(values), ((1, 5, 10, 20, 91)[level] - 1) / 90)

    def _shown(self, value: str, level: int) -> str | None:
        match = _ISO.fullmatch(value)
        if match is None:
            return None
        year, span = int(match[1]), (1, 5, 10, 20)[level]
        # Born 90 calendar years ago a person is 89 or 90: the later reading is coded.
        oldest = self.reference - 90
        low = year // span * span
        if low <= oldest:
            # A span that reaches into the coded years shows only what is not coded.
            return f"<={oldest}" if year <= oldest else f"{oldest + 1}-{low + span - 1}"
        return str(year) if span == 1 else f"{low}-{low + span - 1}"
