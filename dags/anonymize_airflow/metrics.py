"""A run's progress as Airflow's metrics, to wherever `[metrics]` sends them (StatsD, Datadog, OpenTelemetry). Counts and names alone.

`anonymize.<dataset>.<step>.<table>.rows`, `.rows_per_second`, `.quarantined`: gauges; `.duration`: a timing in milliseconds. The names stand in
the metric's own, for plain StatsD has no tags, and as tags for who has. A step of all tables has no table in its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk.observability import stats

from anonymize.progress import Lines, Progress

GAUGES = ("rows", "quarantined", "suppressed", "k")
"""Of what a step records, the counts that are told."""


class Metrics(Lines):
    """Lines in the task's log, and the same as metrics, at the same pace."""

    def __init__(self, dataset: str, say: Callable[[str], None]) -> None:
        super().__init__(say)
        self._dataset = dataset

    def progress(self, progress: Progress) -> None:
        if self.due(progress):
            self.line(str(progress))
            self._gauge(progress.step, progress.table, "rows", progress.rows)
            self._gauge(progress.step, progress.table, "rows_per_second", progress.rate)

    def done(self, step: str, table: str | None, counts: dict[str, Any], seconds: float) -> None:
        super().done(step, table, counts, seconds)
        name, tags = self._named(step, table, "duration")
        stats.timing(name, seconds * 1000, tags=tags)
        for what in GAUGES:
            if isinstance(counts.get(what), int):
                self._gauge(step, table, what, counts[what])
        if isinstance(counts.get("rows"), int) and seconds > 0:
            self._gauge(step, table, "rows_per_second", counts["rows"] / seconds)

    def _gauge(self, step: str, table: str | None, what: str, value: float) -> None:
        name, tags = self._named(step, table, what)
        stats.gauge(name, value, tags=tags)

    def _named(self, step: str, table: str | None, what: str) -> tuple[str, dict[str, str]]:
        tags = {"dataset": self._dataset, "step": step} | ({"table": table} if table else {})
        return ".".join(["anonymize", *tags.values(), what]), tags
