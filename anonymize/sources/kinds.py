"""The kinds of files of tables: how each is looked at before it is read, and how its records are read.

To look at a file is to prove that it is whole: a packed one is unpacked to its end, a document read to its last bracket. So a file that is cut
off gives none of its records, and not some of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.policy.origins import FileSource
from anonymize.sources.base import Malformed
from anonymize.sources.delimited import Delimited
from anonymize.sources.delimiters import SAMPLE, delimiter_name, find_delimiter
from anonymize.sources.encodings import find_encoding
from anonymize.sources.fixed_width import fixed_records, read_layout
from anonymize.sources.json_documents import json_document
from anonymize.sources.json_lines import as_text, json_lines_of
from anonymize.sources.opening import as_text_stream
from anonymize.sources.parquet import house_schema
from anonymize.sources.places import PACKED, Tree, Unreadable, faults
from anonymize.sources.sheets import Sheet, find_sheet, sheet_names, sheet_records

SUFFIXES = {
    "csv": (".csv", ".txt", ".tsv"),
    "tsv": (".tsv", ".tab", ".txt"),
    "parquet": (".parquet", ".parq"),
    "json": (".json",),
    "ndjson": (".ndjson", ".jsonl"),
    "xlsx": (".xlsx", ".xlsm"),
    "fixed": (".txt", ".dat", ".fwf", ".asc", ".prn"),
}
_CHUNK = 1 << 20
_SAMPLE_ROWS = 2_000

Values = tuple[Any, ...]
Record = tuple[Values, int] | Malformed
"""The values of the wanted columns and the record's size, or what could not be read."""


@dataclass(frozen=True)
class Part:
    """One file of a table; of a workbook one sheet."""

    path: str
    sheet: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2] + (f"#{self.sheet}" if self.sheet else "")


@dataclass(frozen=True)
class Found:
    """What a look at a file found. told: for the run's record, never a name or value; dialect: what all files of a table have in common; coded:
    columns with JSON strings, in which digits are a code."""

    header: tuple[str, ...]
    told: dict[str, str]
    dialect: str = ""
    coded: frozenset[str] = frozenset()
    schema: pa.Schema | None = None
    more: Any = field(default=None, repr=False)


class Kind(Protocol):
    """One kind of file."""

    def look(self, tree: Tree, part: Part) -> Found:
        """What the file is. Raises Unreadable where it is not whole."""
        ...

    def records(self, tree: Tree, part: Part, found: Found, columns: Sequence[str]) -> Iterator[Record]:
        """Its records, as texts."""
        ...


def kind_of(name: str, type: str) -> str:
    """The kind that a file's name says, of a source of a type; empty where it is none of it."""
    plain = name.lower()
    for packed in PACKED:
        plain = plain.removesuffix(packed)
    kinds = SUFFIXES if type == "files" else {type: SUFFIXES[type]}
    return next((kind for kind, ends in kinds.items() if kind != "fixed" or type == "fixed" if plain.endswith(ends)), "")


def stem(name: str) -> str:
    """A file's name without what its end says of its kind and packing: `visits.csv.gz` -> `visits`."""
    base = name.rpartition("/")[2]
    for packed in PACKED:
        if base.lower().endswith(packed):
            base = base[: -len(packed)]
    known = next((end for ends in SUFFIXES.values() for end in ends if base.lower().endswith(end)), "")
    return base[: -len(known)] if known else base.rpartition(".")[0] or base


def make_kind(kind: str, settings: FileSource, folder: Path, table: str) -> Kind:
    """What reads a kind of file under a source's settings. folder: the policy's; table: its `from`, for its layout."""
    if kind in ("csv", "tsv"):
        return Csv(settings)
    if kind == "xlsx":
        return Xlsx(settings)
    if kind == "fixed":
        return Fixed(settings, folder, table)
    return Json(settings.records) if kind == "json" else Ndjson()


class Csv:
    """Delimited text."""

    def __init__(self, settings: FileSource) -> None:
        self._settings = settings

    def look(self, tree: Tree, part: Part) -> Found:
        encoding = _encoding(tree, part.path, self._settings.encoding)
        with _text(tree, part.path, encoding) as text:
            sign = self._delimiter(text, part)
        with _text(tree, part.path, encoding) as text:
            header = self._records(text, sign).header
        told = {"encoding": encoding, "delimiter": delimiter_name(sign)}
        return Found(tuple(header), told, dialect=delimiter_name(sign), more=(encoding, sign))

    def records(self, tree: Tree, part: Part, found: Found, columns: Sequence[str]) -> Iterator[Record]:
        encoding, sign = found.more
        with _text(tree, part.path, encoding) as text:
            records = self._records(text, sign)
            places = [records.header.index(column) for column in columns]
            for record in records:
                yield record if isinstance(record, Malformed) else (tuple([record[0][place] for place in places]), record[1])

    def _records(self, text: Any, sign: str) -> Delimited:
        settings = self._settings
        return Delimited(text, sign, quote=settings.quote, names=settings.header, skip=settings.skip_rows)

    def _delimiter(self, text: Any, part: Part) -> str:
        if self._settings.type == "tsv" or (self._settings.delimiter == "auto" and ".tsv" in part.name.lower()):
            return "\t"
        if self._settings.delimiter != "auto":
            return self._settings.delimiter
        for _ in range(self._settings.skip_rows):
            text.readline(SAMPLE)
        return find_delimiter(text.read(SAMPLE), self._settings.quote)


class Fixed:
    """Text with a place for each field."""

    def __init__(self, settings: FileSource, folder: Path, table: str) -> None:
        self._settings, layouts = settings, settings.layout
        given = layouts.get(table, ()) if isinstance(layouts, dict) else layouts
        self._layout = read_layout(f"table '{table}'", given, folder)

    def look(self, tree: Tree, part: Part) -> Found:
        encoding = _encoding(tree, part.path, self._settings.encoding)
        return Found(tuple(one.name for one in self._layout), {"encoding": encoding}, more=encoding)

    def records(self, tree: Tree, part: Part, found: Found, columns: Sequence[str]) -> Iterator[Record]:
        with _text(tree, part.path, found.more) as text:
            for _ in range(self._settings.skip_rows):
                text.readline()
            yield from fixed_records(text, self._layout, columns, pad=self._settings.pad)


class Ndjson:
    """One JSON object a line."""

    def look(self, tree: Tree, part: Part) -> Found:
        _proven(tree, part.path)
        with closing(tree.unpacked(part.path)) as stream:
            return _of_objects(json_lines_of(stream))

    def records(self, tree: Tree, part: Part, found: Found, columns: Sequence[str]) -> Iterator[Record]:  # noqa: ARG002
        with closing(tree.unpacked(part.path)) as stream:
            yield from _values(json_lines_of(stream), columns)


class Json:
    """One JSON document with a list of records."""

    def __init__(self, path: str) -> None:
        self._path = path

    def look(self, tree: Tree, part: Part) -> Found:
        with closing(tree.unpacked(part.path)) as stream:
            return _of_objects(json_document(stream, self._path), whole=True)

    def records(self, tree: Tree, part: Part, found: Found, columns: Sequence[str]) -> Iterator[Record]:  # noqa: ARG002
        with closing(tree.unpacked(part.path)) as stream:
            yield from _values(json_document(stream, self._path), columns)


class Xlsx:
    """A sheet of a workbook."""

    def __init__(self, settings: FileSource) -> None:
        self._settings = settings

    def sheets(self, tree: Tree, path: str) -> list[str]:
        """Its visible sheets."""
        with closing(_seekable(tree, path)) as stream:
            return sheet_names(stream)

    def look(self, tree: Tree, part: Part) -> Found:
        with closing(_seekable(tree, part.path)) as stream:
            found = find_sheet(stream, part.sheet, skip=self._settings.skip_rows, header_rows=self._settings.header_rows)
        shown = tuple(column for column in found.columns if column is not None)
        hidden = {"hidden columns": "some"} if len(shown) < len(found.columns) else {}
        return Found(shown, {"kind": "xlsx", **hidden}, more=found)

    def records(self, tree: Tree, part: Part, found: Found, columns: Sequence[str]) -> Iterator[Record]:
        sheet: Sheet = found.more
        with closing(_seekable(tree, part.path)) as stream:
            yield from sheet_records(stream, sheet, columns, start=self._settings.skip_rows + self._settings.header_rows)


def look_at_parquet(tree: Tree, part: Part) -> Found:
    """A Parquet file's columns, as the house reads them; every page of them is read once, so that a damaged one shows now."""
    with closing(_seekable(tree, part.path)) as stream, faults():
        schema = house_schema(pq.read_schema(stream))
        return Found(tuple(schema.names), {"kind": "parquet"}, dialect=str(schema.to_string()), schema=schema)


def open_parquet(tree: Tree, part: Part) -> BinaryIO:
    """Its bytes, seekable."""
    return _seekable(tree, part.path)


def _seekable(tree: Tree, path: str) -> BinaryIO:
    """A file that is read here and there; a packed one is unpacked into memory, for such are small."""
    with faults():
        if path.lower().endswith(PACKED):
            with closing(tree.unpacked(path)) as stream:
                return io.BytesIO(stream.read())
        return tree.open(path)


def _encoding(tree: Tree, path: str, asked: str) -> str:
    """The encoding that the policy says, or that the file's bytes say; a packed file is unpacked to its end."""
    if asked != "auto":
        _proven(tree, path)
        return asked
    with faults(), closing(tree.unpacked(path)) as stream:
        return find_encoding(stream)


def _proven(tree: Tree, path: str) -> None:
    """Unpack a packed file to its end, and read the first byte of any. Raises Unreadable."""
    with faults(), closing(tree.unpacked(path)) as stream:
        packed = path.lower().endswith(PACKED) or ".zip/" in path.lower()
        while stream.read(_CHUNK if packed else 1) and packed:
            pass


def _text(tree: Tree, path: str, encoding: str) -> Any:
    return as_text_stream(tree.unpacked(path), encoding)


def _of_objects(records: Iterator[tuple[dict[str, Any], int] | Malformed], *, whole: bool = False) -> Found:
    """The keys of a sample of the objects, in order. whole: the rest is read too, to prove it."""
    keys: dict[str, bool] = {}
    number = 0
    with faults():
        for item in records:
            if number < _SAMPLE_ROWS and not isinstance(item, Malformed):
                for key, value in item[0].items():
                    keys[key] = keys.get(key, False) or isinstance(value, str)
                number += 1
            if number >= _SAMPLE_ROWS and not whole:
                break
    return Found(tuple(keys), {"kind": "json" if whole else "ndjson"}, coded=frozenset(key for key, coded in keys.items() if coded))


def _values(records: Iterator[tuple[dict[str, Any], int] | Malformed], columns: Sequence[str]) -> Iterator[Record]:
    for item in records:
        yield item if isinstance(item, Malformed) else (tuple([as_text(item[0].get(column)) for column in columns]), item[1])


__all__ = [
    "SUFFIXES",
    "Found",
    "Kind",
    "Part",
    "Record",
    "Unreadable",
    "Values",
    "kind_of",
    "look_at_parquet",
    "make_kind",
    "open_parquet",
    "stem",
]
