"""Databases: SQLite, and a real PostgreSQL that the test starts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from anonymize.errors import SourceError
from anonymize.sources.base import Malformed
from anonymize.sources.sql import SqlDatabase, connection_url
from tests.servers import postgres


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(
                sa.text(
                    "CREATE TABLE visits (id int PRIMARY KEY, who text, at timestamptz, day date, cost numeric, ok bool, doc jsonb, raw bytea)"
                )
            )
            connection.execute(
                sa.text(
                    "INSERT INTO visits SELECT n, 'P' || n, '2020-01-01T10:00Z'::timestamptz + n * interval '1 hour', "
                    "date '2020-01-01' + n, n * 1.5, n % 2 = 0, '{\"a\": 1}', 'x' FROM generate_series(25000, 1, -1) n"
                )
            )
        engine.dispose()
        yield url


def opened(url: str, batch_rows: int = 1_000, **more: Any) -> SqlDatabase:
    return SqlDatabase("ehr", url, schema=None, batch_rows=batch_rows, folder=Path("."), **more)


def batches(source: SqlDatabase, table: str, columns: list[str], **more: object) -> pa.Table:
    items = list(source.read(table, columns, **more))  # type: ignore[arg-type]
    assert not [item for item in items if isinstance(item, Malformed)]
    return pa.Table.from_batches(items)


def test_postgres_types_order_and_catalogue(server: str) -> None:
    source = opened(server)
    assert source.tables() == ["visits"]
    schema = source.schema("visits")
    assert "raw" not in schema.names, "bytes do not leave"
    assert str(schema.field("at").type) == "timestamp[us, tz=UTC]"
    table = batches(source, "visits", ["id", "at", "day", "cost", "ok", "doc"])
    assert table["id"].to_pylist() == list(range(1, 25_001)), "in the order of the primary key"
    assert table["__row"].to_pylist()[:3] == [1, 2, 3]
    assert table["day"][0].as_py() == dt.date(2020, 1, 2)
    assert table["at"][0].as_py() == dt.datetime(2020, 1, 1, 11, tzinfo=dt.UTC)
    assert (table["cost"][0].as_py(), table["ok"][1].as_py(), table["doc"][0].as_py()) == (1.5, True, '{"a": 1}')


def test_a_query_instead_of_a_table(server: str) -> None:
    query = "SELECT who AS name, count(*) AS n FROM visits WHERE id < 4 GROUP BY who ORDER BY who"
    assert batches(opened(server), "q", ["name", "n"], query=query).to_pylist()[0] == {"__row": 1, "name": "P1", "n": 1}


def test_rows_are_streamed_and_not_collected(server: str) -> None:
    before = pa.total_allocated_bytes()
    peak = 0
    for batch in opened(server, 500).read("visits", ["id", "who"]):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert isinstance(batch, pa.RecordBatch)
        assert batch.num_rows <= 500
    assert peak < 1 << 20


@pytest.mark.parametrize("how", [{"fast": False}, {"fast": True}, {"fast": False, "partitions": 3}])
def test_a_database_that_goes_away_is_said_without_values(server: str, how: dict[str, Any]) -> None:
    long = "SELECT 1 AS id, 'P1' || repeat('x', 2000) AS who FROM generate_series(1, 100000)" if how["fast"] else None
    items = opened(server, 100, **how).read("visits", ["id", "who"], query=long)
    next(items)
    killer = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://"))
    with killer.begin() as connection:
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid() AND backend_type = 'client backend'")
        )
    with pytest.raises(SourceError, match=r"source 'ehr', .*table 'visits': cannot be read") as raised:
        list(items)
    assert "P1" not in str(raised.value)
    assert "again" in str(raised.value)


def test_the_session_is_read_only(server: str) -> None:
    with pytest.raises(SourceError):
        list(opened(server).read("q", ["id"], query="WITH gone AS (DELETE FROM visits RETURNING id) SELECT id FROM gone"))


def test_a_server_that_is_not_there_and_no_password_in_the_error() -> None:
    with pytest.raises(SourceError, match="cannot be read") as raised:
        opened("postgresql://user:hunter2@127.0.0.1:1/none").tables()
    assert "hunter2" not in str(raised.value)


def test_sqlite_holds_what_it_likes(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n INTEGER, x REAL, d DATE)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1, 1.5, '2020-01-01'), ('many', 2, '2020-01-02'), (3, NULL, NULL)"))
    items = list(opened(f"sqlite:///{tmp_path}/a.db").read("t", ["n", "x"]))
    malformed = [item for item in items if isinstance(item, Malformed)]
    assert [(item.row, item.reason, item.column) for item in malformed] == [(2, "not-int64", "n")]
    assert pa.Table.from_batches([i for i in items if isinstance(i, pa.RecordBatch)])["n"].to_pylist() == [1, 3]


@pytest.mark.parametrize(("table", "words"), [("tt", "Did you mean 't'"), ("t", "no column 'nn'")])
def test_wrong_names(tmp_path: Path, table: str, words: str) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n INTEGER)"))
    with pytest.raises(SourceError, match=words):
        list(opened(f"sqlite:///{tmp_path}/a.db").read(table, ["nn"]))


def test_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EHR", "postgres://u:p@host:5433/db")
    assert connection_url("ehr", None) == "postgresql+psycopg://u:p@host:5433/db"
    monkeypatch.setenv("AIRFLOW_CONN_EHR", '{"conn_type": "postgres", "host": "host", "login": "u", "password": "p@:/", "schema": "db"}')
    assert sa.engine.make_url(connection_url("ehr", None)).password == "p@:/"
    assert connection_url("other", lambda name: f"sqlite:///{name}.db") == "sqlite:///other.db"
    with pytest.raises(SourceError, match="AIRFLOW_CONN_NONE"):
        connection_url("none", None)
