"""Puts tags or surrogates in the place of what was found in a text; dates move with their subject, ages over 89 become `90+`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from presidio_anonymizer.operators import Operator, OperatorType

from anonymize.detect.base import Finding
from anonymize.keys import Key
from anonymize.policy.model import Kind
from anonymize.transform.surrogates import surrogate
from anonymize.transform.written_dates import shift_written

_BIRTH = re.compile(r"(?i)\b(?:d\.?o\.?b\b|born|birth)[^\n]*$")


class Tag(Operator):
    """`[NAME]` in the place of a name; a written date is moved where the subject's shift is known; an age is coded."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """params: kind (Kind), days (int, 0: unknown), names (the subject's, lower case, that no date may spell)."""
        kind, days = (params or {})["kind"], (params or {}).get("days", 0)
        if kind is Kind.AGE:
            return "90+"
        moved = shift_written(text, days) if kind is Kind.DATE and days else None
        # A date that moves into May must not tell the name of somebody called May.
        names = (params or {}).get("names", frozenset())
        tells = moved is None or any(word.lower() in names for word in re.findall(r"[A-Za-z]+", moved))
        return str(kind.tag) if tells else str(moved)

    def validate(self, params: dict[str, Any] | None = None) -> None:
        """Nothing to check: the pipeline makes the parameters."""

    def operator_name(self) -> str:
        return "anonymize_tag"

    def operator_type(self) -> OperatorType:
        return OperatorType.Anonymize


class Surrogate(Tag):
    """A plausible other value, the same for the same value of a subject; dates and ages as with tags."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """params: kind, days, secret (bytes), subject (str)."""
        given = params or {}
        if given["kind"] in (Kind.AGE, Kind.DATE):
            return super().operate(text, params)
        return surrogate(given["kind"], text, given["secret"], given["subject"], names=given.get("names", frozenset()))

    def operator_name(self) -> str:
        return "anonymize_surrogate"


def scrub(
    texts: pa.Array,
    findings: Sequence[Sequence[Finding]],
    *,
    shift_days: np.ndarray | None = None,
    replace: str = "tags",
    key: Key | None = None,
    subjects: pa.Array | None = None,
    names: Sequence[frozenset[str]] | None = None,
) -> tuple[pa.Array, list[dict[str, int]]]:
    """Replace every finding; all other characters stay.

    texts: string, length n, null stays null; findings: of each text, sorted, not overlapping; shift_days: int64, length n, 0 where unknown;
    replace: `tags` or `surrogates` (which need `key`, and `subjects`: string, length n); names: of each text's subject, lower case words.
    Returns the scrubbed texts, and the number of findings a kind in each. Raises ValueError where surrogates are asked for without a key.
    """
    if replace == "surrogates" and key is None:
        raise ValueError("surrogates need a key")
    operator: Operator = Surrogate() if replace == "surrogates" else Tag()
    secret = key.derive("surrogate") if key is not None and replace == "surrogates" else b""
    whose = subjects.to_pylist() if subjects is not None else [None] * len(texts)
    scrubbed: list[str | None] = []
    counts: list[dict[str, int]] = []
    for index, (text, found) in enumerate(zip(texts.to_pylist(), findings, strict=True)):
        days = int(shift_days[index]) if shift_days is not None else 0
        given = {"days": days, "secret": secret, "subject": whose[index] or "", "names": names[index] if names else frozenset()}
        scrubbed.append(None if text is None else _replaced(text, found, operator, given))
        counts.append(_counted(found) if text is not None else {})
    return pa.array(scrubbed, pa.string()), counts


def _replaced(text: str, findings: Sequence[Finding], operator: Operator, given: dict[str, Any]) -> str:
    """Presidio's engine copies the whole text at each replacement; this joins the pieces once, so that a long note costs its length."""
    pieces, position = [], 0
    for finding in findings:
        pieces.append(text[position : finding.start])
        days = 0 if finding.kind is Kind.DATE and _of_birth(text, finding) else given["days"]
        pieces.append(operator.operate(text[finding.start : finding.end], {**given, "kind": finding.kind, "days": days}))
        position = finding.end
    return "".join([*pieces, text[position:]])


def _of_birth(text: str, finding: Finding) -> bool:
    """Whether a date is the subject's birth: it does not move but goes, or the text would tell the age more exactly than the columns do."""
    return "own-record" in finding.detector.split("+") or _BIRTH.search(text, max(0, finding.start - 24), finding.start) is not None


def _counted(findings: Sequence[Finding]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.kind.value] = counts.get(finding.kind.value, 0) + 1
    return counts
