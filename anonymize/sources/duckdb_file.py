"""DuckDB's own files, read only, by its own Arrow reader; dates that no calendar has make one record fall out, as elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from anonymize.errors import NoSuchTable, SourceError
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, wanted_types
from anonymize.sources.dialects import Guard
from anonymize.sources.pace import Pace

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
#: Whole numbers that need not fit 64 bits are read as text, and convert or fall out.
_LONG = ("UBIGINT", "HUGEINT", "UHUGEINT")
_BYTES = ("BLOB", "BIT", "GEOMETRY")
_TIMES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATETIME")


class DuckDbFile:
    """One DuckDB database: a file. url: `duckdb:///path`, relative to `folder`; schema: the database's, default `main`."""

    def __init__(self, name: str, url: str, *, schema: str | None, batch_rows: int, rate: int | None, folder: Path) -> None:
        self.name, self.batch_rows, self.rate = name, batch_rows, rate
        self._schema = schema or "main"
        try:
            database = sa.engine.make_url(url).database
        except sa.exc.ArgumentError:
            database = None
        self.file = folder / (database or "")
        if not self.file.is_file():
            raise SourceError(f"source '{name}': there is no DuckDB file {self.file}")

    def tables(self) -> list[str]:
        with self._guard("its catalogue"), self._opened() as connection:
            return self._tables(connection)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        with self._guard(f"table '{table}'"), self._opened() as connection:
            types = self._types(connection, table, query)
        return pa.schema([(name, arrow) for name, type in types.items() if (arrow := _arrow(type)) is not None])

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(f"source '{self.name}', table '{table}'", schema, columns, types)
        pace, first = Pace(self.rate), 1
        with self._guard(f"table '{table}'"), self._opened() as connection:
            native = self._types(connection, table, query)
            selected = ", ".join(_read_as(name, native[name]) for name in columns)
            found = connection.sql(f"SELECT {selected} FROM {self._from(connection, table, query)}")  # noqa: S608
            for batch in found.to_arrow_reader(pace.most(self.batch_rows)):
                numbers = pa.array(np.arange(first, first + batch.num_rows), pa.int64())
                first += batch.num_rows
                yield from convert(pa.RecordBatch.from_arrays([numbers, *batch.columns], names=[ROW, *columns]), wanted)
                pace.taken(batch.num_rows)

    def _opened(self) -> duckdb.DuckDBPyConnection:
        # One thread, and rows in the order in which they stand: same input, same bytes. A query reads this file and no other.
        connection = duckdb.connect(self.file, read_only=True, config={"threads": "1", "enable_external_access": "false"})
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def _tables(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        found = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY 1", [self._schema])
        return [row[0] for row in found.fetchall()]

    def _types(self, connection: duckdb.DuckDBPyConnection, table: str, query: str | None) -> dict[str, str]:
        described = connection.execute(f"DESCRIBE SELECT * FROM {self._from(connection, table, query, ordered=False)}").fetchall()  # noqa: S608
        return {row[0]: row[1] for row in described}

    def _from(self, connection: duckdb.DuckDBPyConnection, table: str, query: str | None, *, ordered: bool = True) -> str:
        """What stands behind FROM: a query as it is, a table in the order of its primary key, or of its rows where it has none."""
        if query:
            return f"({query.rstrip().rstrip(';')}\n) AS q"
        schema, dot, name = table.rpartition(".")
        schema, name = (schema, name) if dot and table not in self._tables(connection) else (self._schema, table)
        known = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [schema]).fetchall()]
        views = [row[0] for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = ?", [schema]).fetchall()]
        if name not in (*known, *views):
            raise NoSuchTable(f"source '{self.name}': no table '{table}'.{nearest(name, [*known, *views])}")
        place = f"{_quoted(schema)}.{_quoted(name)}"
        if not ordered or name in views:
            return place
        asked = "SELECT constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY' AND "
        key = connection.execute(f"{asked} schema_name = ? AND table_name = ?", [schema, name]).fetchall()
        return f"{place} ORDER BY {', '.join(map(_quoted, key[0][0])) if key else 'rowid'}"

    def _guard(self, what: str) -> Guard:
        return Guard(f"source '{self.name}', {what}", "duckdb")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _arrow(type: str) -> pa.DataType | None:
    """As `sql_types.arrow_type`, by DuckDB's word for the type."""
    if type in _WHOLE or type in _LONG or (type.startswith("DECIMAL(") and type.endswith(",0)")):
        return pa.int64()
    if type in ("FLOAT", "DOUBLE") or type.startswith("DECIMAL("):
        return pa.float64()
    if type in _TIMES:
        return pa.timestamp("us")
    simple = {"BOOLEAN": pa.bool_(), "DATE": pa.date32(), "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC")}
    return None if type in _BYTES else simple.get(type, pa.string())


def _read_as(name: str, type: str) -> str:
    """A column as it is asked for: numbers, truth values and texts as they are, dates by the text where no calendar has them."""
    column = _quoted(name)
    if type in _WHOLE:
        return f"{column}::BIGINT AS {column}"
    if type == "FLOAT":
        return f"{column}::VARCHAR::DOUBLE AS {column}"
    if type in ("DOUBLE", "BOOLEAN", "VARCHAR"):
        return column
    return f"{column}::VARCHAR AS {column}"
