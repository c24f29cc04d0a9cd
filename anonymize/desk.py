"""What a steward's desk shows of runs: read from their records, which hold counts alone. No key, no workspace and no store is needed, so
that who serves the pages need not reach them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from anonymize.policy.model import Policy
from anonymize.run import Counts, Record
from anonymize.taking_back import retracting
from anonymize.taking_back.proving import Proof, VersionProof

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}")


class State(StrEnum):
    """What became of a run, in the words that the desk shows."""

    WAITING = "waits for a steward"
    SIGNED = "waits for a second steward"
    APPROVED = "approved"
    PUBLISHED = "published"
    TAKEN_BACK = "taken back"
    REJECTED = "rejected"
    DISCARDED = "discarded"
    STOPPED = "stopped by a gate"
    UNDER_WAY = "under way"

    @property
    def waits(self) -> bool:
        """Whether a steward has to act."""
        return self in (State.WAITING, State.SIGNED)


@dataclass(frozen=True)
class Gate:
    """A gate's verdict."""

    name: str
    passed: bool
    words: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A run as its record tells it."""

    policy: Policy
    id: str
    record: Record
    started: datetime
    state: State
    gates: tuple[Gate, ...]
    taken: VersionProof | None = None
    """What became of its version in a retraction."""

    @property
    def dataset(self) -> str:
        return self.policy.dataset

    @property
    def title(self) -> str:
        return self.policy.release.title or self.policy.dataset

    @property
    def request(self) -> Counts:
        """What was asked of the stewards: `version`, `sha256` of what was shown, `at`, and counts; empty where nothing was."""
        return self.record.get("request") or {}

    @property
    def version(self) -> str | None:
        """The version that it is, or would be."""
        published = self.record.get("publish") or self.request
        return published.get("version")

    @property
    def asked_at(self) -> datetime | None:
        """When the stewards were asked."""
        at = self.request.get("at")
        return datetime.fromisoformat(at) if at else None

    @property
    def decision(self) -> Counts:
        """The stewards' word so far: `approved`, `steward`, `reason`, `at`, `signatures`, `second`; empty where there is none."""
        return self.record.get("review") or self.record.get("signature") or {}

    @property
    def audit(self) -> Counts:
        """What the labels of its sampled notes say; empty where nothing is labelled."""
        return self.record.get("audit") or {}

    @property
    def dag_run_id(self) -> str | None:
        """The DAG run that it belongs to; None where it was begun on the command line."""
        found = (self.record.get("airflow") or {}).get("dag_run_id")
        return str(found) if found else None

    @property
    def workspace(self) -> Path:
        """The policy's workspace, in which the records stand."""
        return self.record.folder.parent.parent


def runs(policy: Policy) -> list[Seen]:
    """The runs of a policy's dataset, the newest first."""
    taken = {version.version: version for proof in retractions(policy) for version in proof.versions}
    return sorted((_with(seen, taken) for seen in _runs(policy)), key=lambda seen: seen.started, reverse=True)


def find(policy: Policy, run_id: str) -> Seen | None:
    """One run of a policy's dataset; None where there is none, and where this can be no run's id: it is part of a path."""
    if not RUN_ID.fullmatch(run_id):
        return None
    seen = _seen(policy, Record(policy.path(policy.workspace) / "records" / run_id))
    taken = {version.version: version for proof in retractions(policy) for version in proof.versions}
    return None if seen is None else _with(seen, taken)


def retractions(policy: Policy) -> list[Proof]:
    """The proofs of the dataset's retractions, the newest first."""
    found = (Proof.model_validate_json(file.read_bytes()) for file in retracting.home(policy).glob(f"*/{retracting.PROOF}"))
    return sorted((proof for proof in found if proof.dataset == policy.dataset), key=lambda proof: proof.asked, reverse=True)


def before(seen: Seen) -> Seen | None:
    """The release that was published before this run began, to compare it with; None for the first."""
    earlier = [one for one in runs(seen.policy) if one.state in (State.PUBLISHED, State.TAKEN_BACK) and one.started < seen.started]
    return earlier[0] if earlier else None


def _with(seen: Seen, taken: Mapping[str, VersionProof]) -> Seen:
    """The run, with what a retraction did to its version."""
    done = taken.get(seen.version or "") if seen.state is State.PUBLISHED else None
    return seen if done is None else replace(seen, state=State.TAKEN_BACK, taken=done)


def _runs(policy: Policy) -> Iterator[Seen]:
    for folder in (policy.path(policy.workspace) / "records").glob("*"):
        seen = _seen(policy, Record(folder))
        if seen is not None:
            yield seen


def _seen(policy: Policy, record: Record) -> Seen | None:
    begun = record.get("run")
    if begun is None or begun.get("dataset") != policy.dataset:
        return None
    judged: dict[str, Any] = record.get("judged") or record.get("validate") or {}
    gates = tuple(Gate(gate["gate"], gate["passed"], tuple(gate["words"])) for gate in judged.get("gates", []))
    return Seen(policy, str(begun["id"]), record, datetime.fromisoformat(begun["started"]), _state(record, gates), gates)


def _state(record: Record, gates: tuple[Gate, ...]) -> State:
    ended = record.get("end")
    if ended is not None:
        return {"published": State.PUBLISHED, "rejected": State.REJECTED}.get(ended["outcome"], State.DISCARDED)
    if record.get("review") is not None:
        return State.APPROVED
    if record.get("signature") is not None:
        return State.SIGNED
    if record.get("request") is not None:
        return State.WAITING
    return State.STOPPED if gates and not all(gate.passed for gate in gates) else State.UNDER_WAY
