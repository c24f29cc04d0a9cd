"""The fast way from PostgreSQL gives what the usual one gives: rows, types, order and quarantine, whatever the columns hold."""
# ruff: noqa: E501 (rows and statements stand in one line)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.sources.base import Malformed
from anonymize.sources.postgres_arrow import ArrowSession
from anonymize.sources.sql import SqlDatabase
from tests.servers import postgres

#: A type of PostgreSQL, and texts of its values: those that people write, and those that break readers.
DATES = ["2020-02-29", "0001-01-01", "9999-12-31", "infinity", "-infinity", "0044-03-15 BC", "12020-01-01", "4713-01-01 BC", "5874897-12-31"]
TIMES = ["2020-02-29 23:59:59.999999", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "infinity", "-infinity"]
TIMES += ["0044-03-15 12:30:00.5 BC", "12020-01-01 00:00:00.000001", "294276-12-31 23:59:59", "1969-12-31 23:59:59.1", "4713-01-01 00:00:00 BC"]
TYPES: dict[str, list[str]] = {
    "int2": ["0", "-32768", "32767"],
    "int4": ["1", "-2147483648"],
    "int8": ["9223372036854775807", "-9223372036854775808", "5"],
    "oid": ["4294967295", "1"],
    "float4": ["1.1", "NaN", "Infinity", "1e-40", "-0"],
    "float8": ["0.1", "NaN", "-Infinity", "1e308", "5e-324", "-0"],
    "numeric": ["1.50", "NaN", "-0.000001", "123456789012345678901234567890.5", "Infinity"],
    "numeric(12,2)": ["1.50", "-9999999999.99"],
    "numeric(30,0)": ["42", "123456789012345678901234567890", "9223372036854775807"],
    "money": ["1.50"],
    "bool": ["t", "f"],
    "text": ["", "x", "ü😀", "a\nb\tc", "NULL", "\\N", "1,2"],
    "varchar(20)": ["", "O'Brien", "%s :x"],
    "char(4)": ["a", "abcd", ""],
    "name": ["nn"],
    '"char"': ["c"],
    "date": DATES,
    "timestamp": TIMES,
    "timestamptz": [*TIMES[:2], "2020-01-01 00:00:00+13:45", *TIMES[3:]],
    "time": ["00:00", "23:59:59.000001"],
    "timetz": ["10:00+02"],
    "interval": ["1 day -02:03:04.5", "1 year 2 mons", "-1 days"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "json": ['{"a":  1}', "[1, 2]", '"x"', "null"],
    "jsonb": ['{"b": 1, "a": [1.50]}', "null"],
    "inet": ["192.168.0.1/24", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(3)": ["101"],
    "varbit": ["1", ""],
    "int4[]": ["{1,2,NULL}", "{}", "{{1},{2}}"],
    "text[]": ['{"a b",NULL,"c,d"}'],
    "date[]": ["{infinity,2020-01-01}"],
    "int4range": ["[1,5)", "empty"],
    "tstzrange": ["[2020-01-01 00:00+00,infinity]"],
    "point": ["(1,2.5)"],
    "tsvector": ["a:1 b:2"],
    "mood": ["sad", "it's ok"],
    "pair": ['(1,"a b")'],
    "short": ["abc"],
    "shortdate": ["2020-01-01", "infinity"],
    "bytea": ["\\x00ff"],
}
ASKED = {"date": [None, pa.string()], "timestamp": [None, pa.string(), pa.date32()], "int4": [None, pa.string(), pa.float64()]}
ASKED |= {"numeric": [None, pa.string(), pa.int64()], "text": [None, pa.int64(), pa.date32()], "bool": [None, pa.string()]}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
        with engine.begin() as connection:
            for statement in (
                "CREATE TYPE mood AS ENUM ('sad', 'it''s ok')",
                "CREATE TYPE pair AS (a int, b text)",
                "CREATE DOMAIN short AS varchar(3)",
                "CREATE DOMAIN shortdate AS date",
                "CREATE TABLE long AS SELECT n AS id, 'P' || n AS who, CASE WHEN n % 5000 = 7 THEN date 'infinity' ELSE date '2020-01-01' + n % 900 END "
                "AS day, uuid_in(md5(n::text)::cstring) AS u, n / 3 AS a, 'K' || n % 977 || '''' || n AS k FROM generate_series(1, 30000) n",
                "ALTER TABLE long ADD PRIMARY KEY (id)",
                "CREATE TABLE by_uuid AS SELECT u, id, day FROM long",
                "ALTER TABLE by_uuid ADD PRIMARY KEY (u)",
                "CREATE TABLE by_two AS SELECT a, id, day FROM long",
                "ALTER TABLE by_two ADD PRIMARY KEY (a, id)",
                "CREATE TABLE by_text AS SELECT k, id, day FROM long",
                "ALTER TABLE by_text ADD PRIMARY KEY (k)",
                "CREATE TABLE sparse AS SELECT id::int8 * id * 100000 AS id, day FROM long",
                "ALTER TABLE sparse ADD PRIMARY KEY (id)",
                "CREATE TABLE empty (id int PRIMARY KEY, day date)",
            ):
                connection.exec_driver_sql(statement.replace("%", "%%"))
        yield url


def opened(url: str, **more: Any) -> SqlDatabase:
    return SqlDatabase("ehr", url, schema=None, batch_rows=1_000, folder=Path("."), **more)


def read(source: SqlDatabase, table: str, columns: list[str], **more: Any) -> tuple[pa.Table, list[tuple[Any, ...]]]:
    items = list(source.read(table, columns, **more))
    fallen = [(item.row, item.reason, item.column, item.raw) for item in items if isinstance(item, Malformed)]
    batches = [item for item in items if isinstance(item, pa.RecordBatch)]
    return pa.Table.from_batches(batches) if batches else pa.table({name: [] for name in columns}), fallen


def alike(one: pa.Table, other: pa.Table) -> bool:
    """Equal in all, a NaN being a NaN."""
    assert one.schema == other.schema
    return str(one.to_pydict()) == str(other.to_pydict())


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str | None]], dict[str, pa.DataType]]:
    types = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=8))
    rows = draw(st.integers(0, 6))
    values = [[draw(st.sampled_from([None, *TYPES[type]])) for type in types] for _ in range(rows)]
    asked = {f"c{n}": draw(st.sampled_from(ASKED[type])) for n, type in enumerate(types) if type in ASKED}
    return types, values, {name: type for name, type in asked.items() if type is not None}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(table=tables())
def test_both_ways_give_the_same(server: str, table: tuple[list[str], list[list[str | None]], dict[str, pa.DataType]]) -> None:
    types, rows, asked = table
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS t")
        connection.exec_driver_sql(f"CREATE TABLE t (id serial PRIMARY KEY, {', '.join(f'c{n} {type}' for n, type in enumerate(types))})")
        for row in rows:
            cells = ", ".join("NULL" if cell is None else "'" + cell.replace("'", "''") + "'" for cell in row)
            connection.exec_driver_sql(f"INSERT INTO t ({', '.join(f'c{n}' for n in range(len(types)))}) VALUES ({cells})".replace("%", "%%"))
    usual, fast = opened(server, fast=False), opened(server)
    assert fast._straight
    columns = usual.schema("t").names
    assert [f"c{n}" for n, type in enumerate(types) if type != "bytea"] == columns[1:], "bytes do not leave, all else does"
    for query in (None, "SELECT * FROM t -- a remark, :no parameter\nORDER BY id DESC;"):
        (one, fallen), (other, fell) = (read(source, "t", columns, query=query, types=asked) for source in (usual, fast))
        assert fallen == fell
        assert alike(one, other)
        assert one.num_rows + len(fallen) == len(rows)


@pytest.mark.parametrize("table", ["long", "by_uuid", "by_two", "by_text", "sparse", "empty"])
@pytest.mark.parametrize("fast", [True, False])
def test_ranges_side_by_side_give_what_one_connection_gives(server: str, table: str, fast: bool) -> None:
    columns = opened(server).schema(table).names
    whole, fallen = read(opened(server, fast=False), table, columns)
    parts, fell = read(opened(server, fast=fast, partitions=7, connections=3), table, columns)
    for name in parts.column_names:
        assert parts[name].to_pylist() == whole[name].to_pylist(), name
    assert parts.schema == whole.schema
    assert fell == fallen
    assert len(fell) == (0 if table == "empty" else 6)


def test_no_more_connections_than_the_policy_allows_and_none_left(server: str) -> None:
    watcher = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with watcher.connect() as connection:
        count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid != pg_backend_pid()")
        for fast in (True, False):
            most = 0
            for _ in opened(server, fast=fast, partitions=20, connections=3).read("long", ["id"]):
                most = max(most, connection.execute(count).scalar_one())
            assert most == 3
        abandoned = opened(server, partitions=20).read("long", ["id"])
        next(abandoned)
        abandoned.close()  # type: ignore[attr-defined]
        assert connection.execute(sa.text("SELECT pg_sleep(0.2)")) is not None
        assert connection.execute(count).scalar_one() == 0


def test_ranges_see_one_state_of_the_data(server: str) -> None:
    """What is written while a table is read is in none of its ranges."""
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    for fast in (True, False):
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "DROP TABLE IF EXISTS moving; CREATE TABLE moving AS SELECT n AS id, 0 AS state FROM generate_series(1, 20000) n"
            )
            connection.exec_driver_sql("ALTER TABLE moving ADD PRIMARY KEY (id)")
        items = opened(server, fast=fast, partitions=10, connections=2).read("moving", ["id", "state"])
        seen = [next(items)]
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE moving SET state = 1; INSERT INTO moving SELECT n, 1 FROM generate_series(20001, 30000) n")
        found = pa.Table.from_batches([*seen, *items])
        assert found["id"].to_pylist() == list(range(1, 20_001))
        assert set(found["state"].to_pylist()) == {0}


def test_without_the_fast_way_the_usual_one_takes_its_place(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adbc_driver_manager import dbapi

    def refuse(*_: object, **__: object) -> None:
        raise dbapi.OperationalError("no way in", status_code=1)  # type: ignore[call-arg]

    there, _ = read(opened(server), "long", ["id", "who"])
    monkeypatch.setattr(ArrowSession, "__init__", refuse)
    assert read(opened(server), "long", ["id", "who"])[0].equals(there)
