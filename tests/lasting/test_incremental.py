"""What is read by increments is what a full read has, whatever came, changed, came late or went in between."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.engine.base import Table
from anonymize.errors import StepFailed
from anonymize.lasting import kept, merging
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.sources.parts import Part
from anonymize.sources.sql import SqlDatabase
from anonymize.sources.sql_parts import condition
from tests.lasting.changing import POLICY, Changing, rows

COLUMNS = "stay_id INTEGER, patient_id INTEGER, admitted TEXT, ward TEXT, updated_at TIMESTAMP, voided INTEGER"
WAYS = {
    "sweep": "",
    "flag": ", deletes: {flag: voided}",
    "table": ", deletes: {table: gone, cursor: at}",
    "never": ", deletes: never",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_increments_come_to_the_same_as_a_full_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, seed: int) -> None:
    place = Changing(tmp_path, seed)
    for number in range(6):
        if number:
            place.day(deletes=way)
        run = place.run(monkeypatch, "inc", more=WAYS[way])
        full = place.run(monkeypatch, "full", full=True, more=WAYS[way])
        assert rows(run) == rows(full), number
        mine, whole = (one.record.get("extract", "stay") or {} for one in (run, full))
        assert mine["reasons"] == whole["reasons"]
        assert mine["quarantined"] == whole["quarantined"]
        assert mine["incremental"]["whole"] == ("" if number else "first run")
        assert whole["incremental"]["whole"] == "full refresh"
        if number > 3:
            assert mine["incremental"]["read"] < whole["incremental"]["read"]


def test_what_comes_later_than_the_lateness_allows_is_found_by_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    place.run(monkeypatch, "inc")
    with place.db() as db:
        db.execute("INSERT INTO stays (patient_id, admitted, ward, updated_at) VALUES (3, '2024-01-11', 'ER', '2020-01-01 00:00:00')")
    run = place.run(monkeypatch, "inc")
    assert (run.record.get("extract", "stay") or {})["incremental"]["whole"] == "rows came later than the lateness allows"
    assert rows(run) == rows(place.run(monkeypatch, "full", full=True))


def test_a_release_by_increments_is_the_release_of_a_full_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    for number in range(2):
        if number:
            place.day()
        run = place.run(monkeypatch, "inc", whole_road=True)
        full = place.run(monkeypatch, "full", full=True, whole_road=True)
        mine, whole = (open_version(tmp_path / name / "store", "changing", verify=True) for name in ("inc", "full"))
        assert mine.manifest.content_sha256 == whole.manifest.content_sha256
        data = [{f.path: f.sha256 for f in one.manifest.files() if f.path.startswith("data/")} for one in (mine, whole)]
        assert data[0] == data[1]
        told = [(one.record.get("extract", "stay") or {})["incremental"]["whole"] for one in (run, full)]
        assert told == ["" if number else "first run", "full refresh"]
        assert not run.workspace.exists()
        assert oct((kept.home(full.policy) / full.id / "stay").stat().st_mode)[-3:] == "700"
        assert [one.name for one in kept.home(full.policy).iterdir() if one.is_dir()] == [full.id]


def test_a_run_that_is_not_published_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    first = place.run(monkeypatch, "inc", whole_road=True)
    place.day()
    second = Run.open(load(place.policy()), fresh=True)
    pipeline.to_review(second)
    pipeline.discard(second)
    assert kept.current(first.policy) == first.id
    third = place.run(monkeypatch, "inc", whole_road=True)
    assert (third.record.get("extract", "stay") or {})["incremental"]["after"] == first.id
    assert kept.current(first.policy) == third.id


def test_of_two_runs_at_once_one_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    place.run(monkeypatch, "inc", whole_road=True)
    early = Run.open(load(place.policy()), fresh=True)
    pipeline.to_review(early)
    place.day()
    late = place.run(monkeypatch, "inc", whole_road=True)
    with pytest.raises(StepFailed, match=f"run '{late.id}' .* was published since run '{early.id}' took its window"):
        pipeline.publish(early)
    assert kept.current(late.policy) == late.id
    assert open_version(tmp_path / "inc" / "store", "changing").manifest.run == late.id


def test_a_killed_run_goes_on_with_its_own_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    first = place.run(monkeypatch, "inc", whole_road=True)
    place.day()
    run = Run.open(load(place.policy()), fresh=True)
    pipeline.check(run)
    kill = pytest.raises(KeyboardInterrupt)
    with monkeypatch.context() as patch, kill:
        patch.setattr(kept, "note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        pipeline.extract(run, "stay")
    again = Run.open(load(place.policy()))
    assert again.id == run.id
    pipeline.to_review(again)
    pipeline.publish(again)
    assert (again.record.get("extract", "stay") or {})["incremental"]["after"] == first.id
    full = place.run(monkeypatch, "full", full=True, whole_road=True)
    versions = [open_version(tmp_path / name / "store", "changing").manifest.content_sha256 for name in ("inc", "full")]
    assert versions[0] == versions[1], full.id


def test_who_opted_out_leaves_what_is_kept_and_comes_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, end = Changing(tmp_path), "optout: {file: out.csv, column: patient_id}\n"
    (tmp_path / "out.csv").write_text("patient_id\n999\n")
    place.run(monkeypatch, "inc", end=end)
    everybody = {row["patient_id"] for row in rows(place.run(monkeypatch, "inc", end=end))}
    (tmp_path / "out.csv").write_text("patient_id\n999\n3\n")
    run = place.run(monkeypatch, "inc", end=end)
    base = pq.read_table(kept.home(run.policy) / run.id / "stay")
    assert {row["patient_id"] for row in rows(run)} == everybody - {3} == set(base["patient_id"].to_pylist())
    (tmp_path / "out.csv").write_text("patient_id\n999\n")
    back = place.run(monkeypatch, "inc", end=end)
    assert (back.record.get("extract", "stay") or {})["incremental"]["whole"] == "subjects are back who were not taken before"
    assert {row["patient_id"] for row in rows(back)} == everybody


def test_another_rule_reads_whole_and_forget_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    run = place.run(monkeypatch, "inc")
    place.run(monkeypatch, "inc")
    changed = place.run(monkeypatch, "inc", more=", deletes: never")
    assert (changed.record.get("extract", "stay") or {})["incremental"]["whole"] == "its columns, source or rules changed"
    assert kept.forget(run.policy)
    assert not kept.home(run.policy).exists()
    after = place.run(monkeypatch, "inc", more=", deletes: never")
    assert (after.record.get("extract", "stay") or {})["incremental"]["whole"] == "first run"


def test_no_value_of_a_record_stands_in_the_record_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    place.run(monkeypatch, "inc")
    run = place.run(monkeypatch, "inc")
    told = "".join(file.read_text() for file in run.record.folder.glob("*.json"))
    with place.db() as db:
        moments = [row[0] for row in db.execute("SELECT updated_at FROM stays")]
    assert not [one for one in moments if one in told or one.replace(" ", "T") in told]


def test_of_a_history_the_newest_version_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    with place.db() as db:
        db.execute(f"CREATE TABLE versions ({COLUMNS})")
        db.execute("INSERT INTO versions SELECT * FROM stays")
    more = ", history: true, deletes: never"
    monkeypatch.setattr("tests.lasting.changing.POLICY", POLICY.replace("from: stays", "from: versions"))
    for number in range(4):
        place.now += timedelta(days=1)
        with place.db() as db:
            for stay in (3, 4, 5 + number):
                db.execute(
                    "INSERT INTO versions SELECT stay_id, patient_id, '2024-01-15', 'v' || ?, ?, 0 FROM stays WHERE stay_id=?",
                    (number, place.at(), stay),
                )
        run, full = (place.run(monkeypatch, name, full=name == "full", more=more) for name in ("inc", "full"))
        assert rows(run) == rows(full)
        wards = {row["stay_id"]: row["ward"] for row in rows(run)}
        assert wards.get(3, f"v{number}") == f"v{number}"


def test_a_row_key_that_stands_twice_is_malformed_and_mends_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    with place.db() as db:
        db.execute(f"CREATE TABLE loose ({COLUMNS})")
        db.execute("INSERT INTO loose SELECT * FROM stays WHERE patient_id IS NOT NULL AND admitted != '2024-02-30'")
    monkeypatch.setattr("tests.lasting.changing.POLICY", POLICY.replace("from: stays", "from: loose"))

    def both() -> tuple[dict[str, int], dict[str, int], bool]:
        one, other = (place.run(monkeypatch, name, full=name == "full") for name in ("inc", "full"))
        mine, whole = (run.record.get("extract", "stay") or {} for run in (one, other))
        return mine["reasons"], whole["reasons"], rows(one) == rows(other)

    both()
    with place.db() as db:
        key = db.execute("SELECT min(stay_id) FROM loose").fetchone()[0]
        db.execute(
            "INSERT INTO loose SELECT stay_id, patient_id, admitted, 'twice', '2026-02-01 00:00:00', 0 FROM loose WHERE stay_id=?", (key,)
        )
    assert both() == ({"duplicate-key (stay_id)": 2}, {"duplicate-key (stay_id)": 2}, True)
    assert both() == ({"duplicate-key (stay_id)": 2}, {"duplicate-key (stay_id)": 2}, True)
    with place.db() as db:
        db.execute("DELETE FROM loose WHERE ward='twice'")
    assert both() == ({}, {}, True)


def test_an_interval_is_read_again_by_a_backfill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, more = Changing(tmp_path), ", interval: true"

    def run(start: datetime, end: datetime) -> Run:
        monkeypatch.setenv("CHANGING", str(tmp_path / "inc"))
        one = Run.open(load(place.policy(more=more)), fresh=True)
        kept.ask(one, start=start.isoformat(), end=end.isoformat())
        pipeline.check(one)
        pipeline.extract(one, "stay")
        kept.keep(one)
        return one

    days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(10, 16)]
    for _ in range(5):
        place.day(deletes="never")
    for start, end in pairwise(days):
        one = run(start, end)
        with place.db() as db:
            query = "SELECT count(*) FROM stays WHERE updated_at < ? AND patient_id IS NOT NULL AND admitted != '2024-02-30'"
            there = db.execute(query, (str(end.replace(tzinfo=None)),)).fetchone()[0]
        assert len(rows(one)) == there
    again = run(days[1], days[2])
    counts = (again.record.get("extract", "stay") or {})["incremental"]
    assert counts["whole"] == ""
    assert counts["read"] > 0


def test_the_server_is_asked_for_the_window_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    for _ in range(6):
        place.day(deletes="never")
    place.run(monkeypatch, "inc", more=", deletes: never")
    asked: list[str] = []
    read = SqlDatabase._narrowed

    def watched(self: SqlDatabase, query: str, where: Any) -> str:
        asked.append(read(self, query, where))
        return asked[-1]

    monkeypatch.setattr(SqlDatabase, "_narrowed", watched)
    monkeypatch.setattr("tests.lasting.changing.POLICY", POLICY.replace("from: stays", "query: SELECT * FROM stays WHERE ward <> '%'"))
    place.run(monkeypatch, "inc", more=", deletes: never")
    run = place.run(monkeypatch, "inc", more=", deletes: never")
    assert "updated_at IS NULL OR updated_at >= '2026-01-1" in asked[-1]
    assert rows(run) == rows(place.run(monkeypatch, "full", full=True, more=", deletes: never"))


def test_a_part_in_sql_lets_all_of_it_through() -> None:
    day = datetime(2026, 1, 10, 12, 30)
    told = {
        "sqlite": "a IS NULL OR a >= '2026-01-10' AND a < '2026-01-11'",
        "postgresql": "a IS NULL OR a >= '2026-01-10T12:30:00' AND a < '2026-01-10T12:30:00'",
        "mysql": "a IS NULL OR a >= '2026-01-10 12:30:00' AND a < '2026-01-10 12:30:00'",
    }
    for dialect, words in told.items():
        found = condition(Part("a", day, day), dialect)
        assert found is not None
        by = sa.make_url(f"{dialect}://").get_dialect()()
        assert str(found.compile(dialect=by, compile_kwargs={"literal_binds": True})) == words
    assert condition(Part("a"), "sqlite") is None
    assert condition(Part("a", values=("100%",)), "sqlite") is None
    assert condition(Part("a", values=tuple(range(1_000))), "sqlite") is None
    assert str(condition(Part("a", values=("O'Brien", 2)), "sqlite")) == "a IN ('O''Brien', 2)"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=40), st.integers(1, 7))
def test_rows_of_one_key_are_told_apart_however_they_are_cut(found: list[tuple[str, int]], size: int) -> None:
    ordered = sorted(found)
    keys = [key for key, _ in ordered]
    cut = [pa.RecordBatch.from_pydict({merging.ROWKEY: pa.array(keys[at : at + size], pa.string())}) for at in range(0, len(keys), size)]
    table = Table("t", merging.KEYS, lambda: iter(cut))
    counted = [row for batch in merging._counted(table) for row in batch.to_pylist()]
    assert {row[merging.ROWKEY]: row[merging.GONE] for row in counted} == Counter(keys)
    assert [row[merging.ROWKEY] for batch in merging._distinct(table, "x") for row in batch.to_pylist()] == sorted(set(keys))
