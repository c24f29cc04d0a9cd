"""Parquet files as a source: their many types become the few of the house, in batches of a bounded size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def house_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a file, as `house_type` reads them."""
    fields = [(field.name, house_type(field.type)) for field in schema]
    return pa.schema([(name, type) for name, type in fields if type is not None])


def house_type(type: pa.DataType) -> pa.DataType | None:
    """What a Parquet column is read as; None for bytes, which cannot be searched for PHI and so do not leave."""
    if pa.types.is_dictionary(type):
        return house_type(type.value_type)
    if pa.types.is_binary(type) or pa.types.is_large_binary(type) or pa.types.is_fixed_size_binary(type) or pa.types.is_binary_view(type):
        return None
    if pa.types.is_uint64(type):
        return pa.string()
    if pa.types.is_integer(type) or (pa.types.is_decimal(type) and type.scale == 0 and type.precision <= 18):
        return pa.int64()
    if pa.types.is_floating(type) or pa.types.is_decimal(type):
        return pa.float64()
    if pa.types.is_boolean(type):
        return type
    if pa.types.is_timestamp(type):
        return pa.timestamp("us", type.tz)
    return pa.date32() if pa.types.is_date(type) else pa.string()


def parquet_batches(file: BinaryIO, columns: Sequence[str], schema: pa.Schema, *, rows: int, size: int) -> Iterator[pa.RecordBatch]:
    """The columns of one file in the house's types, in batches of at most `rows` rows and about `size` bytes."""
    opened = pq.ParquetFile(file)
    number = _rows_a_batch(opened.metadata, columns, rows, size)
    for batch in opened.iter_batches(number, columns=list(columns)):
        arrays = [_read_as(batch[name], schema.field(name).type) for name in columns]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _rows_a_batch(metadata: pq.FileMetaData, columns: Sequence[str], rows: int, size: int) -> int:
    """Fewer rows where they are long: a column of notes can hold megabytes a row."""
    wanted, largest = set(columns), 1.0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        chunks = (group.column(number) for number in range(group.num_columns))
        total = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in wanted)
        largest = max(largest, total / max(group.num_rows, 1))
    return max(1, min(rows, int(size / largest)))


def _read_as(column: pa.Array, type: pa.DataType) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if column.type == type:
        return column
    if pa.types.is_nested(column.type) or isinstance(column, pa.ExtensionArray):
        # Arrow has no cast to JSON, so these rare columns go value by value.
        return pa.array([_json(value) for value in column.to_pylist()], type)
    # Nanoseconds are cut to microseconds; nothing else loses by the casts that house_type asks for.
    return column.cast(type, safe=not pa.types.is_timestamp(type))


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else str(value)
