"""One connection to a database, in one read-only transaction, from which rows stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from anonymize.sources.base import Malformed
from anonymize.sources.dialects import POSTGRES_QUERY, abandon, as_written, settings
from anonymize.sources.pace import Pace
from anonymize.sources.sql_types import mysql_type, postgres_type, typed

Statement = sa.Select[Any] | str
Chunk = tuple[int, list[pa.RecordBatch | Malformed]]
"""Some rows as they came: how many they were, and what has become of them; `__row` counts from 1 within its statement."""
#: The first rows are few, and tell how long they are: ten thousand notes of 5 MB would not fit.
FIRST_ROWS = 32


class Session(Protocol):
    """One connection, one transaction, one state of the data. Used by one thread at a time."""

    def rows(self, statement: Statement, types: Mapping[str, pa.DataType], schema: pa.Schema) -> Iterator[Chunk]:
        """The columns of `types` of a statement's rows, in its order. schema: what the source says of its columns."""
        ...

    def values(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        """All rows of a small statement of our own."""
        ...

    def close(self) -> None:
        """Drop the connection, at whatever row it is."""
        ...


class DriverSession:
    """By SQLAlchemy and the database's usual driver, with a server-side cursor.

    A policy's query goes as it is written, colons and all. size: bytes that are held of it at a time.
    """

    def __init__(self, engine: sa.Engine, *, batch_rows: int, size: int, pace: Pace, schema: str | None, snapshot: str | None = None) -> None:
        self._connection = engine.connect()
        self._dialect, self._pace, self._size = engine.dialect.name, pace, size
        self._most, self._next = pace.most(batch_rows), min(FIRST_ROWS, pace.most(batch_rows))
        if self._dialect == "postgresql":
            as_written(self._connection)
        try:
            for setting in settings(engine.dialect, schema, snapshot):
                self._connection.exec_driver_sql(setting)
        except BaseException:
            self.close()
            raise

    def rows(self, statement: Statement, types: Mapping[str, pa.DataType], schema: pa.Schema) -> Iterator[Chunk]:
        result = self.execute(statement)
        names, first = list(result.keys()), 1
        places = [names.index(column) for column in types]
        whole = places == list(range(len(names)))
        while rows := result.fetchmany(self._next):
            records = rows if whole else [[row[place] for place in places] for row in rows]
            items = list(typed(records, first, types, schema))
            held = sum(item.nbytes if isinstance(item, pa.RecordBatch) else len(item.raw) for item in items)
            self._next = max(1, min(self._most, 8 * self._next, int(self._size * len(rows) / max(held, 1))))
            first += len(rows)
            yield len(rows), items
            self._pace.taken(len(rows))
        result.close()

    def values(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._connection.execute(statement)]

    def execute(self, statement: Statement) -> sa.CursorResult[Any]:
        """Begin to read a statement by a server-side cursor."""
        if isinstance(statement, str) and self._dialect == "postgresql":
            self._connection.exec_driver_sql(POSTGRES_QUERY)
        options = self._connection.execution_options(stream_results=True, max_row_buffer=self._most)
        if not isinstance(statement, str):
            return options.execute(statement)
        return options.execution_options(no_parameters=True).exec_driver_sql(statement.rstrip().rstrip(";"))

    def described(self, statement: Statement) -> pa.Schema | None:
        """A statement's columns by the server's own types, without those that do not leave; None where its driver does not tell them."""
        result = self.execute(statement)
        try:
            fields = _described(result, self._dialect)
            return None if fields is None else pa.schema([field for field in fields if field.type != pa.null()])
        finally:
            result.close()

    def close(self) -> None:
        abandon(self._connection)


def _described(result: sa.CursorResult[Any], dialect: str) -> list[pa.Field] | None:
    cursor: Any = result.cursor
    names = list(result.keys())
    if dialect == "postgresql":
        from psycopg import adapters

        oids = [int(column[1]) for column in cursor.description]
        # An array's number finds its element's type.
        known = [info.name if (info := adapters.types.get(oid)) is not None and info.oid == oid else "" for oid in oids]
        types = list(zip(known, [column[5] for column in cursor.description], strict=True))
        # The server's own word for the type stays beside ours: the fast way goes by it.
        return [_field(name, postgres_type(*type), {"postgres": type[0]}) for name, type in zip(names, types, strict=True)]
    found = getattr(getattr(cursor, "_result", None), "fields", None)
    if dialect in ("mysql", "mariadb") and found is not None:
        return [_field(name, mysql_type(one.type_code, one.scale, one.charsetnr)) for name, one in zip(names, found, strict=True)]
    return None


def _field(name: str, type: pa.DataType | None, metadata: dict[str, str] | None = None) -> pa.Field:
    return pa.field(name, pa.null() if type is None else type, metadata=metadata)
