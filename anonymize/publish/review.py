"""The review: what a steward is shown, what was decided, and the proof that what is published is what was shown."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from anonymize.errors import ReviewMissing
from anonymize.publish.manifest import DecisionFact, GateFact, SignatureFact, Stated
from anonymize.publish.parquet import hash_file, staged_files

REQUEST, DECISION = "request.json", "decision.json"


class ReviewRequest(Stated):
    """What waits for a steward: SHA-256 of every file that would be published, by its path in the stage, and the gates' verdicts."""

    files: dict[str, str]
    gates: tuple[GateFact, ...] = ()
    at: datetime
    facts: dict[str, Any] = Field(default_factory=dict)
    """Counts for the steward: rows, subjects, k reached, suppressed."""

    @property
    def sha256(self) -> str:
        """Names what is shown in one word: SHA-256 of its lines `hash  path`, in the order of the paths, as `sha256sum` writes them."""
        lines = "".join(f"{self.files[path]}  {path}\n" for path in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()


class Decision(Stated):
    """The stewards' word on exactly these files. second: the other steward's signature, where the policy asks for two and it was given."""

    approve: bool
    steward: str
    reason: str
    at: datetime
    files: dict[str, str]
    second: SignatureFact | None = None

    @property
    def signatures(self) -> int:
        """How many stewards approve; none where it is a rejection."""
        return (1 + (self.second is not None)) if self.approve else 0

    def fact(self) -> DecisionFact:
        """As it stands in the manifest."""
        return DecisionFact(steward=self.steward, reason=self.reason, at=self.at, files=self.files, second=self.second)


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


def decide(
    asked: ReviewRequest,
    folder: Path,
    *,
    approve: bool,
    steward: str,
    reason: str,
    stewards: int = 1,
    shown: str | None = None,
    at: datetime | None = None,
) -> Decision:
    """Write a steward's decision on a request, in one step.

    stewards: how many must approve, 1 or 2; one is enough to reject. shown: the `sha256` of the request that the steward saw.
    A decision that stands is never written over: the same steward's same word on the same files is given back as it was. Where two are
    asked for, another steward's approval is added to the first's, and anyone's rejection before that takes its place.
    Raises ReviewMissing where the name or the reason is blank, where a gate failed and the decision is to approve, where what was shown is
    not what waits, and where another decision on the same files stands.
    """
    steward, reason, at = " ".join(steward.split()), " ".join(reason.split()), at or datetime.now(UTC)
    for what, given in (("name", steward), ("reason", reason)):
        if not any(letter.isalnum() for letter in given):
            raise ReviewMissing(f"a decision needs the steward's {what}; this one is blank")
    if shown is not None and shown != asked.sha256:
        raise ReviewMissing("what was shown is not what waits now: open the release anew, read it, and decide again")
    failed = [gate.gate for gate in asked.gates if not gate.passed]
    if approve and failed:
        raise ReviewMissing(f"this release cannot be approved: its gates failed ({', '.join(failed)})")
    decision = Decision(approve=approve, steward=steward, reason=reason, at=at, files=asked.files)
    before = read_decision(folder)
    if before is not None and before.files == asked.files:
        if before.approve == approve and same_person(before.steward, steward):
            return before
        if not before.approve or before.signatures >= stewards:
            return _standing(before, approve, steward)
        if approve:
            decision = before.model_copy(update={"second": SignatureFact(steward=steward, reason=reason, at=at)})
    _write(folder / DECISION, decision.model_dump_json(indent=1))
    return decision


def same_person(one: str, other: str) -> bool:
    """Whether two names are one steward's: case and spaces make no second person."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _standing(before: Decision, approve: bool, steward: str) -> Decision:
    if before.approve and approve and before.second is not None and same_person(before.second.steward, steward):
        return before
    word = "approved" if before.approve else "rejected"
    raise ReviewMissing(f"{before.steward} {word} this release already. A new run is needed to decide anew")


def read_decision(folder: Path) -> Decision | None:
    """The decision that stands in a folder; None where there is none."""
    file = folder / DECISION
    return Decision.model_validate_json(file.read_bytes()) if file.exists() else None


def require(decision: Decision | None, stage: Path, *, stewards: int = 1) -> Decision:
    """The decision, where as many stewards as are asked for approve exactly the files of the stage.

    Raises ReviewMissing where there is no decision, a rejection, one signature of two, or a file that was changed, added or taken away
    after it.
    """
    if decision is None:
        raise ReviewMissing("this release waits for a steward: anonymize review RUN --approve --as NAME --reason WHY")
    if not decision.approve:
        raise ReviewMissing(f"{decision.steward} rejected this release: {decision.reason}")
    if decision.signatures < stewards:
        raise ReviewMissing(f"{decision.steward} approved this release, and the policy asks for two: another steward has to sign it as well")
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
