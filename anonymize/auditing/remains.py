"""What in a scrubbed text has the shape of PHI: where a steward should look first.

Made to mark too much, and by other rules than detection's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from anonymize.detect.words import is_common, is_name

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*"
#: Why something is marked, and what is marked so; the first that fits counts.
_SHAPES = (
    ("address", regex.compile(r"\S+@\S+\.\w+|(?:https?://|www\.)\S+|\b\d{1,3}(?:\.\d{1,3}){3}\b", regex.IGNORECASE)),
    (
        "date",
        regex.compile(
            rf"\b\d{{4}}-\d{{1,2}}(?:-\d{{1,2}})?\b|\b\d{{1,2}}[/.-]\d{{1,2}}[/.-](?:\d{{4}}|\d{{2}})\b|\b\d{{1,2}}/\d{{1,2}}\b(?!/)"
            rf"|\b{_MONTH}\.?,? ?\d{{1,2}}(?:st|nd|rd|th)?\b(?:,? ?'?\d{{2,4}}\b)?"
            rf"|\b\d{{1,2}}(?:st|nd|rd|th)?[ -]{_MONTH}\b(?:,?[ -]'?\d{{2,4}}\b)?"
            rf"|\b{_MONTH},? (?:19|20)\d\d\b|\b(?:19|20)\d\d\b",
            regex.IGNORECASE,
        ),
    ),
    ("number", regex.compile(r"[#+(]?\b[A-Z]{0,4}-?\d(?:[\d]|[-/. ()](?=\d)|\) ){3,}\d?\b|\b(?=\w*\d)(?=\w*[A-Z])[A-Z\d]{5,}\b")),
)
_TAG = regex.compile(r"\[[A-Z_]{2,20}\]|\[UNREADABLE: [a-z0-9-]+\]")
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}]*(?:['’-][\p{L}\p{M}]+)*")


@dataclass(frozen=True, slots=True)
class Mark:
    """A span that has the shape of PHI. start, end: code points, end exclusive; why: `word`, `number`, `date` or `address`."""

    start: int
    end: int
    why: str


def tags(text: str) -> list[tuple[int, int]]:
    """The tags in a text: `[NAME]`, `[UNREADABLE: pdf]`."""
    return [match.span() for match in _TAG.finditer(text)]


def remains(text: str, replaced: Sequence[tuple[int, int]] = ()) -> list[Mark]:
    """What has the shape of PHI outside of tags and of what was put there, in order, not overlapping."""
    taken = bytearray(len(text))
    for start, end in [*replaced, *tags(text)]:
        taken[start:end] = b"\1" * (end - start)
    found = []
    for why, shape in _SHAPES:
        for match in shape.finditer(text):
            if why != "number" or _is_number(match.group()):
                found += _free(taken, match.start(), match.end(), why)
    for match in _WORD.finditer(text):
        if _suspect(match.group()) or (_amid(text, match.start()) and match.group()[0].isupper() and is_name(match.group())):
            found += _free(taken, match.start(), match.end(), "word")
    return sorted(found, key=lambda mark: mark.start)


def _free(taken: bytearray, start: int, end: int, why: str) -> list[Mark]:
    """A span as a mark, and taken; none where something of it is taken already."""
    if any(taken[start:end]):
        return []
    taken[start:end] = b"\1" * (end - start)
    return [Mark(start, end, why)]


def _is_number(text: str) -> bool:
    """Whether it has four digits or more and is no measured value: `132/84`, `1250.5`."""
    return sum(map(str.isdigit, text)) >= 4 and regex.fullmatch(r"\d{2,3}/\d{2,3}|\d+\.\d+", text) is None


def _amid(text: str, start: int) -> bool:
    """Whether a word stands amid a sentence, where a capital says that it is a name also of a word of the language: `saw Rose`."""
    before = text[max(0, start - 2) : start]
    return len(before) == 2 and before[1] == " " and (before[0].islower() or before[0] in ",")


def _suspect(word: str) -> bool:
    """A capitalized word that no list knows as safe; a word in small letters that only lists of names know."""
    parts = [part for part in regex.split(r"['’-]", word) if len(part) > 1]
    if not parts or all(is_common(part.lower()) for part in parts):
        return False
    if word[0].isupper():
        # Two or three letters that are no name's are an abbreviation: `SpO`, `CBC`.
        return len(word) > 3 or is_name(word)
    return len(word) > 3 and all(is_name(part.lower()) and not is_common(part.lower()) for part in parts)
