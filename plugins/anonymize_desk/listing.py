"""What the list shows: a run's record, and what Airflow knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from anonymize.desk import Gate, Seen, State, runs
from anonymize.policy.model import Policy
from anonymize_desk.questions import Asked, dag_runs

SIGNS = {
    State.WAITING: "●",
    State.SIGNED: "◐",
    State.APPROVED: "✓",
    State.PUBLISHED: "✓",
    State.TAKEN_BACK: "↩",
    State.REJECTED: "✗",
    State.DISCARDED: "–",
    State.STOPPED: "✗",
    State.UNDER_WAY: "…",
}


@dataclass(frozen=True)
class Row:
    """A line of the list. run: empty where Airflow failed before a run was begun; by: who asked for it."""

    dataset: str
    title: str
    run: str
    version: str
    kind: str
    """`waiting`, `published`, `taken back`, `rejected`, `failed` or `under way`: what the list is filtered by."""
    sign: str
    words: str
    by: str
    since: datetime
    gates: tuple[Gate, ...] = ()


def rows(policies: Iterable[Policy]) -> list[Row]:
    """Every run of some policies: what waits first, the oldest of it on top; then the others, the newest on top."""
    chosen = list(policies)
    asked = dag_runs([policy.dataset for policy in chosen])
    found = [row for policy in chosen for row in _rows(policy, {key[1]: one for key, one in asked.items() if key[0] == policy.dataset})]
    waiting = sorted((row for row in found if row.kind == "waiting"), key=lambda row: row.since)
    return waiting + sorted((row for row in found if row.kind != "waiting"), key=lambda row: row.since, reverse=True)


def _rows(policy: Policy, asked: dict[str, Asked]) -> Iterator[Row]:
    seen = runs(policy)
    for one in seen:
        yield row_of(one, asked.get(one.dag_run_id or ""))
    for dag_run in asked.values():
        if dag_run.state == "failed" and dag_run.dag_run_id not in {one.dag_run_id for one in seen}:
            words = "failed before anything was read"
            yield Row(policy.dataset, policy.release.title or policy.dataset, "", "", "failed", "✗", words, dag_run.by, dag_run.started)


def row_of(seen: Seen, asked: Asked | None) -> Row:
    """One run's line."""
    kind, sign, words = _kind(seen.state), SIGNS[seen.state], str(seen.state)
    if asked is not None and asked.state == "failed" and kind in ("waiting", "under way"):
        kind, sign, words = "failed", "✗", "failed" if kind == "under way" else "failed while it waited"
    by = (asked.by or "the schedule") if asked is not None else "the command line" if seen.dag_run_id is None else ""
    since = seen.asked_at or seen.started
    return Row(seen.dataset, seen.title, seen.id, seen.version or "", kind, sign, words, by, since, seen.gates)


def _kind(state: State) -> str:
    if state.waits:
        return "waiting"
    if state in (State.STOPPED, State.DISCARDED):
        return "failed"
    return {State.APPROVED: "under way"}.get(state, str(state))
