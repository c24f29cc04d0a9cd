"""The four verbs, on every engine: one worker, two, and Spark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from anonymize.engine import files
from anonymize.engine import local as local_engine
from anonymize.engine import spark as spark_engine
from anonymize.engine.base import TALLY_LIMIT, Engine, Table, TallyTooLarge
from anonymize.engine.local import LocalEngine
from anonymize.engine.spark import SparkEngine
from anonymize.errors import StepFailed

SCHEMA = pa.schema([("n", pa.int64()), ("who", pa.string())])


def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pc.multiply(batch["n"], 2), batch["who"]], schema=SCHEMA)


def broken(batch: pa.RecordBatch) -> pa.RecordBatch:
    raise ValueError(f"cannot do {batch['who'][0].as_py()}")


def table(rows: int, batch_rows: int = 10) -> Table:
    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, batch_rows):
            numbers = list(range(start, min(start + batch_rows, rows)))
            yield pa.record_batch({"n": numbers, "who": [f"s{number % 7}" for number in numbers]}, schema=SCHEMA)

    return Table("t", SCHEMA, batches)


@pytest.fixture(params=["one worker", "two workers", "spark"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = make(request.param, request, tmp_path / "scratch")
    yield made
    made.close()


def make(name: str, request: pytest.FixtureRequest, scratch: Path, tally: int = TALLY_LIMIT) -> Engine:
    if name == "spark":
        request.getfixturevalue("spark")
        patch = request.getfixturevalue("monkeypatch")
        patch.setattr(spark_engine, "LEAST_BYTES", 64)  # so that small tables are several tasks, and sorts several partitions
        patch.setattr(spark_engine, "SORT_BYTES", 300)
        return SparkEngine(scratch=scratch, tally=tally)
    if name == "two workers":
        request.getfixturevalue("monkeypatch").setattr(local_engine, "SMALL", -1)  # so that small tables go to workers
    return LocalEngine(workers=1 if name == "one worker" else 2, scratch=scratch, tally=tally)


def grouped(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A row for each who of a batch, with the number of its rows."""
    counts = pa.table(batch).group_by("who", use_threads=False).aggregate([("n", "count")])
    return pa.record_batch([counts["n_count"].combine_chunks(), counts["who"].combine_chunks()], schema=SCHEMA)


def same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def rows(table: Table) -> list[dict[str, object]]:
    return pa.Table.from_batches(list(table.batches()), table.schema).to_pylist()


def test_map_keeps_the_order_of_rows(engine: Engine) -> None:
    assert [row["n"] for row in rows(engine.map(table(95), doubled, SCHEMA))] == [2 * n for n in range(95)]


def test_an_error_in_a_map_carries_no_value(engine: Engine) -> None:
    with pytest.raises(StepFailed) as raised:
        rows(engine.map(table(5), broken, SCHEMA))
    assert "s0" not in str(raised.value)
    assert "ValueError" in str(raised.value)
    assert raised.value.__cause__ is None or "s0" not in str(raised.value.__cause__)


def test_tally_counts_distinct_subjects_and_takes_null_for_a_value(engine: Engine) -> None:
    batch = pa.record_batch({"n": [1, 1, 1, None, None], "who": ["a", "a", "b", "a", None]}, schema=SCHEMA)
    tallied = engine.tally(Table("t", SCHEMA, lambda: iter([batch])), ["n"], "who")
    assert tallied.to_pylist() == [{"n": None, "subjects": 1}, {"n": 1, "subjects": 2}]


def test_tally_without_a_subject_counts_rows(engine: Engine) -> None:
    assert engine.tally(table(14), ["who"], None)["subjects"].to_pylist() == [2] * 7


def test_join_attaches_and_keeps_order_and_rows_without_a_partner(engine: Engine) -> None:
    small = pa.record_batch({"who": ["s1"], "list": [[1, 2]]})
    joined = rows(engine.join(table(9), Table("small", small.schema, lambda: iter([small])), "who"))
    assert [row["n"] for row in joined] == list(range(9))
    assert [row["list"] for row in joined] == [[1, 2] if n % 7 == 1 else None for n in range(9)]


def test_write_sorts_and_cuts_into_files(engine: Engine, tmp_path: Path) -> None:
    written = engine.write(table(95), tmp_path / "out", sort=["who", "n"], file_rows=40)
    assert [file.name for file in written.files] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    found = rows(written.table)
    assert found == sorted(found, key=lambda row: (row["who"], row["n"]))
    assert len(found) == 95


def test_a_table_of_no_rows_keeps_its_schema(engine: Engine, tmp_path: Path) -> None:
    written = engine.write(table(0), tmp_path / "out", sort=["n"])
    assert (written.rows, len(written.files)) == (0, 1)
    assert engine.read(tmp_path / "out").schema == SCHEMA


def test_a_write_that_breaks_leaves_the_old_folder(engine: Engine, tmp_path: Path) -> None:
    engine.write(table(5), tmp_path / "out")
    with pytest.raises(StepFailed):
        engine.write(engine.map(table(5), broken, SCHEMA), tmp_path / "out")
    assert len(rows(engine.read(tmp_path / "out"))) == 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_same_rows_in_other_batches_give_the_same_bytes(engine: Engine, tmp_path: Path) -> None:
    one = engine.write(table(95, 10), tmp_path / "one", file_rows=50)
    other = engine.write(table(95, 33), tmp_path / "other", file_rows=50)
    assert [file.read_bytes() for file in one.files] == [file.read_bytes() for file in other.files]


def test_texts_end_a_row_group_wherever_batches_do(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GROUP_BYTES", 20)  # here; Spark's workers go by the real number
    one = engine.write(table(95, 10), tmp_path / "one")
    other = engine.write(table(95, 33), tmp_path / "other")
    assert [file.read_bytes() for file in one.files] == [file.read_bytes() for file in other.files]


def test_a_map_of_whole_values_sees_each_once(engine: Engine, tmp_path: Path) -> None:
    ordered = engine.write(table(95), tmp_path / "sorted", sort=["who", "n"], file_rows=40).table
    found = rows(engine.map(ordered, grouped, SCHEMA, whole="who"))
    assert found == [{"n": 14 if who < 4 else 13, "who": f"s{who}"} for who in range(7)]


def test_columns_are_chosen_and_tables_put_behind_one_another(engine: Engine, tmp_path: Path) -> None:
    whole = engine.write(table(20), tmp_path / "out").table
    names = whole.only(pa.schema([("who", pa.string())]))
    assert [list(row) for row in rows(names)] == [["who"]] * 20
    twice = engine.map(whole, doubled, SCHEMA).followed_by([engine.map(whole, same, SCHEMA)])
    assert [row["n"] for row in rows(engine.write(twice, tmp_path / "twice").table)] == [*range(0, 40, 2), *range(20)]


def test_a_tally_of_no_columns_is_one_row(engine: Engine) -> None:
    assert engine.tally(table(20), [], None)["subjects"].to_pylist() == [20]
    assert engine.tally(table(20), [], "who")["subjects"].to_pylist() == [7]


@pytest.mark.parametrize("name", ["one worker", "spark"])
def test_a_tally_too_large_is_said_before_it_is_gathered(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = make(name, request, tmp_path / "scratch", tally=10)
    whole = engine.write(table(95), tmp_path / "out").table
    with pytest.raises(TallyTooLarge, match=r"t(able)? |out.*about 9\d distinct tuples.*n 9\d, who 7\. Make 'n' coarser first"):
        engine.tally(whole, ["who", "n"], None)
    assert engine.tally(whole, ["who"], None).num_rows == 7
    engine.close()


def test_skew_changes_nothing(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One subject with most of the rows, one text of 50 MB, one group with half of the people."""
    monkeypatch.setattr(spark_engine, "SORT_BYTES", 8 << 20)
    monkeypatch.setattr(spark_engine, "LEAST_BYTES", 4 << 20)
    who = [*["s0"] * 15_000, *(f"s{n}" for n in range(1, 5_001))]
    texts = ["x" * 50_000_000, *(f"text {n % 900}" for n in range(1, 20_000))]
    one = pa.record_batch({"n": range(20_000), "who": who, "text": texts})
    notes = engine.write(Table("notes", one.schema, lambda: iter([one])), tmp_path / "notes").table
    small = pa.record_batch({"who": sorted(set(who)), "place": ["half" if n % 2 else f"p{n}" for n in range(5_001)]})
    joined = engine.join(notes, Table("small", small.schema, lambda: iter([small])), "who")
    written = engine.write(engine.map(joined, same, joined.schema), tmp_path / "joined", sort=["place", "n"])
    local = LocalEngine(workers=1, scratch=tmp_path / "other")
    expected = local.write(local.join(local.read(tmp_path / "notes"), Table("small", small.schema, lambda: iter([small])), "who"),
                           tmp_path / "expected", sort=["place", "n"])  # fmt: skip
    assert [file.read_bytes() for file in written.files] == [file.read_bytes() for file in expected.files]
    tallied = engine.tally(written.table, ["place"], "who").to_pylist()
    assert {"place": "half", "subjects": 2_500} in tallied
    assert len(tallied) == 2_502
