"""One line of the trail: what it says, how it is written, how it holds on to the line before it. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

#: What can be done, and so recorded. A word that is not here is refused: whoever reads a trail knows all its words.
ACTIONS: dict[str, str] = {
    "asked": "a run was begun",
    "ran": "a step of a run was done",
    "stopped": "a gate stopped a release",
    "looked": "a person opened a release's page or its sample of notes",
    "labelled": "a person labelled scrubbed notes",
    "approved": "a steward approved a release",
    "rejected": "a steward rejected a release",
    "publishing": "a version is about to be published",
    "published": "a version was published",
    "discarded": "a run was given up",
    "retract-asked": "a person asked to take subjects back",
    "searched": "published versions were searched for subjects",
    "republished": "a version was published anew without the subjects",
    "tombstoned": "a version was taken out of the store",
    "retracted": "taking back has ended; its proof is written",
    "announced": "a version's end was announced",
    "expired": "a version's end came by the policy",
    "pinned": "a person asked to keep a version",
    "unpinned": "a person gave a pin back",
    "repaired": "a line that a crash had cut off was kept aside",
}
GENESIS = "0" * 64
"""What the first line names as the hash before it."""
_SEALS = ("hash", "signature")


@dataclass(frozen=True)
class Line:
    """said: every field but `hash` and `signature`: `n` (from 1), `prev`, `signer`, and what was recorded."""

    said: dict[str, Any]
    hash: str
    signature: str | None

    @property
    def n(self) -> int:
        return int(self.said["n"])

    @property
    def action(self) -> str:
        return str(self.said["action"])

    def to_bytes(self) -> bytes:
        """One line of JSON, in one way only: sorted, without blanks, ASCII."""
        return canonical({**self.said, "hash": self.hash, "signature": self.signature}) + b"\n"


def canonical(value: Any) -> bytes:
    """The one way in which a value is written. Raises ValueError for what JSON does not know (NaN)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(said: dict[str, Any]) -> str:
    """SHA-256 over the line without its seals, in hex; it covers the hash of the line before, so the lines are a chain.

    Source: linked hashes as in Haber and Stornetta (1991); a public log's signed head as in RFC 9162.
    """
    return hashlib.sha256(b"anonymize trail line\x00" + canonical(said)).hexdigest()


def parse(data: bytes) -> Line | None:
    """A line as it stands in the file; None where it is no line of a trail, also where the same facts are written otherwise."""
    try:
        stated = json.loads(data)
        line = Line({k: v for k, v in stated.items() if k not in _SEALS}, str(stated["hash"]), stated["signature"])
        whole = isinstance(line.said["n"], int) and isinstance(line.said["prev"], str) and isinstance(line.said["action"], str)
        return line if whole and line.to_bytes() == data else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
