"""MariaDB on a real server, DuckDB's files, SQLite in ranges, the pace, and what the servers that no test can start are asked."""
# ruff: noqa: E501 (rows and statements stand in one line)

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle

from anonymize import pipeline
from anonymize.errors import NoSuchTable, SourceError
from anonymize.policy.loader import load
from anonymize.policy.origins import SqlSource
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.sources.base import Malformed
from anonymize.sources.dialects import located, settings
from anonymize.sources.duckdb_file import DuckDbFile
from anonymize.sources.pace import Pace
from anonymize.sources.sql import SqlDatabase, open_database
from anonymize.sources.sql_types import arrow_type
from tests.conftest import ROOT
from tests.servers import mariadb

KINDS = """CREATE TABLE kinds (id INT PRIMARY KEY, flag TINYINT(1), bits BIT(5), big BIGINT UNSIGNED, exact DECIMAL(10,2), whole DECIMAL(20,0), approx FLOAT,
 day DATE, at DATETIME(6), stamp TIMESTAMP NULL, clock TIME, year YEAR, word ENUM('a','b'), words SET('x','y'), doc JSON, uid UUID, addr INET6,
 body TEXT CHARACTER SET latin1, raw BLOB, key16 BINARY(16), place POINT)"""
ROWS = """INSERT INTO kinds VALUES
 (3, 1, b'10101', 18446744073709551615, 1.50, 12, 1.1, '2020-02-29', '2020-02-29 10:00:00.123456', '2020-02-29 10:00:00', '-25:00:01', 2020, 'a', 'x,y', '{"a": 1}', UUID(), '::1', 'café', 'x', 'x', NULL),
 (1, 0, b'1', 9223372036854775807, -1.25, 99999999999999999999, NULL, '0000-00-00', '2020-01-01', NULL, NULL, NULL, 'b', '', NULL, NULL, NULL, '', NULL, NULL, NULL),
 (2, NULL, NULL, 7, NULL, NULL, NULL, '2020-01-01', '0000-00-00 00:00:00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, 5, NULL, 7, NULL, -5, NULL, '2020-00-10', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (5, 5, NULL, 7, 2, -5, 2, '2020-01-10', '1000-01-01', '2020-07-01 12:00:00', '10:00', 1999, 'b', 'y', '[]', NULL, NULL, 'ok', NULL, NULL, NULL)"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with mariadb() as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("SET sql_mode = '', time_zone = '+05:00'")
            for statement in (
                KINDS,
                ROWS,
                "CREATE TABLE many (a INT, b VARCHAR(20), day DATE, PRIMARY KEY (a, b))",
                "INSERT INTO many SELECT seq DIV 3, CONCAT('K', seq), IF(seq %% 5000 = 7, '0000-00-00', '2020-01-01') FROM seq_1_to_20000",
                "CREATE VIEW seen AS SELECT a, day FROM many",
                "CREATE USER reader@localhost IDENTIFIED BY 'r'",
                "GRANT SELECT ON test.kinds TO reader@localhost",
                "GRANT SELECT ON test.many TO reader@localhost",
            ):
                connection.exec_driver_sql(statement)
        yield url


def opened(url: str, **more: Any) -> SqlDatabase:
    return SqlDatabase("ehr", url, schema=None, batch_rows=1_000, folder=Path("."), **more)


def parted(items: Iterator[pa.RecordBatch | Malformed]) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    held = list(items)
    rows = [row for item in held if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    return rows, [(item.row, item.reason, item.column) for item in held if isinstance(item, Malformed)]


def test_mariadbs_types(server: str) -> None:
    schema = opened(server).schema("kinds")
    assert {field.name: str(field.type) for field in schema} == {
        **dict.fromkeys(("id", "flag", "bits", "big", "whole", "year"), "int64"),
        **dict.fromkeys(("exact", "approx"), "double"),
        **dict.fromkeys(("clock", "word", "words", "doc", "uid", "addr", "body"), "string"),
        "day": "date32[day]",
        "at": "timestamp[us]",
        "stamp": "timestamp[us, tz=UTC]",
    }, "bytes do not leave"


def test_a_bad_value_makes_its_own_record_fall_out(server: str) -> None:
    source = opened(server)
    rows, fallen = parted(source.read("kinds", source.schema("kinds").names))
    assert fallen == [(1, "not-int64", "whole"), (2, "not-timestamp", "at"), (3, "not-int64", "big"), (4, "not-date", "day")]
    (row,) = rows
    assert (row["id"], row["bits"], row["clock"], row["year"], row["word"], row["approx"]) == (5, None, "10:00:00", 1999, "b", 2.0)
    assert row["stamp"] == dt.datetime(2020, 7, 1, 7, tzinfo=dt.UTC), "whatever the server's zone"
    assert row["at"] == dt.datetime(1000, 1, 1)
    (third,), _ = parted(source.read("kinds", ["id", "flag", "bits", "exact", "at", "words", "doc", "body", "addr"], query="SELECT * FROM kinds WHERE id = 3"))
    del third["__row"]
    assert list(third.values()) == [3, 1, 21, 1.5, dt.datetime(2020, 2, 29, 10, 0, 0, 123456), "x,y", '{"a": 1}', "café", "::1"]


def test_bytes_that_are_no_text_reach_us_as_lone_surrogates(server: str) -> None:
    assert b"caf\xe9".decode("utf-8-lone") == "caf\udce9"
    with opened(server)._engine.connect() as connection:
        assert connection.connection.driver_connection.encoding == "utf-8-lone"  # type: ignore[union-attr]


def test_ranges_give_what_one_connection_gives(server: str) -> None:
    whole = parted(opened(server).read("many", ["a", "b", "day"]))
    assert len(whole[1]) == 4
    assert parted(opened(server, partitions=5, connections=2).read("many", ["a", "b", "day"])) == whole
    assert [row["__row"] for row in whole[0]][:6] == [1, 2, 3, 4, 5, 6]


def test_the_reader_cannot_write_and_its_cursor_is_on_the_server(server: str) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        list(opened(server).read("q", ["id"], query="DELETE FROM many RETURNING a AS id"))
    watcher = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    items = opened(server).read("many", ["a"])
    next(items)
    with watcher.connect() as connection:
        others = sa.text("SELECT count(*) FROM information_schema.processlist WHERE id != connection_id() AND user = 'root'")
        assert connection.execute(others).scalar_one() == 1
        items.close()  # type: ignore[attr-defined]
        assert len(list(parted(opened(server).read("many", ["a"]))[0])) == 20_000
        assert connection.execute(sa.text("SELECT count(*) FROM many")).scalar_one() == 20_000


def test_what_is_not_there_and_what_may_not_be_read(server: str) -> None:
    with pytest.raises(NoSuchTable, match="not there"):
        opened(server).schema("q", "SELECT * FROM nowhere")
    reader = sa.engine.make_url(server).set(username="reader", password="r").render_as_string(hide_password=False)
    assert "many" in opened(reader).tables()
    with pytest.raises(SourceError, match="Grant SELECT") as raised:
        opened(reader).schema("q", "SELECT * FROM seen")
    assert not isinstance(raised.value, NoSuchTable)


def test_duckdb(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "lake.duckdb") as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
        connection.execute(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, huge HUGEINT, day DATE, moment TIMESTAMP, stamp TIMESTAMPTZ, x FLOAT, y DECIMAL(9, 2), m mood, l INTEGER[], b BLOB)"
        )
        connection.execute(
            "INSERT INTO t VALUES (3, 5, '2020-01-01', '2020-01-01 10:00:00.5', '2020-01-01 10:00:00+02', 1.1, 1.25, 'a', [1, 2], 'x'), "
            "(1, 170141183460469231731687303715884105727, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), "
            "(2, NULL, 'infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL), (0, NULL, NULL, '290000-01-01', NULL, NULL, NULL, NULL, NULL, NULL)"
        )
        connection.execute("CREATE VIEW v AS SELECT id FROM t")
    source = open_database("lake", "duckdb:///lake.duckdb", SqlSource.model_validate({"type": "sql", "url": "x"}), folder=tmp_path)
    assert isinstance(source, DuckDbFile)
    assert source.tables() == ["t", "v"]
    rows, fallen = parted(source.read("t", source.schema("t").names))
    assert fallen == [(1, "not-timestamp", "moment"), (2, "not-int64", "huge"), (3, "not-date", "day")]
    assert rows == [
        {"__row": 4, "id": 3, "huge": 5, "day": dt.date(2020, 1, 1), "moment": dt.datetime(2020, 1, 1, 10, 0, 0, 500000), "x": 1.1, "y": 1.25, "m": "a", "l": "[1, 2]"}
        | {"stamp": dt.datetime(2020, 1, 1, 8, tzinfo=dt.UTC)}
    ]
    assert parted(source.read("v", ["id"], query="SELECT id FROM v WHERE id > 1 ORDER BY id DESC"))[0][0]["id"] == 3
    for wrong, what in (("tt", "no table 'tt'"), ("q", "cannot be read")):
        with pytest.raises(SourceError, match=what):
            list(source.read(wrong, ["id"], query=f"COPY t TO '{tmp_path}/out.csv'" if wrong == "q" else None))
    with pytest.raises(SourceError, match="no DuckDB file"):
        DuckDbFile("lake", "duckdb:///none.duckdb", schema=None, batch_rows=1, rate=None, folder=tmp_path)


def test_sqlite_in_ranges_loses_no_null_key(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER)")
        connection.exec_driver_sql("INSERT INTO t VALUES (NULL, 1), (NULL, 2)")
        connection.execute(sa.text("INSERT INTO t VALUES (:k, :n)"), [{"k": f"k{n}", "n": n} for n in range(500)])
    whole = parted(opened(f"sqlite:///{tmp_path}/a.db").read("t", ["k", "n"]))
    assert parted(opened(f"sqlite:///{tmp_path}/a.db", partitions=6).read("t", ["k", "n"])) == whole
    assert len(whole[0]) == 502


def test_the_pace_is_that_of_the_policy() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(100, clock=lambda: now[0], sleep=sleep)
    assert pace.most(10_000) == 25
    for _ in range(40):
        pace.taken(25)
    assert now[0] == pytest.approx(9, abs=1.1), "a thousand rows take ten seconds, the first of them free"
    now[0] += 60
    for _ in range(8):
        pace.taken(25)
    assert sum(slept) > 9, "what was not taken is not caught up"
    assert Pace(None).most(7) == 7


def test_servers_that_no_test_can_start() -> None:
    assert [str(located(sa.engine.make_url(url), Path("/p")).drivername) for url in ("mssql://h/d", "oracle://h", "mysql://h/d", "mariadb://h/d")] == [
        "mssql+pymssql",
        "oracle+oracledb",
        "mysql+pymysql",
        "mariadb+pymysql",
    ]
    assert settings(oracle.dialect(), "CLINIC", None)[-1] == "SET TRANSACTION READ ONLY"
    types: dict[Any, str | None] = {
        mssql.BIT(): "bool",
        mssql.MONEY(): "double",
        mssql.DATETIMEOFFSET(): "timestamp[us, tz=UTC]",
        mssql.DATETIME2(): "timestamp[us]",
        mssql.UNIQUEIDENTIFIER(): "string",
        mssql.TIMESTAMP(): None,
        mssql.VARBINARY(): None,
        oracle.DATE(): "timestamp[us]",
        oracle.NUMBER(38, 0): "int64",
        oracle.NUMBER(10, 2): "double",
        oracle.RAW(16): None,
        oracle.CLOB(): "string",
        mysql.YEAR(): "int64",
    }
    for type, wanted in types.items():
        found = arrow_type(type)
        assert (None if found is None else str(found)) == wanted, type


def test_the_policy_of_the_page_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "sources" / "relational.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "policy.yaml").write_text(block)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hospital.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE patient (id INTEGER PRIMARY KEY, name TEXT, born DATE, sex TEXT)")
        connection.exec_driver_sql("CREATE TABLE stay (id INTEGER PRIMARY KEY, patient INTEGER, admitted DATE, ward TEXT, cancelled INTEGER)")
        for n in range(1, 9):
            connection.exec_driver_sql(f"INSERT INTO patient VALUES ({700000 + n}, 'Name{n} Quist', '19{50 + n // 3}-05-0{n}', 'F')")
            connection.exec_driver_sql(f"INSERT INTO stay VALUES ({n}, {700000 + n}, '2020-01-0{n}', 'north', {n % 2})")
    monkeypatch.setenv("EHR_URL", "sqlite:///hospital.db")
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    run = Run.open(load(tmp_path / "policy.yaml"))
    pipeline.to_review(run)
    pipeline.publish(run)
    version = open_version(tmp_path / "store", "ward", verify=True)
    assert {table.name: table.rows for table in version.manifest.tables}["patient"] > 0
    assert run.record.get("check")["absent"] == ["bed"]  # type: ignore[index]
