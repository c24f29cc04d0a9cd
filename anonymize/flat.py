"""CSV and Parquet files as streams of batches, whatever their size."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anonymize.errors import AnonymizeError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 250_000


class InputError(AnonymizeError):
    """The file, the hierarchies and the options do not fit each other."""

    exit_code = 2


@dataclass(frozen=True)
class FlatFile:
    """A CSV or Parquet file to be read in batches. delimiter: None where it is Parquet."""

    path: Path
    columns: tuple[str, ...]
    delimiter: str | None

    @classmethod
    def open(cls, path: Path, delimiter: str | None) -> FlatFile:
        import pyarrow.parquet as pq

        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.suffix.lower() in (".parquet", ".pq"):
            try:
                columns = tuple(pq.read_schema(path).names)
            except Exception:  # of many types, and none may show what it read
                raise InputError(f"{path}: this is no Parquet file") from None
            return cls(path, _distinct(path, columns), None)
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                first = lines.readline()
        except UnicodeDecodeError:
            raise InputError(f"{path}: the file is not in UTF-8; convert it first (iconv -t utf-8)") from None
        delimiter = delimiter or max(",;\t|", key=first.count)
        columns = tuple(next(csv.reader([first], delimiter=delimiter), []))
        if not columns:
            raise InputError(f"{path}: the file is empty; its first line must name the columns")
        return cls(path, _distinct(path, columns), delimiter)

    def batches(self, encoded: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """All of a CSV is text, and an empty cell is null. encoded: columns whose texts come as dictionaries, where they are texts."""
        import pyarrow as pa
        import pyarrow.csv as pc
        import pyarrow.parquet as pq

        try:
            if self.delimiter is None:
                yield from pq.ParquetFile(self.path, read_dictionary=list(encoded)).iter_batches(_ROWS)
                return
            with pc.open_csv(
                self.path,
                read_options=pc.ReadOptions(block_size=16 << 20, column_names=list(self.columns), skip_rows=1),
                parse_options=pc.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                convert_options=pc.ConvertOptions(
                    column_types={**dict.fromkeys(self.columns, pa.string()), **dict.fromkeys(encoded, pa.dictionary(pa.int32(), pa.string()))},
                    strings_can_be_null=True,
                    null_values=[""],
                    quoted_strings_can_be_null=True,
                ),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid:
            hint = f"Is '{self.delimiter}' the delimiter (--delimiter), and has every line {len(self.columns)} cells?" if self.delimiter else ""
            raise InputError(f"{self.path}: the file cannot be read to its end. {hint}".rstrip()) from None


def _distinct(path: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise InputError(f"{path}: two columns have one name: {', '.join(twice)}")
    return columns


def texts(column: pa.Array) -> pa.Array:
    """As a hierarchy's file writes it: whole numbers that a missing value made floats are whole again; dictionaries of texts stay."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        return pc.replace_substring_regex(column.cast(pa.string()), r"\.0$", "")
    encoded = pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type)
    return column if encoded else column.cast(pa.string())


class CsvSink:
    """A CSV file in UTF-8, quoted only where it must be; null is an empty cell."""

    def __init__(self, path: Path, schema: pa.Schema, delimiter: str) -> None:
        import pyarrow as pa

        self._delimiter = delimiter
        self._special = '[\\r\\n"' + ("\\" if delimiter in "\\]^-" else "") + delimiter + "]"
        self._file = path.open("wb")
        self.write_table(pa.table({name: [name] for name in schema.names}))

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        import pyarrow.compute as pc

        for batch in table.combine_chunks().to_batches():
            cells = [self._quoted(column.cast("string")) for column in batch.columns]
            if batch.num_columns == 1:  # a line without a character would be no row
                cells = [pc.if_else(pc.equal(cells[0], ""), '""', cells[0])]
            lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*cells, self._delimiter), "", "\n").cast("large_string")
            _, offsets, text = lines.buffers()
            start, end = memoryview(offsets).cast("q")[lines.offset], memoryview(offsets).cast("q")[lines.offset + len(lines)]
            self._file.write(memoryview(text)[start:end] if end > start else b"")

    def _quoted(self, cells: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        cells = pc.fill_null(cells, "")
        special = pc.match_substring_regex(cells, self._special)
        if not pc.any(special).as_py():
            return cells
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(cells, '"', '""'), '"', "")
        return pc.if_else(special, quoted, cells)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
