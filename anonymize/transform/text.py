"""Puts tags or surrogates in the place of what was found in a text; dates move with their subject or are cut, ages over 89 become `90+`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from anonymize.detect.base import Finding, Identifier
from anonymize.keys import Key
from anonymize.policy.model import Kind
from anonymize.transform.markup import Edit, Known, Unwrapped
from anonymize.transform.surrogates import surrogate
from anonymize.transform.written_dates import readings, shift_written, year_written

_BIRTH = re.compile(r"(?i)\b(?:d\.?o\.?b\b|born|birth)[^\n]*$")


@dataclass(frozen=True)
class Own:
    """Of a subject's record what nothing that is put into a text may tell. names: the words of its names, lower case."""

    names: frozenset[str] = frozenset()
    days: frozenset[date] = frozenset()

    @classmethod
    def of(cls, record: Sequence[Identifier]) -> Own:
        """Its names' words, and its dates in every reading."""
        names = frozenset(word.lower() for item in record if item.kind is Kind.NAME for word in re.findall(r"[^\W\d_]+", item.value))
        return cls(names, frozenset().union(*(readings(item.value) for item in record if item.kind is Kind.DATE)))

    def told_by(self, written: str) -> bool:
        """Whether a moved date spells a name (somebody is called May) or can be read as a day of the record."""
        spelt = any(word.lower() in self.names for word in re.findall(r"[A-Za-z]+", written))
        return spelt or (bool(self.days) and not self.days.isdisjoint(readings(written)))


NOBODY = Own()


class Tag:
    """`[NAME]` in the place of a name; a written date is moved or cut to its year where the parameters say so; an age is coded."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """params: kind (Kind); of dates: days (int, 0: they do not move), ages_in (int or None, as `year_written` takes it), own (what no
        date may tell)."""
        given = params or {}
        kind = given["kind"]
        if kind is Kind.AGE:
            return "90+"
        written = _rewritten(text, given.get("days", 0), given.get("ages_in")) if kind is Kind.DATE else None
        return str(kind.tag) if written is None or given.get("own", NOBODY).told_by(written) else str(written)


class Surrogate(Tag):
    """A plausible other value, the same for the same value of a subject; dates and ages as with tags."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """params: kind, days, ages_in, own, secret (bytes), subject (str)."""
        given = params or {}
        if given["kind"] in (Kind.AGE, Kind.DATE):
            return super().operate(text, params)
        return surrogate(given["kind"], text, given["secret"], given["subject"], names=given.get("own", NOBODY).names)


@dataclass(frozen=True)
class How:
    """What stands in the place of what is found. Where something is given for each text, it is as long as the texts."""

    replace: str = "tags"
    """`tags`, or `surrogates`, which need `key` and `subjects`."""
    shift_days: np.ndarray | None = None
    """int64, a text: by how much its dates move; 0 where unknown. With neither this nor `ages_in`, and where nobody can say what a date becomes,
    it is a tag."""
    ages_in: int | None = None
    """A year: dates are cut to their year, and to a tag where it tells an age over 89 then."""
    key: Key | None = None
    subjects: pa.Array | None = None
    """string, a text: whose it is."""
    own: Sequence[Own] | None = None
    """A text: what of its subject's record nothing may tell."""

    def of_text(self, index: int) -> How:
        """For one of the texts alone."""
        one = slice(index, index + 1)
        given = {name: value[one] for name in ("shift_days", "subjects", "own") if (value := getattr(self, name)) is not None}
        return dataclasses.replace(self, **given)


TAGS = How()


def scrub(
    texts: pa.Array, findings: Sequence[Sequence[Finding]], how: How = TAGS, *, unwrapped: Sequence[Unwrapped] | None = None
) -> tuple[pa.Array, list[dict[str, int]]]:
    """Replace every finding; all other characters stay. The pieces are joined once, so that a long note costs its length.

    texts: string, length n, null stays null; findings: of each text, sorted, not overlapping; unwrapped: of each text, where the findings are
    those of its plain text. Returns the scrubbed texts, and the number of findings a kind in each. Raises ValueError where surrogates are
    asked for without a key.
    """
    sources = unwrapped if unwrapped is not None else [Unwrapped(text or "") for text in texts.to_pylist()]
    scrubbed: list[str | None] = []
    counts: list[dict[str, int]] = []
    for text, source, found, (edits, known) in zip(texts.to_pylist(), sources, findings, replacements(sources, findings, how), strict=True):
        scrubbed.append(None if text is None else source.wrap(edits, known))
        counts.append(_counted([*found, *source.known]) if text is not None else {})
    return pa.array(scrubbed, pa.string()), counts


def replacements(sources: Sequence[Unwrapped], findings: Sequence[Sequence[Finding]], how: How = TAGS) -> Iterator[tuple[list[Edit], list[str]]]:
    """What stands in the place of each finding, as edits of the plain text, and of what the form itself tells. Raises as `scrub`."""
    if how.replace == "surrogates" and how.key is None:
        raise ValueError("surrogates need a key")
    operator = Surrogate() if how.replace == "surrogates" else Tag()
    secret = how.key.derive("surrogate") if how.key is not None and how.replace == "surrogates" else b""
    whose = how.subjects.to_pylist() if how.subjects is not None else [None] * len(sources)
    for index, (source, found) in enumerate(zip(sources, findings, strict=True)):
        days = int(how.shift_days[index]) if how.shift_days is not None else 0
        own = how.own[index] if how.own else NOBODY
        given = {"ages_in": how.ages_in, "secret": secret, "days": days, "subject": whose[index] or "", "own": own}
        edits = [(one.start, one.end, _instead(source.text, one, operator, given)) for one in found]
        yield edits, [operator.operate(one.value, {**given, "kind": one.kind}) for one in source.known]


def _instead(text: str, finding: Finding, operator: Tag, given: dict[str, Any]) -> str:
    """The day of birth goes, or the text would tell the age more exactly than the columns do."""
    closed = {"days": 0, "ages_in": None} if finding.kind is Kind.DATE and _of_birth(text, finding) else {}
    return operator.operate(text[finding.start : finding.end], {**given, **closed, "kind": finding.kind})


def _rewritten(date: str, days: int, ages_in: int | None) -> str | None:
    if ages_in is not None:
        return year_written(date, ages_in)
    return shift_written(date, days) if days else None


def _of_birth(text: str, finding: Finding) -> bool:
    """Whether a date is the subject's birth, or one that stands in the subject's record."""
    return "own-record" in finding.detector.split("+") or _BIRTH.search(text, max(0, finding.start - 24), finding.start) is not None


def _counted(findings: Sequence[Finding | Known]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.kind.value] = counts.get(finding.kind.value, 0) + 1
    return counts
