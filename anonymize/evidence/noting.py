"""What a steward is told first: each thing that stops a release, that somebody has to look at, or that was proven."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from anonymize.evidence.comparing import Comparison
from anonymize.evidence.model import Evidence, TableHeld, TableRisk
from anonymize.evidence.wording import number, percent
from anonymize.publish.manifest import Stated

Weight = Literal["stop", "look", "good"]

TOLD_TO_MANY = 0.05
"""Of so many people a sensitive value is told by their class alone: somebody should look."""
NEAR = 0.8
"""Of a budget: so much of it used is worth a look."""
FINE_RECALL = 0.99
"""A lower bound of the recall in text under which somebody should look."""
ALL_LOST = 0.995
"""A column that lost so much of its precision says nothing any more."""
MOVED = 0.2
"""A relative change of rows since the last release that is worth a look."""

TOLD_DRIFTS = 3
"""So many changes of the sources are told at once; the section has them all."""


class Note(Stated):
    """One thing to know. section: the id of the section that has the figures."""

    weight: Weight
    words: str
    section: str


def notes(evidence: Evidence, comparison: Comparison) -> list[Note]:
    """What to know of a release, what stops it first, then what to look at, then what is well."""
    found = [
        *_gates(evidence),
        *_risk(evidence),
        *_held(evidence),
        *_drift(evidence),
        *_lost(evidence),
        *_text(evidence),
        *_differences(comparison),
        *_papers(evidence),
    ]
    order = {"stop": 0, "look": 1, "good": 2}
    return sorted(found, key=lambda note: order[note.weight])


def _gates(e: Evidence) -> Iterator[Note]:
    if not e.gates:
        yield Note(weight="stop", words="The gates have not judged this release yet.", section="gates")
    for gate in e.gates:
        if not gate.passed:
            yield Note(weight="stop", words=f"Gate {gate.gate} failed: {gate.words}.", section="gates")
        elif gate.gate == "differences" and re.search(r"[1-9][\d,]* stand out", gate.words):
            yield Note(weight="look", words=f"Joined with earlier releases: {gate.words}.", section="risk")
        elif gate.gate == "leaks":
            yield Note(weight="good", words=f"Leak gate: {gate.words}.", section="gates")


def _risk(e: Evidence) -> Iterator[Note]:
    asked, reached = e.privacy.k, e.privacy.reached
    if reached is not None and reached >= asked:
        yield Note(
            weight="good", words=f"Every person shares their class with at least {reached - 1} others (k = {asked} was asked).", section="risk"
        )
    for one in e.risk:
        yield from _risk_of(one)


def _risk_of(one: TableRisk) -> Iterator[Note]:
    if one.at_risk > 0:
        words = f"{percent(one.at_risk)} of the people of {one.table} can be found with a chance over the threshold of {percent(one.threshold)}."
        yield Note(weight="stop" if one.unique else "look", words=words, section="risk")
    for column, share in one.told.items():
        if share >= TOLD_TO_MANY:
            words = f"{one.table}.{column} is told of {percent(share)} of the people by their class alone: all in it have the same value."
            yield Note(weight="look", words=words, section="risk")


def _lost(e: Evidence) -> Iterator[Note]:
    gone = [f"{table}.{name}" for table, one in e.utility.items() for name, c in one["columns"].items() if (c.get("loss") or 0) >= ALL_LOST]
    if gone:
        words = f"Nothing is left of {', '.join(gone)}: made so coarse that all values are alike."
        yield Note(weight="look", words=words, section="utility")


def _held(e: Evidence) -> Iterator[Note]:
    for held in e.held_back.by_table:
        if held.quarantined:
            reasons = ", ".join(f"{reason}: {number(count)}" for reason, count in held.reasons.items())
            words = f"{number(held.quarantined)} malformed {_rows(held.quarantined)} of {held.table} stayed in quarantine ({reasons})."
            yield Note(weight="look", words=words, section="held-back")
        if held.broken_files:
            yield Note(weight="look", words=_files_words(held), section="held-back")
        if held.rows_in and held.suppressed:
            share, most = held.suppressed / held.rows_in, e.privacy.suppression
            near = "look" if most and share >= NEAR * most else "good"
            words = f"{number(held.suppressed)} of {number(held.rows_in)} rows of {held.table} are suppressed ({percent(share)}; "
            yield Note(weight=near, words=f"{words}{percent(most)} is the most that the policy allows).", section="held-back")  # type: ignore[arg-type]
        if held.unreadable:
            kinds = ", ".join(f"{kind} {number(count)}" for kind, count in held.unreadable.items())
            yield Note(weight="look", words=f"Files within texts of {held.table} could not be read, so did not leave: {kinds}.", section="text")


def _files_words(held: TableHeld) -> str:
    count = sum(held.broken_files.values())
    reasons = ", ".join(f"{reason}: {number(one)}" for reason, one in held.broken_files.items())
    files = f"{number(count)} whole {'file' if count == 1 else 'files'} of {held.table} could not be read ({reasons})"
    return f"{files}. How many rows and people are missing with that is not known."


def _drift(e: Evidence) -> Iterator[Note]:
    if e.drift:
        words = f"The sources are not as they were at the last release, in {number(len(e.drift))} {'place' if len(e.drift) == 1 else 'places'}: "
        rest = f", and {number(len(e.drift) - TOLD_DRIFTS)} more" if len(e.drift) > TOLD_DRIFTS else ""
        yield Note(weight="look", words=f"{words}{'; '.join(e.drift[:TOLD_DRIFTS])}{rest}.", section="differences")


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _text(e: Evidence) -> Iterator[Note]:
    audit = e.text.audit
    if not e.text.columns:
        return
    if audit is None:
        words = f"Free text goes out ({', '.join(e.text.columns)}), and nobody has labelled a sample: how much is missed is not known."
        yield Note(weight="look", words=words, section="text")
        return
    fine = audit.recall_low >= FINE_RECALL
    words = f"In {number(audit.done)} labelled notes {number(audit.missed)} identifiers were missed: recall {percent(audit.recall)}, "
    words += f"with 95\u00a0% certainty {percent(audit.recall_low)} or more."
    yield Note(weight="good" if fine else "look", words=words, section="text")


def _differences(c: Comparison) -> Iterator[Note]:
    if c.first:
        yield Note(weight="look", words="There is no earlier release to compare this one with.", section="differences")
        return
    if c.policy:
        words = f"{number(len(c.policy))} {'setting' if len(c.policy) == 1 else 'settings'} of the policy changed since the last release."
        yield Note(weight="look", words=words, section="differences")
    if c.schema_:
        words = f"{number(len(c.schema_))} {'column or table' if len(c.schema_) == 1 else 'columns or tables'} changed since the last release."
        yield Note(weight="look", words=words, section="differences")
    worse = [figure.what for figure in c.risk if figure.worse]
    if worse:
        yield Note(weight="look", words=f"Risk rose since the last release: {', '.join(worse)}.", section="differences")
    for figure in c.rows:
        if figure.before and figure.now is not None and abs(figure.now / figure.before - 1) >= MOVED:
            words = f"{figure.what} has {number(figure.now)} rows; the last release had {number(figure.before)}."
            yield Note(weight="look", words=words, section="differences")
    if not (c.policy or c.schema_ or worse):
        yield Note(weight="good", words="Schema and policy are those of the last release, and no risk rose.", section="differences")


def _papers(e: Evidence) -> Iterator[Note]:
    lacking = [name for name in ("recipient", "purpose") if not getattr(e, name)]
    asks = {
        "hipaa-expert-determination": "an expert's determination is about both",
        "hipaa-limited-data-set": "a limited data set goes to a recipient and for a purpose under a data use agreement",
    }
    if lacking and e.profile in asks:
        words = f"The policy names no {' and no '.join(lacking)} of the release, and {asks[e.profile]}."
        yield Note(weight="look", words=words, section="files")
