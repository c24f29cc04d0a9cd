"""Folders of CSV, Parquet and NDJSON files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import NoSuchTable, SourceError, without_values
from anonymize.policy.nearest import nearest
from anonymize.policy.origins import FileSource
from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, guess_type, text_batch, wanted_types
from anonymize.sources.delimited import Delimited
from anonymize.sources.json_lines import as_text, json_lines
from anonymize.sources.opening import file_faults, open_text
from anonymize.sources.parquet import parquet_batches, parquet_schema

SUFFIXES = {
    "csv": (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"),
    "parquet": (".parquet", ".parq"),
    "ndjson": (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz"),
}
SAMPLE_ROWS = 2_000
BATCH_ROWS = 10_000
BATCH_BYTES = 16 << 20

Values = tuple[Any, ...]
Record = tuple[Values, int] | Malformed
"""The values of the wanted columns and the record's size, or what could not be read."""


class FileFolder:
    """One table a file, or a glob of files, or a folder of parts. A table's name is a file's name, its stem, or a glob under `path`.

    Raises SourceError where the folder is not there or may not be read.
    """

    def __init__(self, name: str, path: Path, settings: FileSource) -> None:
        self.name, self.path, self.settings = name, path, settings
        if not path.exists():
            raise SourceError(f"source '{name}': there is no {path}")

    def tables(self) -> list[str]:
        if self.path.is_file():
            return [_stem(self.path)]
        with file_faults(f"source '{self.name}'", self.path):
            entries = [entry for entry in self.path.iterdir() if not entry.name.startswith((".", "_"))]
            files = {_stem(entry) for entry in entries if self._is_part(entry)}
            return sorted(files | {entry.name for entry in entries if entry.is_dir() and any(map(self._is_part, entry.iterdir()))})

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        self._no_query(query)
        files = self._files(table)
        if self.settings.type == "parquet":
            return parquet_schema(self._where(table), files)
        return self._sampled(table, files)

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(self._where(table), schema, columns, types)
        with without_values(self._where(table)):
            if self.settings.type == "parquet":
                yield from self._parquet(table, schema, wanted)
            else:
                yield from self._texts(table, wanted, inferred=set(wanted) - set(types or {}))

    def _where(self, table: str) -> str:
        return f"source '{self.name}', table '{table}'"

    def _is_part(self, file: Path) -> bool:
        return file.name.lower().endswith(SUFFIXES[self.settings.type]) and not file.name.startswith((".", "_")) and file.is_file()

    def _files(self, table: str) -> list[Path]:
        """A table's files in the order of their names. Raises SourceError with the nearest name where there is none."""
        with file_faults(self._where(table), self.path):
            found = sorted(self._found(table))
        if not found:
            raise NoSuchTable(f"source '{self.name}': no file for table '{table}' in {self.path}.{nearest(table, self.tables())}")
        return found

    def _found(self, table: str) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        if any(sign in table for sign in "*?["):
            return [file for file in self.path.glob(table.lstrip("/")) if file.is_file()]
        if (self.path / table).is_dir():
            return [file for file in (self.path / table).iterdir() if self._is_part(file)]
        if (self.path / table).is_file():
            return [self.path / table]
        parts = [file for file in self.path.iterdir() if self._is_part(file)]
        # `PERSON.csv` is table `person`, where there is no other.
        return [file for file in parts if _stem(file) == table] or [file for file in parts if _stem(file).lower() == table.lower()]

    def _no_query(self, query: str | None) -> None:
        if query:
            raise SourceError(f"source '{self.name}': files take no 'query'; name columns instead")

    def _parquet(self, table: str, schema: pa.Schema, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
        row = 1
        for file in self._files(table):
            with file_faults(self._where(table), file):
                for batch in parquet_batches(file, list(types), schema, rows=BATCH_ROWS, size=BATCH_BYTES):
                    numbers = pa.array(range(row, row + batch.num_rows), pa.int64())
                    yield from convert(pa.RecordBatch.from_arrays([numbers, *batch.columns], names=[ROW, *types]), types)
                    row += batch.num_rows

    def _texts(self, table: str, types: Mapping[str, pa.DataType], inferred: set[str]) -> Iterator[pa.RecordBatch | Malformed]:
        pending: list[Values] = []
        rows: list[int] = []
        row = size = 0
        for record in self._records(table, list(types)):
            row += 1
            if isinstance(record, Malformed):
                yield Malformed(row, record.reason, raw=record.raw)
                continue
            pending.append(record[0])
            rows.append(row)
            size += record[1]
            if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield from self._typed(pending, rows, types, inferred)
                pending, rows, size = [], [], 0
        yield from self._typed(pending, rows, types, inferred)

    def _typed(
        self, records: list[Values], rows: list[int], types: Mapping[str, pa.DataType], inferred: set[str]
    ) -> Iterator[pa.RecordBatch | Malformed]:
        missing = pa.array(self.settings.missing, pa.string()) if self.settings.type == "csv" else pa.array([], pa.string())
        for item in text_batch(rows, records, list(types)):
            if isinstance(item, Malformed):
                yield item
            else:
                yield from convert(_without(item, missing), types, inferred)

    def _records(self, table: str, columns: list[str]) -> Iterator[Record]:
        read = self._csv if self.settings.type == "csv" else _ndjson
        for file in self._files(table):
            with file_faults(self._where(table), file):
                yield from read(file, columns)

    def _sampled(self, table: str, files: list[Path]) -> pa.Schema:
        """The columns in their order, and the types that a sample of the records of each file is written in."""
        names = self._header(table, files) if self.settings.type == "csv" else _keys(self._where(table), files)
        missing, number = set(self.settings.missing) if self.settings.type == "csv" else set(), max(50, SAMPLE_ROWS // len(files))
        read: Callable[[Path, list[str]], Iterator[Record]] = self._csv if self.settings.type == "csv" else _ndjson
        sample: list[Values] = []
        for file in files:
            with file_faults(self._where(table), file):
                sample += _first(read(file, list(names)), number)
        columns = zip(*sample, strict=True) if sample else ([] for _ in names)
        fields = []
        for (name, coded), values in zip(names.items(), columns, strict=True):
            fields.append((name, guess_type((None if value in missing else value for value in values), numbers=not coded)))
        return pa.schema(fields)

    def _header(self, table: str, files: list[Path]) -> dict[str, bool]:
        """The columns of a table's CSV files. Raises SourceError where the files do not agree."""
        headers = []
        for file in files:
            with file_faults(self._where(table), file), open_text(file, self.settings.encoding) as text:
                headers.append(Delimited(f"{self._where(table)}, {file.name}", text, self._delimiter(file)).header)
        for file, header in zip(files, headers, strict=True):
            different = sorted(set(header) ^ set(headers[0]))
            if different:
                raise SourceError(
                    f"{self._where(table)}: its files are not of one table: column '{different[0]}' is not in both {files[0].name} and "
                    f"{file.name}. Name the files that belong together by a glob"
                )
        return dict.fromkeys(headers[0], False)

    def _csv(self, file: Path, columns: list[str]) -> Iterator[Record]:
        with open_text(file, self.settings.encoding) as text:
            records = Delimited(f"source '{self.name}', {file.name}", text, self._delimiter(file))
            pick = _picker([records.header.index(column) for column in columns])
            for record in records:
                yield record if isinstance(record, Malformed) else (pick(record[0]), record[1])

    def _delimiter(self, file: Path) -> str:
        return "\t" if ".tsv" in file.name and self.settings.delimiter == "," else self.settings.delimiter


def _ndjson(file: Path, columns: list[str]) -> Iterator[Record]:
    for line in json_lines(file):
        if isinstance(line, Malformed):
            yield line
        else:
            record, size = line
            yield tuple(as_text(record.get(column)) for column in columns), size


def _keys(where: str, files: list[Path]) -> dict[str, bool]:
    """The keys of a sample of the objects, in order, and whether one of their values is a JSON string: digits in one are a code (`"00123"`)."""
    keys: dict[str, bool] = {}
    for file in files:
        with file_faults(where, file):
            for record, _ in _first_objects(file, max(50, SAMPLE_ROWS // len(files))):
                for key, value in record.items():
                    keys[key] = keys.get(key, False) or isinstance(value, str)
    return keys


def _first_objects(file: Path, number: int) -> Iterator[tuple[dict[str, Any], int]]:
    for line in json_lines(file):
        if isinstance(line, Malformed):
            continue
        yield line
        number -= 1
        if not number:
            return


def _first(records: Iterator[Record], number: int) -> list[Values]:
    """The first good records, of no more than a batch's size."""
    found: list[Values] = []
    size = 0
    for record in records:
        if not isinstance(record, Malformed):
            found.append(record[0])
            size += record[1]
        if len(found) >= number or size >= BATCH_BYTES:
            break
    return found


def _picker(indexes: list[int]) -> Callable[[list[str]], Values]:
    """The fields at some indexes, as a tuple; itemgetter gives none for one index."""
    if not indexes:
        return lambda _: ()
    if len(indexes) == 1:
        (index,) = indexes
        return lambda fields: (fields[index],)
    return itemgetter(*indexes)


def _without(batch: pa.RecordBatch, missing: pa.Array) -> pa.RecordBatch:
    """Texts that stand for a missing value become null."""
    if not len(missing):
        return batch
    arrays = [pc.if_else(pc.is_in(column, missing), pa.scalar(None, pa.string()), column) for column in batch.columns[1:]]
    return pa.RecordBatch.from_arrays([batch[ROW], *arrays], names=batch.schema.names)


def _stem(file: Path) -> str:
    return file.with_suffix("").stem if file.suffix == ".gz" else file.stem
