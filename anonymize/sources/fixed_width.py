"""Text files without delimiters: each field has its place in the line. The policy gives the layout, or a CSV of it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from anonymize.errors import SourceError
from anonymize.policy.origins import Field_
from anonymize.sources.base import Malformed
from anonymize.sources.delimited import LIMIT


def read_layout(where: str, given: str | Sequence[Field_], folder: Path) -> list[Field_]:
    """The fields of a table. given: themselves, or the name of a CSV with the columns name, start (from 1) and width, relative to `folder`.

    Raises SourceError where it is no layout, or two fields have one name.
    """
    fields = _from_csv(where, folder / given) if isinstance(given, str) else list(given)
    names = [field.name for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not fields:
        raise SourceError(f"{where}: its layout {f'names field {twice[0]!r} twice' if twice else 'has no field'}")
    return fields


def _from_csv(where: str, file: Path) -> list[Field_]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = [{(key or "").strip().lower(): (value or "").strip() for key, value in row.items()} for row in csv.DictReader(text)]
        return [Field_(name=row["name"], start=int(row["start"]), width=int(row["width"])) for row in rows]
    except OSError as error:
        raise SourceError(f"{where}: its layout {file} cannot be read: {error.strerror}") from None
    except (KeyError, ValueError, csv.Error, AttributeError):
        raise SourceError(f"{where}: its layout {file} is no CSV with the columns name, start, width (whole numbers from 1)") from None


def fixed_records(
    text: TextIO, layout: Sequence[Field_], columns: Sequence[str], *, pad: bool
) -> Iterator[tuple[tuple[str | None, ...], int] | Malformed]:
    """The wanted fields of each line without the blanks around them, with the line's size. What stands beyond the layout is not read.

    pad: whether blanks at a line's end may be missing; else a line that ends before the layout does is malformed (`short-record`), for its last
    field may be cut.
    """
    places = {field.name: slice(field.start - 1, field.start - 1 + field.width) for field in layout}
    wanted, end = [places[column] for column in columns], max(place.stop for place in places.values())
    while line := text.readline(LIMIT):
        size = len(line)
        if size >= LIMIT and not line.endswith(("\n", "\r")):
            while (rest := text.readline(LIMIT)) and not rest.endswith(("\n", "\r")):
                pass
            yield Malformed(0, "too-large")
            continue
        line = line.rstrip("\r\n\x1a")
        if not line.strip():
            continue
        if len(line) < end and not pad:
            yield Malformed(0, "short-record", raw=line)
        else:
            yield tuple(line[place].strip() or None for place in wanted), size
