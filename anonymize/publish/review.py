"""The review: what a steward is shown, what was decided, and the proof that what is published is what was shown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from anonymize.errors import ReviewMissing
from anonymize.publish.manifest import DecisionFact, GateFact, Stated
from anonymize.publish.parquet import hash_file, staged_files

REQUEST, DECISION = "request.json", "decision.json"


class ReviewRequest(Stated):
    """What waits for a steward: SHA-256 of every file that would be published, by its path in the stage, and the gates' verdicts."""

    files: dict[str, str]
    gates: tuple[GateFact, ...] = ()
    at: datetime
    facts: dict[str, Any] = Field(default_factory=dict)
    """Counts for the steward: rows, subjects, k reached, suppressed."""


class Decision(Stated):
    """A steward's word on exactly these files."""

    approve: bool
    steward: str
    reason: str
    at: datetime
    files: dict[str, str]

    def fact(self) -> DecisionFact:
        """As it stands in the manifest."""
        return DecisionFact(steward=self.steward, reason=self.reason, at=self.at, files=self.files)


def request(
    stage: Path,
    *,
    gates: Sequence[GateFact] = (),
    facts: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    at: datetime | None = None,
) -> ReviewRequest:
    """Hash every file of the stage for a steward to decide on; kept as `folder/request.json` where a folder is given."""
    asked = ReviewRequest(files=_hashes(stage), gates=tuple(gates), at=at or datetime.now(UTC), facts=dict(facts or {}))
    if folder is not None:
        _write(folder / REQUEST, asked.model_dump_json(indent=1))
    return asked


def read_request(folder: Path) -> ReviewRequest | None:
    """The request that waits in a folder; None where there is none."""
    file = folder / REQUEST
    return ReviewRequest.model_validate_json(file.read_bytes()) if file.exists() else None


def decide(asked: ReviewRequest, folder: Path, *, approve: bool, steward: str, reason: str, at: datetime | None = None) -> Decision:
    """Write a steward's decision on a request, in one step.

    A decision that stands is never written over: the same steward's same word on the same files is given back as it was.
    Raises ReviewMissing where the name or the reason is blank, where a gate failed and the decision is to approve, and where another
    decision on the same files stands.
    """
    steward, reason = " ".join(steward.split()), " ".join(reason.split())
    for what, given in (("name", steward), ("reason", reason)):
        if not any(letter.isalnum() for letter in given):
            raise ReviewMissing(f"a decision needs the steward's {what}; this one is blank")
    failed = [gate.gate for gate in asked.gates if not gate.passed]
    if approve and failed:
        raise ReviewMissing(f"this release cannot be approved: its gates failed ({', '.join(failed)})")
    before = read_decision(folder)
    if before is not None and before.files == asked.files:
        return _standing(before, approve, steward)
    decision = Decision(approve=approve, steward=steward, reason=reason, at=at or datetime.now(UTC), files=asked.files)
    _write(folder / DECISION, decision.model_dump_json(indent=1))
    return decision


def _standing(before: Decision, approve: bool, steward: str) -> Decision:
    if (before.approve, before.steward) == (approve, steward):
        return before
    word = "approved" if before.approve else "rejected"
    raise ReviewMissing(f"{before.steward} {word} this release already. A new run is needed to decide anew")


def read_decision(folder: Path) -> Decision | None:
    """The decision that stands in a folder; None where there is none."""
    file = folder / DECISION
    return Decision.model_validate_json(file.read_bytes()) if file.exists() else None


def require(decision: Decision | None, stage: Path) -> Decision:
    """The decision, where it approves exactly the files of the stage.

    Raises ReviewMissing where there is no decision, a rejection, or a file that was changed, added or taken away after it.
    """
    if decision is None:
        raise ReviewMissing("this release waits for a steward: anonymize review RUN --approve --as NAME --reason WHY")
    if not decision.approve:
        raise ReviewMissing(f"{decision.steward} rejected this release: {decision.reason}")
    difference = compare(decision.files, _hashes(stage))
    if difference:
        raise ReviewMissing(f"the staged files are not those that {decision.steward} approved: {difference}. Ask for a new review")
    return decision


@dataclass(frozen=True)
class Difference:
    """Files that differ between what was shown and what is there; falsy where none does."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.removed)

    def __str__(self) -> str:
        parts = [(word, getattr(self, word)) for word in ("changed", "added", "removed")]
        return "; ".join(f"{word} {', '.join(files[:3])}{' …' if len(files) > 3 else ''}" for word, files in parts if files)


def compare(shown: Mapping[str, str], there: Mapping[str, str]) -> Difference:
    """What differs between two sets of files, by path and hash."""
    both = shown.keys() & there.keys()
    return Difference(
        tuple(sorted(path for path in both if shown[path] != there[path])),
        tuple(sorted(there.keys() - shown.keys())),
        tuple(sorted(shown.keys() - there.keys())),
    )


def _hashes(stage: Path) -> dict[str, str]:
    return {path.relative_to(stage).as_posix(): hash_file(path) for path in staged_files(stage)}


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with fresh.open("w") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
