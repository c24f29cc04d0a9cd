"""A run's progress as Airflow's metrics: counts and names, through Airflow's own door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline, progress
from anonymize.policy.loader import load
from anonymize.progress import Progress
from anonymize.run import Run
from tests.road import hospital

metrics = pytest.importorskip("anonymize_airflow.metrics")


class Backend:
    """Where Airflow would send its metrics."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[float, dict[str, str]]] = {}

    def gauge(self, name: str, value: float, *, tags: dict[str, str]) -> None:
        self.sent[name] = value, tags

    timing = gauge


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    from airflow.sdk._shared.observability.metrics import stats

    made = Backend()
    monkeypatch.setattr(stats, "_backend", made)
    return made


def test_a_runs_steps_are_metrics(tmp_path: Path, backend: Backend) -> None:
    said: list[str] = []
    run = Run.open(load(hospital.policy(hospital.build(tmp_path))), watcher=metrics.Metrics("small", said.append))
    pipeline.check(run)
    for table in pipeline.tables(run.policy):
        pipeline.extract(run, table)
    run.close()
    sent: dict[str, tuple[float, dict[str, Any]]] = backend.sent
    assert sent["anonymize.small.extract.stay.rows"] == (119, {"dataset": "small", "step": "extract", "table": "stay"})
    assert sent["anonymize.small.extract.stay.quarantined"][0] == 1
    assert sent["anonymize.small.extract.stay.duration"][0] > 0
    assert sent["anonymize.small.extract.stay.rows_per_second"][0] > 0
    assert "anonymize.small.check.duration" in sent
    assert any(line.startswith("extract stay: rows 119") for line in said)
    assert all(set(tags) <= {"dataset", "step", "table"} for _, tags in sent.values())


def test_what_is_under_way_is_told_at_the_pace_of_the_log(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watcher = metrics.Metrics("small", said.append)
    for second in range(1, 8):
        now[0] += 1
        watcher.progress(Progress("deidentify", "note", second * 10, 1_000, 10.0))
    assert len(said) == 1
    assert backend.sent["anonymize.small.deidentify.note.rows"][0] == 60
    assert backend.sent["anonymize.small.deidentify.note.rows_per_second"][0] == pytest.approx(10)
