"""Databases: read only, streamed by a server-side cursor, in the order of the primary key, by one connection or by several side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from anonymize.errors import NoSuchTable, SourceError
from anonymize.policy.nearest import nearest
from anonymize.policy.origins import SqlSource
from anonymize.sources.base import Malformed, Source
from anonymize.sources.conform import guess_type, wanted_types
from anonymize.sources.connections import connection_url
from anonymize.sources.dialects import Guard, engine, installed
from anonymize.sources.pace import Pace
from anonymize.sources.parts import Part
from anonymize.sources.ranges import conditions
from anonymize.sources.sessions import Chunk, DriverSession, Session, Statement
from anonymize.sources.side_by_side import in_order, numbered
from anonymize.sources.sql_parts import condition
from anonymize.sources.sql_types import arrow_type, as_text, value_type

__all__ = ["SqlDatabase", "connection_url", "open_database"]

SAMPLE_ROWS = 1_000
BATCH_BYTES = 16 << 20
#: Of one chunk, where several connections read ahead.
PART_BYTES = 4 << 20


def open_database(name: str, url: str, settings: SqlSource, *, folder: Path) -> Source:
    """The database of a URL. Raises SourceError where it is none, or not there."""
    if url.partition(":")[0] == "duckdb":
        from anonymize.sources.duckdb_file import DuckDbFile

        return DuckDbFile(name, url, schema=settings.schema_name, batch_rows=settings.batch_rows, rate=settings.rate, folder=folder)
    return SqlDatabase(
        name,
        url,
        schema=settings.schema_name,
        batch_rows=settings.batch_rows,
        folder=folder,
        fast=settings.fast,
        partitions=settings.partitions,
        connections=settings.connections,
        rate=settings.rate,
    )


class SqlDatabase:
    """One database. url: SQLAlchemy's; schema: the database's, where it has several; folder: where a relative SQLite path begins; the rest as
    in `SqlSource`.

    A table's name may say its schema: `clinical.visits`. Every SourceError names the source and the table, and holds no URL and no value.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        schema: str | None,
        batch_rows: int,
        folder: Path,
        fast: bool = True,
        partitions: int = 1,
        connections: int = 4,
        rate: int | None = None,
    ) -> None:
        self.name, self.schema_name, self.batch_rows = name, schema, batch_rows
        self.fast, self.partitions, self.connections, self.rate = fast, partitions, connections, rate
        self._engine = engine(name, url, folder)
        self._names: dict[str | None, list[str]] = {}
        self._schemas: dict[tuple[str, str | None], pa.Schema] = {}
        if self._dialect == "sqlite" and not Path(self._engine.url.database or "").is_file():
            raise SourceError(f"source '{name}': there is no SQLite file {self._engine.url.database}")

    def tables(self) -> list[str]:
        return self._tables(self.schema_name)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if (table, query) not in self._schemas:
            self._schemas[table, query] = self._of_query(query, table) if query else self._of_table(table)
        return self._schemas[table, query]

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        yield from self._read(table, columns, query, types, None)

    def read_part(
        self, table: str, columns: Sequence[str], part: Part, *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        """As `read`, the rows of a part, by a condition that the server can find in its index."""
        yield from self._read(table, columns, query, types, condition(part, self._dialect))

    def _read(
        self,
        table: str,
        columns: Sequence[str],
        query: str | None,
        types: Mapping[str, pa.DataType] | None,
        where: sa.ColumnElement[bool] | None,
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(f"source '{self.name}', table '{table}'", schema, columns, types)
        key = [] if query else self._key(table)
        statement: Statement = self._narrowed(query, where) if query else self._select(table, columns, key)
        if where is not None and not isinstance(statement, str):
            statement = statement.where(where)
        with self._guard(f"query of table '{table}'" if query else f"table '{table}'"):
            sessions: list[Session] = []
            try:
                workers = min(self.partitions, self.connections) if key and key[0] in schema.names else 1
                sessions = self._sessions(workers)
                parts = self._parts(sessions[0], table, key, statement) if workers > 1 else [statement]
                reads: list[Callable[[Session], Iterator[Chunk]]] = [partial(_read, part, wanted, schema) for part in parts]
                yield from numbered(reads[0](sessions[0])) if len(reads) == 1 else in_order(sessions, reads)
            finally:
                for session in sessions:
                    session.close()

    @property
    def _dialect(self) -> str:
        return self._engine.dialect.name

    def _sessions(self, number: int) -> list[Session]:
        """So many connections that see the data in one state, where the server can show it: PostgreSQL's exported snapshot. MySQL's are opened
        one after the other before the first reads."""
        pace, size = Pace(self.rate), BATCH_BYTES if number == 1 else PART_BYTES
        sessions: list[Session] = []
        try:
            sessions.append(self._session(pace, size, None))
            shared = number > 1 and self._dialect == "postgresql"
            snapshot = str(sessions[0].values(sa.text("SELECT pg_export_snapshot()"))[0][0]) if shared else None
            sessions += [self._session(pace, size, snapshot) for _ in range(number - 1)]
        except BaseException:
            for session in sessions:
                session.close()
            raise
        return sessions

    def _session(self, pace: Pace, size: int, snapshot: str | None) -> Session:
        options: dict[str, Any] = {"batch_rows": self.batch_rows, "size": size, "pace": pace, "schema": self.schema_name, "snapshot": snapshot}
        if self._straight:
            from adbc_driver_manager.dbapi import Error

            from anonymize.sources.postgres_arrow import ArrowSession

            try:
                return ArrowSession(self._engine.url, **options)
            except Error:
                # The usual driver says what is wrong, or can do what this one cannot.
                self.__dict__["_straight"] = False
        return DriverSession(self._engine, **options)

    @cached_property
    def _straight(self) -> bool:
        """Whether the fast way is open: PostgreSQL that knows its texts' encoding, and a driver."""
        if not self.fast or self._dialect != "postgresql" or not installed("adbc_driver_postgresql"):
            return False
        with self._engine.connect() as connection:
            return str(connection.exec_driver_sql("SHOW server_encoding").scalar()) != "SQL_ASCII"

    def _tables(self, schema: str | None) -> list[str]:
        if schema not in self._names:
            with self._guard("its catalogue"), self._engine.connect() as connection:
                inspector = sa.inspect(connection)
                names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
                if self._dialect == "postgresql":
                    names += [*inspector.get_materialized_view_names(schema), *inspector.get_foreign_table_names(schema)]  # type: ignore[attr-defined]
                self._names[schema] = sorted(set(names))
        return self._names[schema]

    def _place(self, table: str) -> tuple[str | None, str]:
        """The schema and name of a table, also where they are written in other cases. Raises NoSuchTable with the nearest name."""
        known = self.tables()
        if (found := _named(table, known)) is not None:
            return self.schema_name, found
        schema, dot, name = table.rpartition(".")
        if dot and (found := _named(name, known := self._tables(schema))) is not None:
            return schema, found
        raise NoSuchTable(f"source '{self.name}': no table '{table}'.{nearest(name, known)}")

    def _key(self, table: str) -> list[str]:
        schema, name = self._place(table)
        with self._guard(f"table '{table}'"), self._engine.connect() as connection:
            return list(sa.inspect(connection).get_pk_constraint(name, schema)["constrained_columns"])

    def _select(self, table: str, columns: Sequence[str], key: Sequence[str]) -> sa.Select[Any]:
        schema, name = self._place(table)
        described = sa.table(name, *(sa.column(column) for column in columns), schema=schema)
        return sa.select(*described.c).order_by(*(sa.column(column) for column in key))

    def _narrowed(self, query: str, where: sa.ColumnElement[bool] | None) -> str:
        if where is None:
            return query
        told = where.compile(dialect=self._engine.dialect, compile_kwargs={"literal_binds": True})
        return f"SELECT * FROM ({query.rstrip().rstrip(';')}) part WHERE {told}"  # noqa: S608

    def _parts(self, session: Session, table: str, key: Sequence[str], statement: Statement) -> list[Statement]:
        (schema, name), described = self._place(table), self.schema(table)
        assert not isinstance(statement, str)  # for the type checker: a query has no key
        whole = pa.types.is_integer(described.field(key[0]).type)
        found = conditions(session, sa.table(name, sa.column(key[0]), schema=schema), whole, self._dialect, self.partitions)
        return [statement.where(condition) for condition in found] or [statement]

    def _of_table(self, table: str) -> pa.Schema:
        schema, name = self._place(table)
        with self._guard(f"table '{table}'"):
            if self._dialect in ("postgresql", "mysql", "mariadb"):
                described = sa.select(sa.text("*")).select_from(sa.table(name, schema=schema)).limit(0)
                return self._by_the_server(described) or pa.schema([])
            with self._engine.connect() as connection:
                columns = sa.inspect(connection).get_columns(name, schema)
        types = {column["name"]: arrow_type(column["type"]) for column in columns}
        if self._dialect == "sqlite":
            types |= self._as_stored(table, [column for column, type in types.items() if type is not None and pa.types.is_temporal(type)])
        return pa.schema([(column, type) for column, type in types.items() if type is not None])

    def _of_query(self, query: str, table: str) -> pa.Schema:
        """A query's columns: by the server's types where it tells them, else by what a sample of its values is."""
        where = f"query of table '{table}'"
        with self._guard(where):
            schema = self._by_the_server(query) or self._by_a_sample(query)
        twice = [name for name, number in Counter(schema.names).items() if number > 1]
        if twice:
            raise SourceError(f"source '{self.name}', {where}: two columns are called '{twice[0]}'. Rename one: … AS name")
        return schema

    def _by_the_server(self, statement: Statement) -> pa.Schema | None:
        session = self._driver()
        try:
            return session.described(statement)
        finally:
            session.close()

    def _by_a_sample(self, query: str) -> pa.Schema:
        session = self._driver()
        try:
            result = session.execute(query)
            names, rows = list(result.keys()), result.fetchmany(SAMPLE_ROWS)
        finally:
            session.close()
        return pa.schema([(name, value_type([row[index] for row in rows])) for index, name in enumerate(names)])

    def _driver(self) -> DriverSession:
        return DriverSession(self._engine, batch_rows=self.batch_rows, size=BATCH_BYTES, pace=Pace(None), schema=self.schema_name)

    def _as_stored(self, table: str, columns: list[str]) -> dict[str, pa.DataType]:
        """How SQLite's dates are written, for it has no such type and stores what it is given: text where a sample is no ISO date."""
        if not columns:
            return {}
        with self._guard(f"table '{table}'"), self._engine.connect() as connection:
            rows = connection.execute(self._select(table, columns, ()).limit(SAMPLE_ROWS)).fetchall()
        found = {}
        for index, column in enumerate(columns):
            values = [as_text(row[index]) for row in rows if row[index] is not None]
            if values:
                guessed = guess_type(values)
                found[column] = guessed if pa.types.is_temporal(guessed) else pa.string()
        return found

    def _guard(self, what: str) -> Guard:
        return Guard(f"source '{self.name}', {what}", self._dialect)


def _read(statement: Statement, types: Mapping[str, pa.DataType], schema: pa.Schema, session: Session) -> Iterator[Chunk]:
    return session.rows(statement, types, schema)


def _named(table: str, known: Sequence[str]) -> str | None:
    """The name as the database has it; in another case where that is the only one."""
    if table in known:
        return table
    alike = [name for name in known if name.lower() == table.lower()]
    return alike[0] if len(alike) == 1 else None
