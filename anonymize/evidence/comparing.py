"""The difference between a release and the one before it: schema, policy, rows, people, risk, utility, findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from anonymize.evidence.model import ColumnOut, Evidence, TableOut
from anonymize.publish.manifest import Stated

Change = Literal["added", "removed", "changed"]


class Changed(Stated):
    """One thing that is not as it was. what: where it is (`patient.zip`, `privacy.k`); before, now: in words, empty where it was not there."""

    change: Change
    what: str
    before: str = ""
    now: str = ""


class Figure(Stated):
    """A number then and now. share: a share of one, told in percent; worse: whether the move is one to look at; None where a move is neither."""

    what: str
    before: float | None
    now: float | None
    share: bool = False
    worse: bool | None = None

    @property
    def difference(self) -> float | None:
        """Now less before."""
        return None if self.before is None or self.now is None else self.now - self.before


class Comparison(Stated):
    """This release against the last. last: its version, empty where this is the first."""

    last: str = ""
    schema_: tuple[Changed, ...] = ()
    policy: tuple[Changed, ...] = ()
    rows: tuple[Figure, ...] = ()
    subjects: tuple[Figure, ...] = ()
    risk: tuple[Figure, ...] = ()
    utility: tuple[Figure, ...] = ()
    text: tuple[Figure, ...] = ()
    held_back: tuple[Figure, ...] = ()

    @property
    def first(self) -> bool:
        """Whether there is no earlier release to compare with."""
        return not self.last


def compare(new: Evidence, old: Evidence | None) -> Comparison:
    """What is different in `new`; all is empty where there is no `old`."""
    if old is None:
        return Comparison()
    return Comparison(
        last=old.version or old.run,
        schema_=tuple(_schema(new, old)),
        policy=tuple(_mapping(new.policy, old.policy)) if old.policy else (),
        rows=tuple(_figures({t.name: t.rows for t in new.tables}, {t.name: t.rows for t in old.tables})),
        subjects=tuple(_figures(_subjects(new), _subjects(old))),
        risk=tuple(_figures(_risk(new), _risk(old), share=True, higher_is_worse=True)),
        utility=tuple(_figures(_utility(new), _utility(old), share=True, higher_is_worse=False)),
        text=tuple(_figures(_findings(new), _findings(old), lacking=0)),
        held_back=tuple(_figures(_held(new), _held(old), lacking=0)),
    )


def _schema(new: Evidence, old: Evidence) -> Iterable[Changed]:
    now, before = {t.name: t for t in new.tables}, {t.name: t for t in old.tables}
    for name in sorted(now.keys() - before.keys()):
        yield Changed(change="added", what=name, now=f"table of {len(now[name].columns)} columns")
    for name in sorted(before.keys() - now.keys()):
        yield Changed(change="removed", what=name, before=f"table of {len(before[name].columns)} columns")
    for name in sorted(now.keys() & before.keys()):
        yield from _mapping(_columns(now[name]), _columns(before[name]))


def _columns(table: TableOut) -> dict[str, str]:
    return {f"{table.name}.{column.name}": described(column) for column in table.columns}


def described(column: ColumnOut) -> str:
    """A column in a few words: `string, quasi, generalize: 3 digits`."""
    return f"{column.type}, {column.role}, {column.method}{f': {column.precision}' if column.precision else ''}"


def _mapping(now: Mapping[str, str], before: Mapping[str, str]) -> Iterable[Changed]:
    for key in sorted(now.keys() | before.keys()):
        if key not in before:
            yield Changed(change="added", what=key, now=now[key])
        elif key not in now:
            yield Changed(change="removed", what=key, before=before[key])
        elif now[key] != before[key]:
            yield Changed(change="changed", what=key, before=before[key], now=now[key])


def _figures(
    now: Mapping[str, float],
    before: Mapping[str, float],
    *,
    share: bool = False,
    higher_is_worse: bool | None = None,
    lacking: float | None = None,
) -> Iterable[Figure]:
    """Every figure that either release has, in the order of the new one; those that did not move are among them. lacking: what one that is
    not there stands for."""
    for what in [*now, *(key for key in before if key not in now)]:
        a, b = before.get(what, lacking), now.get(what, lacking)
        moved = a is not None and b is not None and a != b
        worse = (b > a) == higher_is_worse if moved and higher_is_worse is not None and a is not None and b is not None else None
        yield Figure(what=what, before=a, now=b, share=share, worse=worse)


def _subjects(evidence: Evidence) -> dict[str, float]:
    return {table.name: table.subjects for table in evidence.tables if table.subjects is not None}


RISKS = {
    "highest": "prosecutor, highest",
    "average": "prosecutor, average",
    "at_risk": "people over the threshold",
    "journalist": "journalist, highest",
    "marketer": "marketer, all",
    "unique": "people alone in their class",
}
"""The figures of a table's risk that are compared, in words."""


def _risk(evidence: Evidence) -> dict[str, float]:
    return {f"{one.table}: {words}": getattr(one, name) for one in evidence.risk for name, words in RISKS.items()}


def _utility(evidence: Evidence) -> dict[str, float]:
    """What is kept: of the quasi-identifiers together, and of each column that has a hierarchy."""
    found: dict[str, float] = {}
    for table, one in evidence.utility.items():
        for name, words in (("granularity", "precision kept"), ("information", "information kept")):
            if one.get(name) is not None:
                found[f"{table}: {words}"] = one[name]
        found |= {f"{table}.{name}: precision kept": 1 - c["loss"] for name, c in one["columns"].items() if c.get("loss") is not None}
    return {what: round(value, 6) for what, value in found.items()}


def _findings(evidence: Evidence) -> dict[str, float]:
    return {f"{table}: {kind}": n for table, kinds in evidence.text.findings.items() for kind, n in kinds.items()}


def _held(evidence: Evidence) -> dict[str, float]:
    found: dict[str, float] = {}
    for held in evidence.held_back.by_table:
        for name in ("quarantined", "suppressed", "no_subject"):
            if number := getattr(held, name):
                found[f"{held.table}: {HELD[name]}"] = number
    return found


HELD = {"quarantined": "rows quarantined", "suppressed": "rows suppressed", "no_subject": "rows of people who are not published"}
"""Why rows do not go out, in words."""
