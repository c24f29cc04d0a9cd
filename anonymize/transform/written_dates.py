"""Dates as people write them in texts: moved by days and written again in the same form, or cut to the year."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, timedelta
from itertools import permutations

from anonymize.transform.dates import FIRST_YEAR, LAST_YEAR

_TIME = re.compile(
    r"(?i)(?<=\d)(?:\s*T|\s*,?\s*(?:at\s+)?)(?<![:\d])\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[ap]\.?m\.?)?\s*(?:Z|[+-]\d{2}:?\d{2})?\s*$"
)
_PACKED = re.compile(r"(\d{4})(\d{2})(\d{2})(\d*)")
_PARTS = re.compile(r"\d+|[A-Za-z]+|[^\dA-Za-z]+")
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
_MONTH_NUMBERS = {name[:3]: number for number, name in enumerate(MONTHS, 1)}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
#: Two digits of a year up to this are of this century.
PIVOT = 30
#: Who was alive so many calendar years ago is 89 or older; the law codes ages over 89.
OLD = 90


def shift_written(text: str, days: int) -> str | None:
    """The date moved by days, in the form in which it is written: `3/4/20`, `March 4th, 2020`, `4 MAR 2020`, `2020-03-04T10:30`.

    None where the text is no whole date (no year, no day), none of the calendar, or more than one (`March 4-9, 2020`): then nobody can say
    where it moves to, and a day that did not move would tell by how much the other did.
    """
    day, time = _timed(text)
    parts = _PARTS.findall(day)
    places = _places(parts)
    if places is None:
        return _compact(text, days)
    year_at, month_at, day_at = places
    try:
        moved = date(_year(parts[year_at]), _month(parts[month_at]), int(parts[day_at])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    if not FIRST_YEAR <= moved.year <= LAST_YEAR:
        return None
    padded = all(len(parts[at]) == 2 for at in (month_at, day_at) if parts[at].isdigit()) and parts[month_at].isdigit()
    parts[year_at] = f"{moved.year % 100:02}" if len(parts[year_at]) == 2 else str(moved.year)
    parts[month_at] = _like(parts[month_at], moved.month, MONTHS[moved.month - 1], padded)
    _put_day(parts, day_at, moved.day, padded)
    for index, part in enumerate(parts):
        if any(part.lower() in (name, name[:3]) for name in DAYS):
            parts[index] = _like(part, 0, DAYS[moved.weekday()], padded)
    return "".join(parts) + time


def year_written(text: str, ages_in: int) -> str | None:
    """The year of a date, alone: `2020` of `3/4/20`, `March 4th, 2020`, `March 2020`, `2020-03-04T10:30`.

    ages_in: the year in which ages are counted. None where the text tells no year, or one that tells an age over 89.
    Source: 45 CFR 164.514(b)(2)(i)(C), "all elements of dates (except year)", and those "(including year) indicative of such age".
    """
    year = _year_of(text)
    return str(year) if year is not None and max(FIRST_YEAR, ages_in - OLD + 1) <= year <= LAST_YEAR else None


def readings(text: str) -> frozenset[date]:
    """Every day that a written date may be read as: `11.07.2023` is the 7th of November and the 11th of July. None where it is no whole date."""
    parts = [part for part in _PARTS.findall(_timed(text)[0]) if part[0].isalnum()]
    packed = _PACKED.fullmatch(text)
    if packed:
        parts = [packed[1], packed[2], packed[3]]
    values = [_MONTH_NUMBERS.get(part[:3].lower()) if part.isalpha() else int(part) for part in parts]
    numbers = [(part, value) for part, value in zip(parts, values, strict=True) if value is not None]
    if len(numbers) != 3:
        return frozenset()
    # Who writes a year first writes the month next, and a month's name is no year and no day.
    orders = [tuple(numbers)] if len(numbers[0][0]) == 4 and numbers[0][0].isdigit() else permutations(numbers)
    found = set()
    for (year, y), (_, month), (day, d) in orders:
        if year.isalpha() or day.isalpha():
            continue
        for full in {4: (y,), 2: (1900 + y, 2000 + y)}.get(len(year), ()):
            with suppress(ValueError, OverflowError):
                found.add(date(full, month, d))
    return frozenset(found)


def _year_of(text: str) -> int | None:
    parts = _PARTS.findall(_timed(text)[0])
    places = _places(parts)
    if places is not None:
        return _year(parts[places[0]])
    packed = _PACKED.fullmatch(text)
    whole = [packed[1]] if packed else [part for part in parts if part.isdigit() and len(part) == 4]
    return int(whole[0]) if len(whole) == 1 else None


def _timed(text: str) -> tuple[str, str]:
    """A text's day, and its time of day, if any."""
    match = _TIME.search(text)
    return (text[: match.start()], text[match.start() :]) if match else (text, "")


def _places(parts: list[str]) -> tuple[int, int, int] | None:
    """Where year, month and day stand among the parts; None where there are fewer numbers or months than one date has, or more."""
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    named = [index for index, part in enumerate(parts) if _named_month(part)]
    if named:
        years = [index for index in numbers if len(parts[index]) == 4]
        days = [index for index in numbers if len(parts[index]) <= 2]
        if not years and len(days) >= 2:
            years, days = days[1:2], days[:1]
        return (years[0], named[0], days[0]) if years and days and len(numbers) == 2 and len(named) == 1 else None
    if len(numbers) != 3 or any(len(parts[index]) > 4 for index in numbers):
        return None
    first, second, third = numbers
    if len(parts[first]) == 4:
        return first, second, third
    if len(parts[third]) not in (2, 4):
        return None
    # Points are the European form, with the day first, unless that is no month.
    day_first = int(parts[first]) > 12 or (parts[first + 1].strip() == "." and int(parts[second]) <= 12)
    return (third, second, first) if day_first else (third, first, second)


def _compact(text: str, days: int) -> str | None:
    """`20200304` and what follows."""
    match = _PACKED.fullmatch(text)
    if match is None:
        return None
    try:
        moved = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved:%Y%m%d}{match[4]}"


def _named_month(part: str) -> bool:
    word = part.lower()
    return len(word) >= 3 and (any(name.startswith(word) for name in MONTHS) or word == "sept")


def _month(part: str) -> int:
    return int(part) if part.isdigit() else next(i for i, name in enumerate(MONTHS, 1) if name.startswith(part.lower()[:3]))


def _year(part: str) -> int:
    number = int(part)
    if len(part) == 4:
        return number
    return number + (2000 if number <= PIVOT else 1900)


def _like(part: str, number: int, name: str, padded: bool) -> str:
    """A number with as many digits, or a name as long and in the same case."""
    if part.isdigit():
        return f"{number:02}" if padded or part.startswith("0") else str(number)
    short = name if len(part) > 4 or part.lower() in ("may", "june", "july") else name[:3]
    return short.upper() if part.isupper() else short.title() if part[0].isupper() else short


def _put_day(parts: list[str], at: int, day: int, padded: bool) -> None:
    parts[at] = f"{day:02}" if padded or parts[at].startswith("0") else str(day)
    if at + 1 < len(parts) and parts[at + 1].lower() in ("st", "nd", "rd", "th"):
        ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        parts[at + 1] = ending.upper() if parts[at + 1].isupper() else ending
