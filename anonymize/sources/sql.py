"""Any SQL database through SQLAlchemy: read only, streamed by a server-side cursor, in the order of the primary key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from anonymize.errors import SourceError
from anonymize.policy.nearest import nearest
from anonymize.sources.base import Malformed
from anonymize.sources.conform import guess_type, wanted_types
from anonymize.sources.connections import connection_url
from anonymize.sources.sql_types import POSTGRES_AS_TEXT, arrow_type, as_text, postgres_type, typed, value_type

__all__ = ["SqlDatabase", "connection_url"]

SAMPLE_ROWS = 1_000
BATCH_BYTES = 16 << 20
#: The first batch is small, and tells how long rows are: ten thousand notes of 5 MB would not fit.
FIRST_ROWS = 32
#: A server that vanishes without a word is noticed within two minutes, and not after the system's two hours.
POSTGRES_CONNECT = {"connect_timeout": 30, "keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
_POSTGRES_SESSION = (
    "SET TRANSACTION READ ONLY",
    "SET LOCAL TIME ZONE 'UTC'",
    "SET LOCAL datestyle = 'ISO, YMD'",
    # A table without a primary key is read from its beginning, not from where another scan is: same input, same rows.
    "SET LOCAL synchronize_seqscans = off",
)
_SESSION = {
    "postgresql": _POSTGRES_SESSION,
    "mysql": ("SET TRANSACTION READ ONLY",),
    "mariadb": ("SET TRANSACTION READ ONLY",),
    "sqlite": ("PRAGMA query_only = ON",),
}


class SqlDatabase:
    """One database. url: SQLAlchemy's; schema: the database's, where it has several; folder: where a relative SQLite path begins.

    A table's name may say its schema: `clinical.visits`. Every SourceError names the source and the table, and holds no URL and no value.
    """

    def __init__(self, name: str, url: str, *, schema: str | None, batch_rows: int, folder: Path) -> None:
        self.name, self.schema_name, self.batch_rows = name, schema, batch_rows
        self._url, self._engine = _engine(name, url, folder)
        if self._dialect == "sqlite" and not Path(self._url.database or "").is_file():
            raise SourceError(f"source '{name}': there is no SQLite file {self._url.database}")
        sa.event.listen(self._engine, "connect", _lenient)

    def tables(self) -> list[str]:
        return self._tables(self.schema_name)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if query:
            return self._of_query(query, table)
        schema, name = self._place(table)
        with self._guard(f"table '{table}'"):
            columns = sa.inspect(self._engine).get_columns(name, schema)
        types = {column["name"]: arrow_type(column["type"]) for column in columns}
        if self._dialect == "sqlite":
            types |= self._as_stored(table, [column for column, type in types.items() if type is not None and pa.types.is_temporal(type)])
        return pa.schema([(column, type) for column, type in types.items() if type is not None])

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(f"source '{self.name}', table '{table}'", schema, columns, types)
        statement = query or self._select(table, columns)
        first = 1
        with self._guard(f"table '{table}'"), self._engine.connect() as connection:
            result = self._execute(connection, statement)
            places = [list(result.keys()).index(column) for column in columns]
            size = min(FIRST_ROWS, self.batch_rows)
            while rows := result.fetchmany(size):
                held = 0
                for item in typed([[row[place] for place in places] for row in rows], first, wanted, schema):
                    held += 0 if isinstance(item, Malformed) else item.nbytes
                    yield item
                first += len(rows)
                size = max(1, min(self.batch_rows, 8 * size, int(BATCH_BYTES * len(rows) / max(held, 1))))

    @property
    def _dialect(self) -> str:
        return self._engine.dialect.name

    def _tables(self, schema: str | None) -> list[str]:
        with self._guard("its catalogue"):
            inspector = sa.inspect(self._engine)
            names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
            if self._dialect == "postgresql":
                names += [*inspector.get_materialized_view_names(schema), *inspector.get_foreign_table_names(schema)]  # type: ignore[attr-defined]
            return sorted(names)

    def _place(self, table: str) -> tuple[str | None, str]:
        """The schema and name of a table. Raises SourceError with the nearest name where there is none."""
        known = self.tables()
        if table in known:
            return self.schema_name, table
        schema, dot, name = table.rpartition(".")
        if dot and name in (known := self._tables(schema)):
            return schema, name
        raise SourceError(f"source '{self.name}': no table '{table}'.{nearest(name, known)}")

    def _select(self, table: str, columns: Sequence[str]) -> sa.Select[Any]:
        schema, name = self._place(table)
        described = sa.table(name, *(sa.column(column) for column in columns), schema=schema)
        key = sa.inspect(self._engine).get_pk_constraint(name, schema)["constrained_columns"]
        return sa.select(*described.c).order_by(*(sa.column(column) for column in key))

    def _execute(self, connection: sa.Connection, statement: sa.Select[Any] | str) -> sa.CursorResult[Any]:
        """Run a statement by a server-side cursor in a read-only transaction. A policy's query goes as it is written, colons and all."""
        for setting in _SESSION.get(self._dialect, ()):
            connection.exec_driver_sql(setting)
        if isinstance(statement, str):
            options = connection.execution_options(stream_results=True, no_parameters=True)
            return options.exec_driver_sql(statement.rstrip().rstrip(";"))
        return connection.execution_options(stream_results=True).execute(statement)

    def _of_query(self, query: str, table: str) -> pa.Schema:
        """A query's columns: by the server's types where they can be asked for, else by what a sample of its values is."""
        with self._guard(f"query of table '{table}'"), self._engine.connect() as connection:
            result = self._execute(connection, query)
            names = list(result.keys())
            types = _postgres_types(result) if self._dialect == "postgresql" else self._sampled(result.fetchmany(SAMPLE_ROWS), len(names))
            result.close()
        twice = [name for name, number in Counter(names).items() if number > 1]
        if twice:
            raise SourceError(f"source '{self.name}', query of table '{table}': two columns are called '{twice[0]}'. Rename one: … AS name")
        return pa.schema([(name, type) for name, type in zip(names, types, strict=True) if type is not None])

    @staticmethod
    def _sampled(rows: Sequence[Any], width: int) -> list[pa.DataType | None]:
        return [value_type([row[index] for row in rows]) for index in range(width)]

    def _as_stored(self, table: str, columns: list[str]) -> dict[str, pa.DataType]:
        """How SQLite's dates are written, for it has no such type and stores what it is given: text where a sample is no ISO date."""
        if not columns:
            return {}
        with self._guard(f"table '{table}'"), self._engine.connect() as connection:
            rows = self._execute(connection, self._select(table, columns).limit(SAMPLE_ROWS)).fetchall()
        found = {}
        for index, column in enumerate(columns):
            values = [as_text(row[index]) for row in rows if row[index] is not None]
            if values:
                guessed = guess_type(values)
                found[column] = guessed if pa.types.is_temporal(guessed) else pa.string()
        return found

    def _guard(self, what: str) -> _Guard:
        return _Guard(f"source '{self.name}', {what}", self._dialect)


class _Guard:
    """Says which source and what of it could not be read. A driver's message can hold the URL or a value, so it is withheld."""

    def __init__(self, where: str, dialect: str) -> None:
        self.where, self.dialect = where, dialect

    def __enter__(self) -> None:
        return None

    def __exit__(self, type: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sa.exc.SQLAlchemyError):
            cause = getattr(error, "orig", None) or error
            raise SourceError(f"{self.where}: cannot be read ({cause.__class__.__name__}). {self._hint(error, cause)}") from None

    def _hint(self, error: BaseException, cause: BaseException) -> str:
        if getattr(cause, "sqlstate", None) == "42501":
            return "Its user may not read it. Grant SELECT"
        if self.dialect == "sqlite":
            return "Is the file a SQLite database that the run's user may read, and the query right?"
        if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError | sa.exc.TimeoutError):
            return "Is the server up, the network open, and are the credentials right? Start the run again: it goes on"
        return "Is the query right?"


def _engine(name: str, url: str, folder: Path) -> tuple[sa.URL, sa.Engine]:
    try:
        located = _located(sa.engine.make_url(url), folder)
        options: dict[str, Any] = {}
        if located.get_backend_name() == "postgresql":
            options = {key: value for key, value in POSTGRES_CONNECT.items() if key not in located.query}
        return located, sa.create_engine(located, pool_pre_ping=True, connect_args=options)
    except ModuleNotFoundError as error:
        raise SourceError(f"source '{name}': the driver '{error.name}' of its URL is not installed. Install it beside the pipeline") from None
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError):
        raise SourceError(f"source '{name}': its URL is none that SQLAlchemy knows here (dialect://user:password@host/database)") from None


def _located(url: sa.URL, folder: Path) -> sa.URL:
    """PostgreSQL by psycopg 3; a relative SQLite file is relative to the policy."""
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database and not Path(url.database).is_absolute():
        return url.set(database=str((folder / url.database).resolve()))
    return url


def _lenient(connection: Any, _: Any) -> None:
    """Let one odd value make one record fall out, where the driver would end the whole read."""
    if hasattr(connection, "text_factory"):
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    elif hasattr(connection, "adapters"):
        from psycopg.types.string import TextLoader

        for name in POSTGRES_AS_TEXT:
            connection.adapters.register_loader(name, TextLoader)


def _postgres_types(result: sa.CursorResult[Any]) -> list[pa.DataType | None]:
    from psycopg import adapters

    found = []
    described: Any = result.cursor.description if result.cursor is not None else ()
    for column in described:
        known = adapters.types.get(int(column[1]))
        found.append(postgres_type(known.name if known is not None else "", column[4], column[5]))
    return found
