"""What only Spark can get wrong: keys, models, errors, types, joins that collect, and what is missing."""

from __future__ import annotations

import datetime as dt
import decimal
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.engine import make_engine
from anonymize.engine import spark as engines
from anonymize.engine import spark_tasks as tasks
from anonymize.engine.base import Table
from anonymize.engine.local import LocalEngine
from anonymize.engine.spark import SparkEngine
from anonymize.errors import AnonymizeError, KeyMissing, StepFailed
from anonymize.keys import Key, provide
from anonymize.policy.model import EngineChoice, Method, Role, Rule, Text
from anonymize.transform.batch import Deidentify
from tests.conftest import KEY

WHO = pa.schema([("who", pa.string()), ("n", pa.int64())])
LOADED: list[int] = []


def table(name: str, **columns: Any) -> Table:
    batch = pa.record_batch(columns)
    return Table(name, batch.schema, lambda: iter([batch]))


def rows(table: Table) -> list[dict[str, Any]]:
    return pa.Table.from_batches(list(table.batches()), table.schema).to_pylist()


@pytest.fixture
def engine(spark: Any, tmp_path: Path) -> Iterator[SparkEngine]:
    made = SparkEngine(scratch=tmp_path / "scratch")
    yield made
    made.close()


def with_model(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Stands for a function with a model: it loads once a process. Tells the process and the loads so far."""
    LOADED.extend([1] if not LOADED else [])
    return pa.record_batch([pa.repeat(str(os.getpid()), batch.num_rows), pa.repeat(len(LOADED), batch.num_rows)], schema=WHO)


def telling(batch: pa.RecordBatch) -> pa.RecordBatch:
    secret = batch["who"][0].as_py()
    raise ValueError(f"no date: {secret}")


def same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def test_a_model_loads_once_a_worker_process(engine: SparkEngine, tmp_path: Path) -> None:
    names = [f"{'x' * 60_000}{n}" for n in range(40)]  # 2.4 MB: several tasks
    told = rows(engine.map(table("t", who=pa.array(names), n=range(40)), with_model, WHO))
    assert len({row["who"] for row in told}) <= 2
    assert {row["n"] for row in told} == {1}


def test_a_key_travels_as_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide("airflow:ward", "another-secret-of-the-ward-0123456789ab")
    rules = (("name", Rule(role=Role.IDENTIFIER, method=Method.PSEUDONYM)),)
    fn = Deidentify(rules, "name", Key("airflow:ward", "p"), 365, Text())
    step = tasks.Mapped(fn, WHO, "t")
    job = tasks.Job("t", (tasks.Part((), (step,)),), (), WHO, str(tmp_path))
    tasks.save(job, tmp_path / "job.pickle", ["airflow:ward"])
    data = (tmp_path / "job.pickle").read_bytes()
    assert b"airflow:ward" in data
    assert b"another-secret" not in data
    assert (tmp_path / "job.pickle").stat().st_mode & 0o077 == 0


def test_a_key_can_stand_in_a_file_that_a_variable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARD_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(KeyMissing, match="WARD_KEY_FILE names a file that cannot be read"):
        Key("env:WARD_KEY", "p")
    (tmp_path / "key").write_text(KEY + "\n")
    monkeypatch.setenv("PLAIN_KEY", KEY)
    assert Key("env:WARD_KEY", "p").id == Key("env:PLAIN_KEY", "p").id


def test_a_key_that_executors_do_not_have_is_named(engine: SparkEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE_KEY", KEY)  # after the workers were started, so they do not have it
    rules = (("who", Rule(role=Role.IDENTIFIER, method=Method.PSEUDONYM)),)
    fn = Deidentify(rules, "who", Key("env:LATE_KEY", "p"), 365, Text())
    with pytest.raises(KeyMissing, match=r"executor: no key: env:LATE_KEY"):
        rows(engine.map(table("t", who=["a"], n=[1]), fn, WHO))


def test_an_error_of_a_task_tells_no_value_to_the_driver_or_its_log(engine: SparkEngine, spark: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepFailed) as raised:
        engine.tally(engine.map(table("t", who=["Abernathy-Kowalczyk"], n=[1]), telling, WHO), ["who"], None)
    events = "".join(file.read_text() for file in spark.eventlog.rglob("*") if file.is_file())
    assert "ValueError" in events
    assert "Abernathy" not in str(raised.value) + events + "".join(capfd.readouterr())
    assert KEY not in events


def test_a_join_broadcasts_and_collects_nothing(engine: SparkEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    small = table("small", who=["b", "a"], list=pa.array([[{"kind": "name", "value": "x"}], None]))
    left = engine.map(table("t", who=["a", "b", None, "c"], n=[1, 2, 3, 4]), same, WHO)
    joined = engine.join(left, small, "who")
    plan = joined.plan()  # type: ignore[attr-defined]
    path, _ = engine._job(plan, joined, engine.scratch, engine._chunks(plan))
    shown = engine._met(plan, 1, path)._jdf.queryExecution().toString()
    assert "SortMergeJoin" in shown
    assert "Broadcast" not in shown
    assert [row["list"] for row in rows(joined)] == [None, [{"kind": "name", "value": "x"}], None, None]


ALL_TYPES = {
    "u64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "u8": pa.array([255, None, 0], pa.uint8()),
    "f": pa.array([float("nan"), None, -0.0]),
    "d": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-3.00")], pa.decimal128(12, 2)),
    "day": pa.array([dt.date(1066, 10, 14), None, dt.date(2024, 2, 29)]),
    "ns": pa.array([1, None, -1], pa.timestamp("ns")),
    "utc": pa.array([1, None, -1], pa.timestamp("us", tz="Europe/Berlin")),
    "time": pa.array([dt.time(1, 2, 3), None, dt.time(0)], pa.time64("us")),
    "b": pa.array([b"\x00\xff", None, b""], pa.binary()),
    "large": pa.array(["Zürich", None, ""], pa.large_string()),
    "kind": pa.array(["x", None, "y"]).dictionary_encode(),
    "none": pa.nulls(3),
    "yes": pa.array([True, None, False]),
    "with space, `tick`": pa.array(["1", None, "2"]),
    "number": pa.array([1, 2, 3], pa.int32()),
}


def test_every_type_comes_back_from_a_sort_as_it_was(engine: SparkEngine, tmp_path: Path) -> None:
    whole = table("t", **ALL_TYPES)
    local = LocalEngine(workers=1, scratch=tmp_path / "local-scratch")
    sort = ["with space, `tick`", "number"]
    (one,) = engine.write(whole, tmp_path / "spark", sort=sort).files
    (other,) = local.write(whole, tmp_path / "local", sort=sort).files
    assert pq.read_schema(one) == pq.read_schema(other)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("column", ["day", "ns", "utc", "u64", "large", "yes", "with space, `tick`"])
def test_a_tally_of_every_type_is_the_local_engines(engine: SparkEngine, tmp_path: Path, column: str) -> None:
    whole = table("t", **{name: values for name, values in ALL_TYPES.items() if name in (column, "number")})
    local = LocalEngine(workers=1, scratch=tmp_path / "local-scratch")
    assert engine.tally(whole, [column], "number").equals(local.tally(whole, [column], "number"))


def test_pyspark_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    engine = make_engine(EngineChoice.model_validate({"spark": {"master": "local[2]"}}), scratch=tmp_path)
    with pytest.raises(AnonymizeError, match=r"pip install 'anonymize\[spark\]'"):
        rows(engine.map(table("t", who=["a"], n=[1]), same, WHO))


def test_java_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AnonymizeError, match="needs Java"):
        engines._require_java()
