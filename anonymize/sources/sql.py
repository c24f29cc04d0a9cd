"""Any SQL database through SQLAlchemy: read only, streamed by a server-side cursor, in the order of the primary key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from anonymize.errors import SourceError
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, guess_type, wanted_types

SAMPLE_ROWS = 1_000


class SqlDatabase:
    """One database. url: SQLAlchemy's; schema: the database's, where it has several; folder: where a relative SQLite path begins."""

    def __init__(self, name: str, url: str, *, schema: str | None, batch_rows: int, folder: Path) -> None:
        self.name, self.schema_name, self.batch_rows = name, schema, batch_rows
        try:
            self._url = _located(sa.engine.make_url(url), folder)
            self._engine = sa.create_engine(self._url, pool_pre_ping=True)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError, ValueError):
            raise SourceError(f"source '{name}': its URL is none that SQLAlchemy knows here (dialect://user:password@host/database)") from None
        if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").is_file():
            raise SourceError(f"source '{name}': there is no SQLite file {self._url.database}")

    def tables(self) -> list[str]:
        with self._guard("its catalogue"):
            inspector = sa.inspect(self._engine)
            return sorted([*inspector.get_table_names(self.schema_name), *inspector.get_view_names(self.schema_name)])

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if query:
            return self._sampled(query, table)
        with self._guard(f"table '{table}'"):
            columns = sa.inspect(self._engine).get_columns(table, self.schema_name) if table in self.tables() else None
        if columns is None:
            raise SourceError(f"source '{self.name}': no table '{table}'.{nearest(table, self.tables())}")
        fields = [(column["name"], arrow_type(column["type"])) for column in columns]
        return pa.schema([(name, type) for name, type in fields if type is not None])

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(f"source '{self.name}', table '{table}'", schema, columns, types)
        statement = self._from_query(query, columns) if query else self._select(table, columns)
        row = 1
        with self._guard(f"table '{table}'"), self._engine.connect() as connection:
            self._read_only(connection)
            result = connection.execution_options(stream_results=True, yield_per=self.batch_rows).execute(statement)
            for partition in result.partitions():
                yield from _batch(partition, row, wanted, schema)
                row += len(partition)

    def _select(self, table: str, columns: Sequence[str]) -> sa.Select[Any]:
        described = sa.table(table, *(sa.column(column) for column in columns), schema=self.schema_name)
        key = sa.inspect(self._engine).get_pk_constraint(table, self.schema_name)["constrained_columns"]
        return sa.select(*described.c).order_by(*(sa.column(column) for column in key))

    def _from_query(self, query: str, columns: Sequence[str]) -> sa.Select[Any]:
        inner = sa.text(query.rstrip().rstrip(";")).columns(*(sa.column(column) for column in columns)).subquery("q")
        return sa.select(*inner.c)

    def _sampled(self, query: str, table: str) -> pa.Schema:
        """A query's columns, typed by what a sample of its values is."""
        with self._guard(f"query of table '{table}'"), self._engine.connect() as connection:
            self._read_only(connection)
            result = connection.execution_options(stream_results=True).execute(sa.text(query))
            names, rows = list(result.keys()), result.fetchmany(SAMPLE_ROWS)
            result.close()
        return pa.schema([(name, _value_type([row[i] for row in rows])) for i, name in enumerate(names)])

    def _read_only(self, connection: sa.Connection) -> None:
        if self._engine.dialect.name in ("postgresql", "mysql", "mariadb"):
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        elif self._engine.dialect.name == "sqlite":
            connection.execute(sa.text("PRAGMA query_only = ON"))

    def _guard(self, what: str) -> _Guard:
        return _Guard(f"source '{self.name}', {what}")


class _Guard:
    """Says which source and what of it could not be read. A driver's message can hold the URL or a value, so it is withheld."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, type: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sa.exc.SQLAlchemyError):
            cause = getattr(error, "orig", None)
            kind = (cause or error).__class__.__name__
            hint = "Is the server up, the network open, and are the credentials right?" if _is_connection(error) else "Is the query right?"
            raise SourceError(f"{self.where}: cannot be read ({kind}). {hint} Start the run again: it goes on") from None


def _is_connection(error: BaseException) -> bool:
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError | sa.exc.TimeoutError)


def _located(url: sa.URL, folder: Path) -> sa.URL:
    """PostgreSQL by psycopg 3; a relative SQLite file is relative to the policy."""
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database and not Path(url.database).is_absolute():
        return url.set(database=str((folder / url.database).resolve()))
    return url


def connection_url(connection: str, connections: Callable[[str], str] | None) -> str:
    """The SQLAlchemy URL of an Airflow connection: from what the Airflow edge hands in, else from `AIRFLOW_CONN_<ID>`, as a URI or as JSON.

    Raises SourceError where there is none.
    """
    found = connections(connection) if connections else os.environ.get(f"AIRFLOW_CONN_{connection.upper()}")
    if not found:
        raise SourceError(f"no connection '{connection}': define it in Airflow, or set AIRFLOW_CONN_{connection.upper()}")
    if found.lstrip().startswith("{"):
        parts = json.loads(found)
        url = sa.URL.create(
            parts["conn_type"],
            parts.get("login"),
            parts.get("password"),
            parts.get("host"),
            int(parts["port"]) if parts.get("port") else None,
            parts.get("schema"),
        )
        found = url.render_as_string(hide_password=False)
    # Airflow's types are not SQLAlchemy's dialects.
    return re.sub(r"^(postgres|postgresql)(?=:)", "postgresql+psycopg", re.sub(r"^mssql(?=:)", "mssql+pyodbc", found)).split("?__extra__")[0]


def arrow_type(type: sa.types.TypeEngine[Any]) -> pa.DataType | None:
    """The Arrow type that a column of the database is read as; None for bytes, which do not leave."""
    simple: list[tuple[Any, pa.DataType | None]] = [
        (sa.types.Boolean, pa.bool_()),
        (sa.types.Integer, pa.int64()),
        (sa.types.Numeric, pa.float64()),
        (sa.types.Float, pa.float64()),
        (sa.types.DateTime, pa.timestamp("us", "UTC" if getattr(type, "timezone", False) else None)),
        (sa.types.Date, pa.date32()),
        (sa.types.LargeBinary, None),
    ]
    return next((arrow for kind, arrow in simple if isinstance(type, kind)), pa.string())


def _value_type(values: list[Any]) -> pa.DataType:
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


def _batch(rows: Sequence[Any], first: int, types: Mapping[str, pa.DataType], schema: pa.Schema) -> Iterator[pa.RecordBatch | Malformed]:
    """Rows of Python values as a typed batch; SQLite holds what it likes in any column, so a value that does not fit goes by its text."""
    arrays = [pa.array(range(first, first + len(rows)), pa.int64())]
    for index, name in enumerate(types):
        arrays.append(_column([row[index] for row in rows], schema.field(name).type))
    yield from convert(pa.RecordBatch.from_arrays(arrays, names=[ROW, *types]), types)


def _column(values: list[Any], type: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_string(type):
            return pa.array([None if value is None else _text(value) for value in values], pa.string())
        if pa.types.is_floating(type):
            return pa.array([float(value) if isinstance(value, Decimal) else value for value in values], type)
        return pa.array(values, type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
