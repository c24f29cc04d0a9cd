"""Folders of CSV, Parquet and NDJSON files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import SourceError, without_values
from anonymize.policy.model import FileSource
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, guess_type, wanted_types

SUFFIXES = {
    "csv": (".csv", ".tsv", ".txt", ".csv.gz"),
    "parquet": (".parquet", ".parq"),
    "ndjson": (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz"),
}
SAMPLE_ROWS = 2_000
BATCH_ROWS = 10_000
BATCH_BYTES = 16 << 20
csv.field_size_limit(min(sys.maxsize, 1 << 30))

Records = Iterator[dict[str, str | None] | Malformed]


class FileFolder:
    """One table a file, or a glob of files, or a folder of parts. A table's name is a file's name, its stem, or a glob under `path`."""

    def __init__(self, name: str, path: Path, settings: FileSource) -> None:
        self.name, self.path, self.settings = name, path, settings
        if not path.exists():
            raise SourceError(f"source '{name}': there is no {path}")

    def tables(self) -> list[str]:
        suffixes = SUFFIXES[self.settings.type]
        if self.path.is_file():
            return [_stem(self.path)]
        files = {_stem(file) for file in self.path.iterdir() if file.name.lower().endswith(suffixes)}
        folders = {folder.name for folder in self.path.iterdir() if folder.is_dir() and any(f.name.endswith(suffixes) for f in folder.iterdir())}
        return sorted(files | folders)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        self._no_query(query)
        files = self._files(table)
        with without_values(f"source '{self.name}', table '{table}'"):
            if self.settings.type == "parquet":
                return _plain_schema(pq.read_schema(files[0]))
            return self._sampled(files)

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        self._no_query(query)
        schema = self.schema(table)
        wanted = wanted_types(f"source '{self.name}', table '{table}'", schema, columns, types)
        read = self._parquet if self.settings.type == "parquet" else self._texts
        with without_values(f"source '{self.name}', table '{table}'"):
            yield from read(self._files(table), wanted)

    def _files(self, table: str) -> list[Path]:
        suffixes = SUFFIXES[self.settings.type]
        if self.path.is_file():
            found = [self.path]
        elif any(sign in table for sign in "*?["):
            found = sorted(self.path.glob(table))
        elif (self.path / table).is_dir():
            found = sorted(file for file in (self.path / table).iterdir() if file.name.lower().endswith(suffixes))
        else:
            found = [
                file
                for file in sorted(self.path.iterdir())
                if file.name == table or (_stem(file) == table and file.name.lower().endswith(suffixes))
            ]
        if not found:
            raise SourceError(f"source '{self.name}': no file for table '{table}' in {self.path}.{nearest(table, self.tables())}")
        return found

    def _no_query(self, query: str | None) -> None:
        if query:
            raise SourceError(f"source '{self.name}': files take no 'query'; name columns instead")

    def _parquet(self, files: list[Path], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
        row = 1
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=list(types)):
                arrays = [pa.array(range(row, row + batch.num_rows), pa.int64()), *(_decoded(batch[name]) for name in types)]
                yield from convert(pa.RecordBatch.from_arrays(arrays, names=[ROW, *types]), types)
                row += batch.num_rows

    def _texts(self, files: list[Path], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
        row, pending, rows, size = 0, [], [], 0
        for file in files:
            for record in self._records(file):
                row += 1
                if isinstance(record, Malformed):
                    yield Malformed(row, record.reason, raw=record.raw)
                    continue
                pending.append(record)
                rows.append(row)
                size += sum(len(record.get(name) or "") for name in types)
                if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                    yield from convert(_text_batch(pending, rows, types), types)
                    pending, rows, size = [], [], 0
        yield from convert(_text_batch(pending, rows, types), types)

    def _sampled(self, files: list[Path]) -> pa.Schema:
        """Column names of the first file, in its order, and the types that a sample of its records is written in."""
        names: dict[str, None] = {}
        sample: list[dict[str, str | None]] = []
        if self.settings.type == "csv":
            names = dict.fromkeys(self._header(files[0]))
        for record in self._records(files[0]):
            if not isinstance(record, Malformed):
                names |= dict.fromkeys(record)
                sample.append(record)
            if len(sample) >= SAMPLE_ROWS:
                break
        return pa.schema([(name, guess_type(record.get(name) for record in sample)) for name in names])

    def _records(self, file: Path) -> Records:
        return self._csv(file) if self.settings.type == "csv" else _ndjson(file)

    def _header(self, file: Path) -> list[str]:
        with self._text(file) as text:
            return [name.strip() for name in next(csv.reader(text, delimiter=self._delimiter(file)), [])]

    def _csv(self, file: Path) -> Records:
        header, missing = self._header(file), set(self.settings.missing)
        with self._text(file) as text:
            reader = csv.reader(text, delimiter=self._delimiter(file))
            next(reader, None)
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    yield Malformed(0, "ragged-row", raw=self._delimiter(file).join(fields))
                elif any("\udc80" <= sign <= "\udcff" for field in fields for sign in field):
                    yield Malformed(0, "bad-encoding", raw=self._delimiter(file).join(fields).encode("utf-8", "replace").decode())
                else:
                    yield {name: None if value in missing else value for name, value in zip(header, fields, strict=True)}

    def _delimiter(self, file: Path) -> str:
        return "\t" if file.suffix == ".tsv" and self.settings.delimiter == "," else self.settings.delimiter

    def _text(self, file: Path) -> io.TextIOBase:
        """The file as text. A byte that is no text becomes a surrogate, so that its record alone falls out."""
        encoding = "utf-8-sig" if self.settings.encoding.lower().replace("-", "") == "utf8" else self.settings.encoding
        if file.suffix == ".gz":
            return gzip.open(file, "rt", encoding=encoding, errors="surrogateescape", newline="")
        return open(file, encoding=encoding, errors="surrogateescape", newline="")


def _ndjson(file: Path) -> Records:
    for line in json_lines(file):
        if isinstance(line, Malformed):
            yield line
        else:
            yield {name: _as_text(value) for name, value in line.items()}


def json_lines(file: Path) -> Iterator[dict[str, Any] | Malformed]:
    """Each line's object; a Malformed (its row is counted from 1 by the caller) where a line is no JSON, or no object, or no UTF-8."""
    opened = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # noqa: SIM115
    with opened as lines:
        for raw in lines:
            if not raw.strip():
                continue
            try:
                value = json.loads(raw)
            except UnicodeDecodeError:
                yield Malformed(0, "bad-encoding", raw=raw.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                yield Malformed(0, "not-json", raw=raw.decode("utf-8", "replace"))
            else:
                yield value if isinstance(value, dict) else Malformed(0, "not-object", raw=raw.decode("utf-8", "replace"))


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _text_batch(records: list[dict[str, str | None]], rows: list[int], types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    arrays = [pa.array(rows, pa.int64()), *(pa.array([record.get(name) for record in records], pa.string()) for name in types)]
    return pa.RecordBatch.from_arrays(arrays, names=[ROW, *types])


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema])


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def _stem(file: Path) -> str:
    return file.name.split(".")[0] if file.suffix == ".gz" else file.stem
