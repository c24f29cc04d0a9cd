"""The words of detection: a finding, a subject's identifier, and a text detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from anonymize.policy.model import Kind

DOUBT = "doubt"
"""The detector of what is no vote: a word's chance by one detector, for the one that reads next."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One span of a text that a detector says is PHI. start, end: code points, end exclusive; score in [0, 1]."""

    kind: Kind
    start: int
    end: int
    score: float
    detector: str
    """Who found it; several, joined by `+`, after merging."""
    reason: str = ""
    """Why, in a few words that hold nothing of the text: the rule's name, what the lists say."""

    def moved(self, by: int) -> Finding:
        """The same finding in a text that begins so many characters earlier."""
        return Finding(self.kind, self.start + by, self.end + by, self.score, self.detector, self.reason) if by else self


@dataclass(frozen=True, slots=True)
class Identifier:
    """One identifier value of the subject (or of a relative) from the structured record, to be looked up in the subject's texts."""

    kind: Kind
    value: str
    column: str = ""


class Record(tuple[Identifier, ...]):
    """The identifiers of one subject, shared by all of the subject's texts. A patient's events can have thousands: what is made of them for
    looking them up is made once, and lies in `ready`."""

    ready: Any = None


class TextDetector(Protocol):
    """Finds PHI in texts. Built once a process; `find` is pure."""

    def find(self, texts: Sequence[str], records: Sequence[Sequence[Identifier]] | None = None) -> list[list[Finding]]:
        """For each text its findings: merged, sorted, not overlapping. records: each text's subject's own identifiers, same length."""
        ...
