"""PostgreSQL's fast way: binary COPY straight to Arrow by ADBC, with the rows, types, order and quarantine of the usual one.

What ADBC would read otherwise than the usual driver is sent by the server as its text; dates and times come as numbers, and where one is none
that a calendar has (`infinity`, 44 BC, the year 12020) its batch goes the usual way, by the texts that the server would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import adbc_driver_postgresql
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from sqlalchemy.dialects import postgresql

from anonymize.sources.base import ROW
from anonymize.sources.conform import convert
from anonymize.sources.dialects import settings
from anonymize.sources.pace import Pace
from anonymize.sources.sessions import Chunk, Statement

#: From 1970, the epoch of Arrow, to 2000, that of PostgreSQL.
_DAYS, _MICROS = 10_957, 946_684_800_000_000
#: The first and the last day that is written with a year of four digits.
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY = 86_400_000_000
_DIALECT: Any = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_INFINITE = {"int32": ((1 << 31) - 1, -(1 << 31)), "int64": ((1 << 63) - 1, -(1 << 63))}


class ArrowSession:
    """One ADBC connection in a read-only transaction. Raises what ADBC raises: whoever opens it falls back to the usual driver."""

    def __init__(self, url: sa.URL, *, batch_rows: int, size: int, pace: Pace, schema: str | None, snapshot: str | None = None) -> None:
        self._most, self._pace = batch_rows, pace
        uri = url.set(drivername="postgresql").update_query_dict({"client_encoding": "utf8"}).render_as_string(hide_password=False)
        self._connection = dbapi.connect(uri)
        try:
            with self._connection.cursor() as cursor:
                cursor.executescript("; ".join(settings(_DIALECT, schema, snapshot)))
            # Paced, little is taken at once; else as much as may be held.
            self._hint = size if pace.rate is None else 1 << 16
        except BaseException:
            self._connection.close()
            raise

    def rows(self, statement: Statement, types: Mapping[str, pa.DataType], schema: pa.Schema) -> Iterator[Chunk]:
        first = 1
        with self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(self._hint)})
            cursor.execute(_sql(wrapped(statement, types, schema)))
            reader = cursor.fetch_record_batch()
            for whole in reader:
                for start in range(0, whole.num_rows, most := self._pace.most(self._most)):
                    batch = whole.slice(start, most)
                    numbers = pa.array(np.arange(first, first + batch.num_rows), pa.int64())
                    arrays = [_stored(column) for column in batch.columns]
                    if any(_strange(column) for column in arrays):
                        arrays = [_written(column) for column in arrays]
                    arrays = [_plain(column) for column in arrays]
                    items = list(convert(pa.RecordBatch.from_arrays([numbers, *arrays], names=[ROW, *types]), types))
                    first += batch.num_rows
                    yield batch.num_rows, items
                    self._pace.taken(batch.num_rows)

    def values(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(_sql(statement))
            return [tuple(row) for row in cursor.fetchall()]

    def close(self) -> None:
        self._connection.close()


def wrapped(statement: Statement, types: Mapping[str, pa.DataType], schema: pa.Schema) -> sa.Select[Any]:
    """The statement with each column as ADBC reads it like the usual driver: numbers and dates as they are, the rest as the server's text."""
    if isinstance(statement, str):
        body = sa.text(statement.rstrip().rstrip(";").replace(":", "\\:") + "\n").columns(*(sa.column(name) for name in types)).subquery("q")
        return sa.select(*(_as_read(sa.column(name), type, schema.field(name)) for name, type in types.items())).select_from(body)
    columns = [_as_read(column, types[column.name], schema.field(column.name)) for column in statement.selected_columns]
    return statement.with_only_columns(*columns)


def _as_read(column: Any, wanted: pa.DataType, field: pa.Field) -> Any:
    native = (field.metadata or {}).get(b"postgres", b"").decode()
    if native in ("int2", "int4", "int8", "float8", "bool", "text", "varchar", "bpchar"):
        return column
    if native == "oid":
        return sa.cast(column, sa.BigInteger).label(column.name)
    if native in ("date", "timestamp", "timestamptz") and wanted == field.type:
        return column
    # The cast of an address writes its mask, its output does not.
    text = sa.cast(sa.func.inet_out(column) if native == "inet" else column, postgresql.TEXT)
    return (sa.cast(text, postgresql.DOUBLE_PRECISION) if native == "float4" else text).label(column.name)


def _sql(statement: Any) -> str:
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def _stored(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _plain(column: pa.Array) -> pa.Array:
    """As the usual driver's values would be held: whole numbers of 64 bits."""
    return column.cast(pa.int64()) if pa.types.is_integer(column.type) else column


def _strange(column: pa.Array) -> bool:
    """Whether a column holds a date or time that no year of four digits has."""
    if pa.types.is_date(column.type):
        span = pc.min_max(column.cast(pa.int32())).as_py()
        low, high = _FIRST_DAY, _LAST_DAY
    elif pa.types.is_timestamp(column.type):
        span = pc.min_max(column.cast(pa.int64())).as_py()
        low, high = _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1
    else:
        return False
    return span["min"] is not None and not (low <= span["min"] and span["max"] <= high)


def _written(column: pa.Array) -> pa.Array:
    """Dates and times as the server writes them (ISO, UTC)."""
    if pa.types.is_date(column.type):
        return _texts(column.cast(pa.int32()).to_pylist(), "int32", _DAYS, _day)
    if pa.types.is_timestamp(column.type):
        zone = "+00" if column.type.tz else ""
        return _texts(column.cast(pa.int64()).to_pylist(), "int64", _MICROS, lambda micros: _time(micros, zone))
    return column


def _texts(values: list[int | None], width: str, epoch: int, write: Callable[[int], str]) -> pa.Array:
    bits = int(width[3:])
    high, low = _INFINITE[width]

    def one(value: int) -> str:
        # ADBC moves the epoch without a look at the end of the numbers: what went over it is brought back.
        native = (value - epoch - low) % (1 << bits) + low
        return {high: "infinity", low: "-infinity"}.get(native) or write(native + epoch)

    return pa.array([None if value is None else one(value) for value in values], pa.string())


def _day(days: int) -> str:
    text, era = _dated(days)
    return text + era


def _time(micros: int, zone: str) -> str:
    days, rest = divmod(micros, _DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    text, era = _dated(days)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text} {clock}{f'.{fraction:06}'.rstrip('0') if fraction else ''}{zone}{era}"


def _dated(days: int) -> tuple[str, str]:
    """The date of a day since 1970, and ` BC` where it is before year 1."""
    year, month = divmod(int(np.datetime64(days, "D").astype("datetime64[M]").astype(np.int64)), 12)
    day = int((np.datetime64(days, "D") - np.datetime64(year * 12 + month, "M").astype("datetime64[D]")).astype(np.int64)) + 1
    year += 1970
    return f"{year if year > 0 else 1 - year:04}-{month + 1:02}-{day:02}", "" if year > 0 else " BC"
