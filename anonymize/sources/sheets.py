"""XLSX as a source: each visible sheet is a table, read row by row.

What a person sees in the sheet is what is read: the values of formulas as they were last calculated, dates as dates, a merged cell's value in
every cell that it covers. Hidden sheets and hidden columns are closed.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

from anonymize.sources.base import Malformed
from anonymize.sources.delimited import column_names
from anonymize.sources.places import Unreadable, faults

_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How the files begin that Excel wrote before 2007, and those that it encrypts."""
_CHUNK, _OVERLAP = 1 << 20, 1 << 16
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell ref="([A-Z]+)(\d+):([A-Z]+)(\d+)"')
_COLUMN = re.compile(rb"<(?:\w+:)?col\s[^>]*>")
_UNCALCULATED = re.compile(
    rb"<(?:\w+:)?c(\s[^>]*)?>\s*<(?:\w+:)?f(?:\s[^>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*(<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
_NOT_IN_FORMAT = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')


class Uncalculated(str):
    """Stands for a cell whose formula has no calculated value, or an error (`#REF!`) in its place."""


@dataclass(frozen=True)
class Sheet:
    """What is found of a sheet before it is read. columns: the header's names, None for a hidden column; merged: (top, left, bottom, right);
    uncalculated: cells (row, column) whose formula has no value. Rows and columns count from 1."""

    name: str
    columns: tuple[str | None, ...]
    merged: tuple[tuple[int, int, int, int], ...]
    uncalculated: frozenset[tuple[int, int]]


def sheet_names(stream: BinaryIO) -> list[str]:
    """The visible sheets of a workbook. Raises Unreadable (`encrypted`, `not-xlsx`, `damaged`)."""
    book = _open(stream)
    return [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]


def find_sheet(stream: BinaryIO, name: str, *, skip: int = 0, header_rows: int = 1) -> Sheet:
    """What stands in a sheet of that name, or in the only visible one. skip: rows above the header; header_rows: rows that make it, their words
    joined with `_`.

    Raises Unreadable: `no-sheet` where there is none, it is hidden or there are several; `bad-header`; `encrypted`, `not-xlsx`, `damaged`.
    """
    book = _open(stream)
    sheet = _chosen(book, name)
    merged, hidden, uncalculated = _scanned(stream, sheet._worksheet_path)
    rows = _cells(sheet, merged)
    for _ in range(skip):
        next(rows, None)
    header = [[_as_text(cell, value) or "" for cell, value in row] for _, row in _first(rows, header_rows)]
    width = max((last + 1 for row in header for last, text in enumerate(row) if text.strip()), default=0)
    if not width:
        raise Unreadable("empty", "It has not even a header")
    joined = [_joined([row[index] if index < len(row) else "" for row in header]) for index in range(width)]
    names = column_names(_told_apart(joined, merged, skip + 1) if header_rows == 1 else joined)
    shown = tuple(None if index + 1 in hidden else column for index, column in enumerate(names))
    return Sheet(sheet.title, shown, tuple(merged), frozenset(uncalculated))


def sheet_records(
    stream: BinaryIO, found: Sheet, columns: Sequence[str], *, start: int
) -> Iterator[tuple[tuple[str | None, ...], int] | Malformed]:
    """The wanted columns of each row that is not empty, as text, with its size. start: the number of rows above the first record.

    A Malformed for a row with a formula that has no value or an error (`formula`), and for one that is wider than the header (`ragged-row`).
    """
    book = _open(stream)
    places = [found.columns.index(column) for column in columns]
    for number, row in _cells(_chosen(book, found.name), found.merged):
        if number <= start:
            continue
        values = [_as_text(cell, value) for cell, value in row]
        empty = all(value is None or value == "" for value in values)
        if empty and not any((number, place + 1) in found.uncalculated for place in places):
            continue
        bad = [place for place in places if (number, place + 1) in found.uncalculated or isinstance(_at(values, place), Uncalculated)]
        if bad:
            yield Malformed(0, "formula", found.columns[bad[0]] or "", raw=str(values))
        elif any(value not in (None, "") for value in values[len(found.columns) :]):
            yield Malformed(0, "ragged-row", raw=str(values))
        else:
            picked = tuple(_at(values, place) for place in places)
            yield picked, sum(len(value) for value in picked if value is not None) + 1


def _at(values: list[str | None], place: int) -> str | None:
    return values[place] if place < len(values) else None


def _open(stream: BinaryIO) -> Any:
    import openpyxl

    with faults():
        stream.seek(0)
        head = stream.read(1 << 16)
        stream.seek(0)
        if head.startswith(_OLD):
            locked = "EncryptedPackage".encode("utf-16-le") in head + stream.read(8 << 20)
            hint = "Take its password off" if locked else "Save it as .xlsx"
            raise Unreadable("encrypted" if locked else "not-xlsx", hint)
        if not zipfile.is_zipfile(stream):
            raise Unreadable("cut-off" if head.startswith(b"PK\3\4") else "not-xlsx", "Save it as .xlsx again")
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)


def _chosen(book: Any, name: str) -> Any:
    visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    if name:
        visible = [sheet for sheet in visible if sheet.title == name]
    if len(visible) != 1:
        hint = "It is not there, or hidden" if name else "It has several sheets, or none: name one, BOOK#SHEET" if visible else "All are hidden"
        raise Unreadable("no-sheet", hint)
    return visible[0]


def _scanned(stream: BinaryIO, path: str) -> tuple[list[tuple[int, int, int, int]], set[int], set[tuple[int, int]]]:
    """Of a sheet's XML what openpyxl does not say when it reads row by row; its checksum is proven on the way."""
    from openpyxl.utils import column_index_from_string

    merged, hidden, uncalculated = set(), set(), set()
    with faults():
        stream.seek(0)
        with zipfile.ZipFile(stream) as packed, packed.open(path.lstrip("/")) as part:
            held = b""
            while chunk := part.read(_CHUNK):
                held = held[-_OVERLAP:] + chunk
                for left, top, right, bottom in _MERGED.findall(held):
                    edges = (int(top), column_index_from_string(left.decode()), int(bottom), column_index_from_string(right.decode()))
                    merged.add(edges)
                for column in _COLUMN.findall(held):
                    said = dict(re.findall(rb'(\w+)="([^"]*)"', column))
                    if said.get(b"hidden") in (b"1", b"true"):
                        hidden |= set(range(int(said[b"min"]), min(int(said[b"max"]), 16_384) + 1))
                for attributes, empty in _UNCALCULATED.findall(held):
                    if b't="str"' in attributes and empty:
                        continue
                    place = re.search(rb'\sr="([A-Z]+)(\d+)"', attributes)
                    if place is None:
                        raise Unreadable("formula", "It has formulas without calculated values. Open and save it in Excel")
                    uncalculated.add((int(place[2]), column_index_from_string(place[1].decode())))
    return sorted(merged), hidden, uncalculated


def _cells(sheet: Any, merged: Sequence[tuple[int, int, int, int]]) -> Iterator[tuple[int, list[tuple[Any, Any]]]]:
    """Every row's number with its cells and their values; a cell that a merged one covers has that one's value."""
    tops: dict[int, list[tuple[int, int, int, int]]] = {}
    for edges in merged:
        tops.setdefault(edges[0], []).append(edges)
    active: list[tuple[int, int, int, tuple[Any, Any]]] = []
    sheet.reset_dimensions()  # what a writer says of a sheet's size is often wrong, and cells beyond it would be lost
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, cells in enumerate(sheet.iter_rows(), 1):
            row = [(cell, cell.value) for cell in cells]
            active = [one for one in active if one[0] >= number]
            for _, left, bottom, right in tops.get(number, ()):
                active.append((bottom, left, right, row[left - 1] if left <= len(row) else (None, None)))
            for _, left, right, value in active:
                row += [(None, None)] * (right - len(row))
                row[left - 1 : right] = [value] * (right - left + 1)
            yield number, row


def _first(rows: Iterator[Any], number: int) -> Iterator[Any]:
    for _, row in zip(range(number), rows, strict=False):
        yield row


def _joined(words: list[str]) -> str:
    """The words above one column, each once."""
    return "_".join(dict.fromkeys(word.strip() for word in words if word.strip()))


def _told_apart(names: list[str], merged: Sequence[tuple[int, int, int, int]], row: int) -> list[str]:
    """The columns under one merged header cell: `Name`, `Name_2`, `Name_3`."""
    for top, left, bottom, right in merged:
        if top <= row <= bottom:
            for index in range(left, min(right, len(names))):
                names[index] = f"{names[left - 1]}_{index - left + 2}" if names[left - 1] else ""
    return names


def _as_text(cell: Any, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        kind = getattr(cell, "data_type", "")
        return value if kind != "e" or value is None else None if value == "#N/A" else Uncalculated(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        timed = bool(re.search("[hs]", _NOT_IN_FORMAT.sub("", str(getattr(cell, "number_format", ""))).lower()))
        return value.isoformat() if timed or value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)
