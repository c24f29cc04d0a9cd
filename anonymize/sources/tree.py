"""A node of a nested record that has fields and a text of its own: an HL7 field with components, an XML element with words in it."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

_TIME = re.compile(
    r"\s*(?P<year>[0-9]{4})(?:(?P<month>[0-9]{2})(?:(?P<day>[0-9]{2})(?:(?P<hour>[0-9]{2})(?:(?P<minute>[0-9]{2})"
    r"(?:(?P<second>[0-9]{2})(?:\.?(?P<part>[0-9]{1,6})[0-9]*)?)?)?)?)?)?\s*(?P<zone>Z|[+-][0-9]{2}:?(?:[0-9]{2})?)?\s*"
)


class Branch(dict[str, Any]):
    """Fields by name, as any record has them, and `text`, which is the node's where a path ends at it."""

    @property
    def text(self) -> str | None:
        """The node as one text; None where it has none."""
        return None


def iso_time(text: str) -> str | None:
    """HL7's time (v2's DTM, v3's TS) as ISO 8601: `202108181126+0215` -> `2021-08-18T11:26+02:15`, `2014` stays. What is none stays as it
    stands, so that a date rule finds it and quarantines its record. Zeros alone are nothing: many systems write them for an unknown day.

    A time of day without minutes gets none that nobody wrote: it is `T11:00`. Midnight in full, which many systems write for a day
    (`20180205000000`), stays a time. Source: HL7 v2.9 chapter 2A.3.22 (DTM); HL7 v3 data types R1, TS.
    """
    found = _TIME.fullmatch(text)
    if found is None or not text.strip("0 "):
        return text if found is None else None
    year, month, day, hour, minute, second, part, zone = found.groups()
    # Months and days of zero mean that nobody knew: `20210800`, `20210000`.
    if month in (None, "00"):
        return year
    if day in (None, "00"):
        return f"{year}-{month}"
    if hour is None:
        return f"{year}-{month}-{day}"
    seconds = f":{second}" + (f".{part}" if part else "") if second else ""
    return f"{year}-{month}-{day}T{hour}:{minute or '00'}{seconds}{_zone(zone)}"


def iso_day(text: str) -> str | None:
    """The day of HL7's time, its month or year where no more is known; None where it is none, or no day of the calendar."""
    day = (iso_time(text) or "").strip()[:10]
    try:
        date.fromisoformat((day + "-01-01")[:10] if len(day) in (4, 7, 10) else "")
    except ValueError:
        return None
    return day


def _zone(zone: str | None) -> str:
    if zone is None or zone == "Z":
        return zone or ""
    digits = zone[1:].replace(":", "")
    return f"{zone[0]}{digits[:2]}:{digits[2:] or '00'}"
