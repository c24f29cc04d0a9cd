"""How far a run is: plain lines at a pace, one line that renews itself on a terminal, and no value in either."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from anonymize import pipeline, progress
from anonymize.policy.loader import load
from anonymize.progress import Lines, OnTerminal, Progress
from anonymize.run import Run
from tests.road import hospital


def test_rate_and_time_left() -> None:
    assert str(Progress("deidentify", "note", 3_000, 12_000, 1_500.0)) == "deidentify note: 3,000 of 12,000 rows, 1,500 rows/s, about 6 s left"
    assert str(Progress("extract", "note", 3_000, None, 1_500.0)) == "extract note: 3,000 rows, 1,500 rows/s"
    assert str(Progress("extract", "note", 1, 36_000, 1.0)).endswith("about 9 h 59 min left")


def test_a_log_has_one_line_every_few_seconds_of_each_table(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines(said.append)
    for second in range(1, 20):
        now[0] += 1
        lines.progress(Progress("deidentify", "note", second * 10, 190, 10.0))
        lines.progress(Progress("extract", "stay", second, None, 1.0))
    assert [line.split(":")[0] for line in said].count("deidentify note") == 3
    assert [line.split(":")[0] for line in said].count("extract stay") == 3
    assert not any("190 of 190" in line for line in said)  # of its end the step says a line of its own


def test_a_terminal_has_one_line_that_renews_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said, terminal = [100.0], [], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watcher = OnTerminal(said.append, terminal)
    for second in range(1, 4):
        now[0] += 1
        watcher.progress(Progress("deidentify", "note", second * 10, 40, 10.0))
        watcher.progress(Progress("deidentify", "note", second * 10 + 1, 40, 10.0))  # too soon
    watcher.line("deidentify note: rows 40")
    watcher.rest()
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert drawn[1] == " 25%  deidentify note: 10 of 40 rows, 10 rows/s, about 3 s left"
    assert [line[:4] for line in drawn[1:]] == [" 25%", " 50%", " 75%", "", ""]
    assert "\n" not in terminal.getvalue()
    assert said == ["deidentify note: rows 40"]


def test_every_step_of_a_run_is_told_and_no_value_of_it(tmp_path: Path) -> None:
    told: list[str] = []
    done: list[tuple[str, str | None, float]] = []

    class Everything(Lines):
        def progress(self, progress: Progress) -> None:
            told.append(str(progress))

        def done(self, step: str, table: str | None, counts: dict[str, object], seconds: float) -> None:
            assert counts is not None
            done.append((step, table, seconds))

    run = Run.open(load(hospital.policy(hospital.build(tmp_path))), watcher=Everything(told.append))
    pipeline.check(run)
    for step in (pipeline.extract, pipeline.deidentify):
        for table in pipeline.tables(run.policy):
            step(run, table)
        pipeline.collect(run)
    pipeline.generalize(run)
    run.close()
    steps = {line.split(":")[0] for line in told if " rows/s" in line}
    assert {"extract note", "collect patient", "deidentify note", "generalize patient"} <= steps
    assert ("deidentify", "note") in {(step, table) for step, table, seconds in done if seconds > 0}
    assert not any(name in line for line in told for name in (*hospital.FAMILY, *hospital.GIVEN))
