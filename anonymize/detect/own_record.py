"""The subject's own record, looked up in the subject's own texts: what makes most of the difference.

Names count as written, upper-case or title-case where they are words of the language (Young, Hope), in any case where they are not, with
one letter changed where they are long. Codes count with whatever stands between their parts. Built once a subject.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import regex

from anonymize.detect.base import Finding, Identifier, Record
from anonymize.detect.required import odd
from anonymize.detect.sieve import folded
from anonymize.detect.words import is_common, lines
from anonymize.policy.model import Kind

_NAMES = {Kind.NAME}
_GIVEN = regex.compile(r"(?i)given|first|forename|fname")
_FAMILY = regex.compile(r"(?i)family|last|surname|lname")
_ABBREVIATIONS = frozenset(lines("abbreviations"))
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}]+)?")
_DIGITS = regex.compile(r"\d{5,}")
_RUN = regex.compile(r"[\p{L}\p{N}]+")
#: Words inside of addresses and organizations that identify nobody.
_FILLERS = frozenset("street st avenue ave road rd drive dr lane ln court ct suite apt unit north south east west the of and".split())
#: Shorter names than this are looked up only as written with a capital, and shorter numbers not at all: they would hit anything.
SHORTEST_NAME, SHORTEST_NUMBER, FUZZY_FROM = 2, 5, 7


def find_own(text: str, record: Sequence[Identifier]) -> list[Finding]:
    """The places in a text where a value of the subject's record stands."""
    compiled = _ready(record) if isinstance(record, Record) else _compiled(tuple(record))
    low = folded(text)
    findings = [
        Finding(kind, match.start(), match.end(), 1.0, "own-record", "a value of the subject's record")
        for kind, forms in compiled.forms
        if (standing := tuple(form.expression for form in forms if form.may_stand_in(low)))
        for match in _any_of(standing, kind in _NAMES).finditer(text)
    ]
    return [*findings, *_find_codes(text, compiled)] if compiled.codes else findings


def _ready(record: Record) -> _Compiled:
    if record.ready is None:
        record.ready = _compiled(tuple(record))
    found: _Compiled = record.ready
    return found


@dataclass(frozen=True)
class _Form:
    """A way of writing a value. held: lists of parts; a text that matches holds, folded, all parts of one list at least."""

    expression: str
    held: tuple[tuple[str, ...], ...] = ((),)

    def may_stand_in(self, low: str) -> bool:
        """Whether a folded text has the parts: most texts have none of most values, and a search for fewer is made faster."""
        return any(all(part in low for part in parts) for parts in self.held)


@dataclass(frozen=True)
class _Compiled:
    """A subject's record, ready to be looked up: its forms by kind, the longest first; codes by their letters and digits alone, lower case."""

    forms: tuple[tuple[Kind, tuple[_Form, ...]], ...]
    codes: dict[str, Kind]
    begun: frozenset[str]
    """All that codes begin with."""


@lru_cache(maxsize=256)
def _compiled(record: tuple[Identifier, ...]) -> _Compiled:
    by_kind: dict[Kind, set[_Form]] = {}
    codes: dict[str, Kind] = {}
    for identifier in record:
        code = _code(identifier)
        if code is None:
            by_kind.setdefault(identifier.kind, set()).update(_forms(identifier))
        elif len(code) >= SHORTEST_NUMBER:
            # `MRN-700123` is also written `700123`.
            for form in (code, *_DIGITS.findall(code)):
                codes.setdefault(form, identifier.kind)
    if initials := _initials(record):
        by_kind.setdefault(Kind.NAME, set()).update(initials)
    forms = tuple(
        (kind, tuple(sorted(some, key=lambda f: (-len(f.expression), f.expression)))) for kind, some in sorted(by_kind.items()) if some
    )
    return _Compiled(forms, codes, frozenset(code[:size] for code in codes for size in range(1, len(code) + 1)))


@lru_cache(maxsize=1_000)
def _any_of(expressions: tuple[str, ...], names: bool) -> regex.Pattern[str]:
    """One of some expressions, with no letter and no digit beside it; a digit beside a name (`Smith2`) leaves it a name."""
    signs = r"\p{L}" if names else r"\p{L}\p{N}"
    return regex.compile(rf"(?<![{signs}])(?:" + "|".join(expressions) + rf")(?![{signs}])")


def _parts(*parts: str) -> tuple[str, ...]:
    """Parts as they stand in a folded text; of signs that have more than two cases nothing is said."""
    return tuple(part.lower() for part in parts if not any(map(odd, part)))


def _initials(record: Sequence[Identifier]) -> set[_Form]:
    """The subject's initials, of a given and a family name: `J.S.`, `J. M. S.`, and `JS` where it stands for nothing else."""
    given = [i.value[0] for i in record if i.kind is Kind.NAME and i.value[:1].isalpha() and _GIVEN.search(i.column)]
    family = [i.value[0] for i in record if i.kind is Kind.NAME and i.value[:1].isalpha() and _FAMILY.search(i.column)]
    forms = set()
    for first, last in product(given, family):
        first, last = first.upper(), last.upper()
        forms.add(_Form(rf"{regex.escape(first)}\.[ ]?(?:\p{{Lu}}\.[ ]?)?{regex.escape(last)}\.?", (_parts(f"{first}."),)))
        if f"{first}{last}".lower() not in _ABBREVIATIONS and not is_common(first + last):
            forms.add(_Form(regex.escape(first + last), (_parts(first + last),)))
    return forms


def _code(identifier: Identifier) -> str | None:
    """The letters and digits of a value that is mostly digits, or a long code; None for names, dates, and what is words."""
    if identifier.kind in (*_NAMES, Kind.DATE, Kind.EMAIL, Kind.URL):
        return None
    bare = "".join(sign for sign in identifier.value if sign.isalnum()).lower()
    digits = sum(sign.isdigit() for sign in bare)
    return bare if digits * 2 > len(bare) or (digits >= 3 and " " not in identifier.value.strip()) else None


def _find_codes(text: str, compiled: _Compiled) -> list[Finding]:
    """Codes with whatever stands between their parts (`123-45-6789`, `123 456 789`, over a line's end), by looking up runs of tokens."""
    tokens = [match.span() for match in _RUN.finditer(text)]
    found = []
    for index, (start, last) in enumerate(tokens):
        joined, following = text[start:last].lower(), index + 1
        while joined in compiled.begun:
            kind = compiled.codes.get(joined)
            if kind is not None:
                found.append(Finding(kind, start, last, 1.0, "own-record", "a number of the subject's record"))
            if following >= len(tokens) or tokens[following][0] - last > 3:
                break
            first, last = tokens[following]
            joined, following = joined + text[first:last].lower(), following + 1
    return found


def _forms(identifier: Identifier) -> set[_Form]:
    value = unicodedata.normalize("NFC", identifier.value)
    words = _WORD.findall(value)
    if identifier.kind in _NAMES:
        return {e for word in words if (e := _name(word))}
    if identifier.kind is Kind.DATE:
        return _date(value)
    if identifier.kind in (Kind.EMAIL, Kind.URL):
        return {_Form(f"(?i:{regex.escape(value)})", (_parts(value),))}
    whole = _spaced(words)
    named = [word for word in words if word.lower() not in _FILLERS]
    return {_Form(whole, (_parts(*words),))} if whole and named and len("".join(named)) > 2 else set()


def _name(word: str) -> _Form | None:
    bare = word.replace("’", "'")
    letters = "".join(sign for sign in bare if sign.isalpha())
    if len(letters) < SHORTEST_NAME:
        return None
    escaped = regex.escape(bare).replace("'", "['’]?")
    pieces = _parts(*bare.split("'"))
    if len(letters) <= 3 or is_common(bare):
        forms = {bare, bare.title(), bare.upper()}
        return _Form("(?:" + "|".join(sorted(regex.escape(form) for form in forms)) + ")", (pieces,))
    if len(letters) >= FUZZY_FROM and bare.isalpha():
        # One edit leaves one half as it is.
        half = len(bare) // 2
        return _Form(f"(?:(?i:{escaped}){{e<=1}})", (_parts(bare[:half]), _parts(bare[half:])))
    return _Form(f"(?i:{escaped})", (pieces,))


def _spaced(words: list[str]) -> str | None:
    """The words with whatever stands between them."""
    return "(?i:" + r"[\W_]{1,4}".join(regex.escape(word) for word in words) + ")" if words else None


def _date(value: str) -> set[_Form]:
    """A date in the forms that people write it."""
    parts = value[:10].split("-")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return set()
    year, month, day = parts
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return set()
    m, d, y = f"0?{int(month)}", f"0?{int(day)}", f"(?:{year}|'?{year[2:]})"
    name = "(?i:" + MONTHS[int(month) - 1] + r")\.?"
    gap = r"\s?[-/. ]\s?"
    expressions = (
        f"{year}{gap}{m}{gap}{d}",
        f"{year}{month}{day}",
        f"{m}{gap}{d}{gap}{y}",
        f"{d}{gap}{m}{gap}{y}",
        rf"{name}\s+{d}(?:st|nd|rd|th)?,?\s+{y}",
        rf"{d}(?:st|nd|rd|th)?[\s-]+(?:of\s+)?{name},?[\s-]+{y}",
    )
    return {_Form(expression, (_parts(year[2:], str(int(day))),)) for expression in expressions}


MONTHS = (
    "jan(?:uary)?",
    "feb(?:ruary)?",
    "mar(?:ch)?",
    "apr(?:il)?",
    "may",
    "june?",
    "july?",
    "aug(?:ust)?",
    "sept?(?:ember)?",
    "oct(?:ober)?",
    "nov(?:ember)?",
    "dec(?:ember)?",
)
