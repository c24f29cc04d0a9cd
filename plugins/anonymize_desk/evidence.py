"""A run's evidence, from its record: as it was kept when the stewards were asked, held against the release that was published before it."""

from __future__ import annotations

from datetime import datetime

from anonymize.desk import Seen, before
from anonymize.evidence import Comparison, Evidence, Signature, compare, of_record, render, report


def gathered(seen: Seen) -> tuple[Evidence, Comparison] | None:
    """Evidence and difference; None where none was kept, as of a run that a gate stopped."""
    now, last = of_record(seen.record), before(seen)
    if now is None:
        return None
    then = of_record(last.record) if last is not None else None
    return now, compare(now, then)


def body(found: tuple[Evidence, Comparison]) -> str:
    """As a part of a page."""
    return render.body(*found)


def as_file(seen: Seen, found: tuple[Evidence, Comparison], kind: str) -> bytes:
    """The report as `html` or `pdf`, readable offline."""
    signed = signatures(seen)
    return report.html(*found, signed).encode() if kind == "html" else report.pdf(*found, signed)


def signatures(seen: Seen) -> tuple[Signature, ...]:
    """Who has decided so far."""
    said = seen.decision
    if not said:
        return ()
    words = [said, *([said["second"]] if said.get("second") else [])]
    return tuple(
        Signature(steward=one["steward"], approve=said["approved"], reason=one["reason"], at=datetime.fromisoformat(one["at"])) for one in words
    )
