"""Worker processes that die, texts that are long, memory that is kept: what the engine of one machine does about them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from anonymize.engine import local
from anonymize.engine.base import Table
from anonymize.engine.batches import balanced
from anonymize.engine.local import LocalEngine
from anonymize.errors import StepFailed
from anonymize.policy.memory import least, shares, size
from tests.engine.deadly import SCHEMA, Deadly, Waits, same, table


def numbers(table: Table) -> list[int]:
    return [n for batch in table.batches() for n in batch["n"].to_pylist()]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    monkeypatch.setattr(local, "SMALL", -1)  # worker processes for the smallest table
    made = LocalEngine(workers=2, scratch=tmp_path / "scratch")
    yield made
    made.close()


@pytest.mark.parametrize("how", ["killed", "memory"])
def test_a_worker_that_dies_once_costs_nothing(engine: LocalEngine, tmp_path: Path, how: str) -> None:
    assert numbers(engine.map(table(), Deadly(42, 1, str(tmp_path / "deaths"), how), SCHEMA)) == list(range(100))


def test_a_record_that_kills_is_given_up_alone(engine: LocalEngine, tmp_path: Path) -> None:
    lost: list[int] = []
    losing = table().losing(lambda batch: lost.extend(batch["n"].to_pylist()))
    assert numbers(engine.map(losing, Deadly(42, 99, str(tmp_path / "deaths")), SCHEMA)) == [n for n in range(100) if n != 42]
    assert lost == [42]
    assert numbers(engine.map(table(), same, SCHEMA)) == list(range(100))


def test_once_too_many_died_whole_batches_are_given_up(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_DEATHS", 0)
    lost: list[int] = []
    losing = table().losing(lambda batch: lost.extend(batch["n"].to_pylist()))
    assert numbers(engine.map(losing, Deadly(42, 99, str(tmp_path / "deaths")), SCHEMA)) == [n for n in range(100) if n not in range(40, 50)]
    assert lost == list(range(40, 50))


def test_rows_that_must_not_be_lost_end_the_step(engine: LocalEngine, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="t, batch 5: a worker process ended twice"):
        numbers(engine.map(table(), Deadly(42, 99, str(tmp_path / "deaths")), SCHEMA))


DIES = """
import sys
from pathlib import Path
from anonymize.engine.local import LocalEngine
from tests.engine.deadly import SCHEMA, Deadly, table
engine = LocalEngine(workers=1, scratch=Path(sys.argv[1]))
list(engine.map(table(), Deadly(42, 99, sys.argv[2]), SCHEMA).batches())
"""


def test_a_process_that_died_of_its_own_work_has_it_done_by_others(tmp_path: Path) -> None:
    scratch, deaths, lost = tmp_path / "scratch", str(tmp_path / "deaths"), []
    assert subprocess.run([sys.executable, "-c", DIES, scratch, deaths], cwd=Path(__file__).parents[2], timeout=120).returncode == -9
    engine = LocalEngine(workers=1, scratch=scratch)
    losing = table().losing(lambda batch: lost.extend(batch["n"].to_pylist()))
    assert numbers(engine.map(losing, Deadly(42, 99, deaths), SCHEMA)) == [n for n in range(100) if n != 42]
    assert lost == [42]
    assert list(scratch.glob("*.in-process")) == []
    engine.close()


def test_a_long_text_goes_alone_and_nothing_is_cut_or_moved() -> None:
    texts = ["a" * 100] * 50 + ["b" * 1_000_000] + ["c" * 100] * 50 + ["d" * 100_000] * 3
    batch = pa.record_batch({"n": range(104), "text": texts})
    cut = list(balanced(iter([batch]), 256 << 10))
    assert [piece.num_rows for piece in cut] == [50, 1, 52, 1]
    assert pa.Table.from_batches(cut).combine_chunks().equals(pa.Table.from_batches([batch]))


def test_a_long_text_does_not_hold_up_the_others(engine: LocalEngine, tmp_path: Path) -> None:
    assert numbers(engine.map(table(), Waits(str(tmp_path / "seen")), SCHEMA)) == list(range(100))


def test_no_more_is_under_way_than_the_memory_allows(engine: LocalEngine) -> None:
    engine.under_way = 5_000
    pulled = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal pulled
        for batch in table(1_000, 10).batches():
            pulled += 1
            yield batch

    most = 0
    for back, _ in enumerate(engine.map(Table("t", SCHEMA, batches), same, SCHEMA).batches()):
        most = max(most, pulled - back)
    assert pulled == 100
    assert most <= 5_000 // (2 * 300) + 1  # ten numbers, packed: some 300 bytes, there and back


def test_small_tables_need_no_worker_process(tmp_path: Path) -> None:
    engine = LocalEngine(workers=2, scratch=tmp_path)
    assert numbers(engine.map(table(), same, SCHEMA)) == list(range(100))
    assert engine._pool is None


def test_memory_is_divided_and_too_little_is_refused() -> None:
    assert (size("4GB"), size("512 MiB"), size("1.5gb")) == (4_000_000_000, 512 << 20, 1_500_000_000)
    divided = shares("4GB", 2, cores=64)
    assert (divided.workers, divided.duckdb > divided.under_way > 0) == (2, True)
    assert shares("4GB", 0, cores=64).workers < 64
    assert shares("400GB", 0, cores=64).workers == 64
    assert shares(f"{least(3) // 1_000_000 + 1}MB", 3, cores=1).workers == 3
    with pytest.raises(ValueError, match=r"2GB is too little for 8 workers: this takes at least \d"):
        shares("2GB", 8, cores=8)
