"""From a database's types and a driver's values to Arrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql

from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, guess_type, text_batch

#: PostgreSQL's types by name; bytes do not leave, all others are text.
POSTGRES = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), pa.int64()),
    **dict.fromkeys(("float4", "float8", "numeric"), pa.float64()),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "bytea": None,
}
#: What PostgreSQL's drivers give as what it is. All else comes as the text that the server writes: faster to read by the column, and
#: `infinity` or the year 12020 makes one record fall out, where the driver's own types would end the whole read.
POSTGRES_NATIVE = ("int2", "int4", "int8", "oid", "float4", "float8", "bool", "text", "varchar", "bpchar", "name", "bytea")
#: The types of MySQL and MariaDB by the number that stands in a result.
_MYSQL = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13, 16), pa.int64()),
    **dict.fromkeys((4, 5), pa.float64()),
    **dict.fromkeys((10, 14), pa.date32()),
    12: pa.timestamp("us"),
    7: pa.timestamp("us", "UTC"),
    255: None,
}
_MYSQL_DECIMALS, _MYSQL_TEXTS, _MYSQL_BINARY = (0, 246), (249, 250, 251, 252, 253, 254), 63


def arrow_type(type: sa.types.TypeEngine[Any]) -> pa.DataType | None:
    """The Arrow type that a column of the database is read as; None for bytes, which do not leave."""
    if isinstance(type, sa.types.Numeric) and not isinstance(type, sa.types.Float) and type.scale == 0 and type.precision is not None:
        return pa.int64()
    simple: list[tuple[Any, pa.DataType | None]] = [
        ((sa.types.Boolean, mssql.BIT), pa.bool_()),
        # Before the whole numbers: Oracle's NUMBER is both.
        ((sa.types.Numeric, sa.types.Float, mssql.MONEY, mssql.SMALLMONEY), pa.float64()),
        ((sa.types.Integer, mysql.YEAR, mysql.BIT), pa.int64()),
        ((mssql.DATETIMEOFFSET,), pa.timestamp("us", "UTC")),
        (sa.types.DateTime, pa.timestamp("us", "UTC" if getattr(type, "timezone", False) else None)),
        (sa.types.Date, pa.date32()),
        (sa.types._Binary, None),
    ]
    return next((arrow for kind, arrow in simple if isinstance(type, kind)), pa.string())


def postgres_type(name: str, scale: int | None) -> pa.DataType | None:
    """As `arrow_type`, by the name of PostgreSQL's type. scale: of a numeric that has one; whole numbers too long for 64 bits fall out when
    they are met, for as a float they would silently become others."""
    return pa.int64() if name == "numeric" and scale == 0 else POSTGRES.get(name, pa.string())


def mysql_type(code: int, scale: int, charset: int) -> pa.DataType | None:
    """As `arrow_type`, by the number of MySQL's type and that of its character set (63: bytes)."""
    if code in _MYSQL_DECIMALS:
        return pa.int64() if scale == 0 else pa.float64()
    return None if code in _MYSQL_TEXTS and charset == _MYSQL_BINARY else _MYSQL.get(code, pa.string())


def value_type(values: list[Any]) -> pa.DataType:
    """The Arrow type that a sample of a driver's values is of; text where in doubt."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, str) for value in present):
        return pa.string()
    if present and all(isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in present):
        return pa.int64() if all(isinstance(value, int) for value in present) else pa.float64()
    try:
        inferred = pa.array(present).type if present else pa.string()
    except pa.ArrowException:
        return pa.string()
    return inferred if pa.types.is_temporal(inferred) or pa.types.is_boolean(inferred) else guess_type([str(value) for value in present])


def typed(
    rows: Sequence[Sequence[Any]], first: int, types: Mapping[str, pa.DataType], schema: pa.Schema
) -> Iterator[pa.RecordBatch | Malformed]:
    """Rows of a driver's values as a batch of `types`; what does not fit goes by its text, and a record that does not convert falls out.

    first: the number of the first row; schema: what the source says of the columns.
    """
    numbers = range(first, first + len(rows))
    columns = [[row[index] for row in rows] for index in range(len(types))]
    try:
        arrays = [_column(values, schema.field(name).type) for name, values in zip(types, columns, strict=True)]
    except UnicodeEncodeError:
        # Bytes that are no text reach here as lone surrogates. Rare, so the whole batch goes by its texts.
        records = [tuple(None if value is None else as_text(value) for value in row) for row in rows]
        for item in text_batch(list(numbers), records, list(types)):
            yield from (item,) if isinstance(item, Malformed) else convert(item, types)
        return
    yield from convert(pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64()), *arrays], names=[ROW, *types]), types)


def as_text(value: Any) -> str:
    """A driver's value as text; bytes that are no UTF-8 become lone surrogates."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)


def _column(values: list[Any], type: pa.DataType) -> pa.Array:
    if not pa.types.is_string(type) and not any(isinstance(value, str) for value in values):
        try:
            if pa.types.is_floating(type):
                return pa.array([float(value) if isinstance(value, Decimal) else value for value in values], type)
            return pa.array(values, type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            pass
    return pa.array([None if value is None else as_text(value) for value in values], pa.string())
