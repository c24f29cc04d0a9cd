"""Places: countries, states and cities of a list, and addresses put together from their parts over commas and line ends.

An address begins where something says so (a flat's number, a number before a name and another number, `lives at`), and takes in what stands
beside it and can be part of one: names that no list knows, numbers, states, places. Words of the language end it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import regex

from anonymize.detect.base import Finding
from anonymize.detect.words import eponyms, is_common, is_name, lines
from anonymize.policy.model import Kind

_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’\-.][\p{L}\p{M}\p{N}]+)*")
#: What may stand between two parts of an address.
_GAP = regex.compile(r"[ \t]*[.,;]?[ \t]*\n?[ \t]*[,\-–(]?[ \t]*")
_NUMBER = regex.compile(r"\d{1,6}[A-Za-z]?|\d{1,4}-\d{1,4}|\d{5}-\d{4}|[A-Z]\d{1,4}[A-Z]?")
_UNITS = frozenset("apt apartment suite ste unit floor fl flat box room bldg building house block bloc level lot trailer".split())
_JOINERS = frozenset(lines("place-joiners"))
_STREET = regex.compile(rf"(?i)(?:.*(?:{'|'.join(lines('street-endings'))})|{'|'.join(lines('street-words'))})\.?")
_CUE = regex.compile(
    r"(?i)\b(?:address(?:es)?(?:[ \t]+(?:of|for|at|on[ \t]+file)[ \t]+[\w.'’&-]+(?:[ \t]+[\w.'’&-]+){0,3})?"
    r"[ \t]*(?::|\bis\b|\bwas\b|\bto\b|\bwith\b|=)|"
    r"(?:lives?|lived|living|resides?|resided|residing|residence|located|office[ \t]+is|house|home|stay(?:s|ed|ing)?)[ \t]+"
    r"(?:is[ \t]+)?(?:at|on)|"
    r"(?:ship|send|sent|deliver|delivered|mail(?:ed)?|forward|return|one|it|this|off|you|me|us|them|meet|party|again|reached)[ \t]+"
    r"(?:it[ \t]+)?(?:to|at)|"
    r"(?:moved|relocat\w+|mov(?:es|ing)|travel\w*|flew|drove|directions|back|way)[ \t]+(?:to|from)|"
    r"user:|where:|located[ \t]+in)[ \t]*\n?[ \t]*"
)
#: Words that stand before the name of a place, and after it: they are part of it.
HEADS = frozenset(lines("place-heads"))
TAILS = frozenset(lines("place-tails"))


class _Part(NamedTuple):
    """A token that may be part of an address."""

    start: int
    end: int
    word: str


def find_places(text: str) -> list[Finding]:
    """Places of the list, and addresses."""
    tokens = [_Part(match.start(), match.end(), match.group()) for match in _TOKEN.finditer(text)]
    named = [Finding(kind, m.start(), m.end(), 0.6, "places", reason) for kind, words, reason in _named() for m in words.finditer(text)]
    return [*_listed(text, tokens), *_addresses(text, tokens), *named]


@cache
def _named() -> tuple[tuple[Kind, regex.Pattern[str], str], ...]:
    """Employers and hospitals of the lists, case as written."""
    return tuple(
        (kind, regex.compile(r"(?<![\p{L}\p{N}])(?:" + "|".join(map(regex.escape, lines(name))) + r")(?![\p{L}\p{N}])"), reason)
        for kind, name, reason in (
            (Kind.ORGANIZATION, "organizations", "an employer of the list"),
            (Kind.FACILITY, "facilities", "a hospital of the list"),
        )
    )


@cache
def _places() -> dict[str, frozenset[tuple[str, ...]]]:
    """The first word of a place's name, lower case -> the names' words."""
    by_first: dict[str, set[tuple[str, ...]]] = {}
    for line in lines("places"):
        words = tuple(match.group().lower() for match in _TOKEN.finditer(line))
        by_first.setdefault(words[0], set()).add(words)
    return {first: frozenset(names) for first, names in by_first.items()}


def _listed(text: str, tokens: list[_Part]) -> Iterator[Finding]:
    """Places of the list that are written with capitals, with the postal code behind them."""
    for index, token in enumerate(tokens):
        names = _places().get(token.word.lower()) if token.word[0].isupper() else None
        if not names:
            continue
        lower = tuple(part.word.lower() for part in tokens[index : index + 5])
        longest = max((len(name) for name in names if lower[: len(name)] == name), default=0)
        if longest and all(any(map(str.isupper, part.word)) or part.word in _JOINERS for part in tokens[index : index + longest]):
            last = index + longest - 1
            following = tokens[last + 1] if last + 1 < len(tokens) else None
            if following is not None and regex.fullmatch(r"\d{4,6}", following.word) and text[tokens[last].end : following.start] == " ":
                last += 1
            yield Finding(Kind.ADDRESS, token.start, tokens[last].end, 0.6, "places", "a place of the list")


def _addresses(text: str, tokens: list[_Part]) -> Iterator[Finding]:
    starts = {token.start: index for index, token in enumerate(tokens)}
    for index in range(len(tokens)):
        if _anchor(text, tokens, index):
            yield _grown(text, tokens, index, "parts of an address")
    for cue in _CUE.finditer(text):
        index = starts.get(cue.end(), -1)
        if index >= 0 and _begins(text, tokens, index):
            yield _grown(text, tokens, index, "an address after its cue")


def _anchor(text: str, tokens: list[_Part], index: int) -> bool:
    """`Apt. 4`; `28245 Puruntie 82`; `12 Via Roma`; `Hauptstraße 5`."""
    word = tokens[index].word.lower()
    following = tokens[index + 1].word if index + 1 < len(tokens) and _joined(text, tokens[index], tokens[index + 1]) else ""
    if word in _UNITS - {"house", "block", "level", "room", "box", "unit"}:
        return following[:1].isdigit()
    if not _NUMBER.fullmatch(tokens[index].word) or not word[0].isdigit() or not following or following[0].isdigit():
        # A street before its number.
        return bool(following) and following[0].isdigit() and bool(_NUMBER.fullmatch(following)) and _foreign_street(tokens[index].word)
    run = index + 1
    while run < len(tokens) and run - index <= 4 and _joined(text, tokens[run - 1], tokens[run]):
        part = tokens[run].word
        if _NUMBER.fullmatch(part) and part[0].isdigit():
            named = [t.word for t in tokens[index + 1 : run]]
            return (
                all(len(word) > 2 or word.lower() in _JOINERS for word in named)
                and any(not is_common(word) and len(word) > 3 and word.lower() not in eponyms() for word in named)
                and (len(tokens[index].word) > 1 or named[0][0].isupper())
            )
        if part[0].isupper() and _STREET.fullmatch(part) and (run > index + 1 or not is_common(part) or part.lower() in ("via", "rue", "calle")):
            return True
        if not part[0].isupper() and is_common(part) and part.lower() not in _JOINERS:
            return False
        run += 1
    return False


def _foreign_street(word: str) -> bool:
    """`Hauptstraße`, but not `Street`, which no number follows."""
    return len(word) > 6 and _STREET.fullmatch(word) is not None and not is_common(word) and not is_name(word)


def _begins(text: str, tokens: list[_Part], index: int) -> bool:
    word = tokens[index].word
    if word[0].isdigit():
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        return (
            following is not None
            and _NUMBER.fullmatch(word) is not None
            and _joined(text, tokens[index], following)
            and (following.word[0].isupper() or not is_common(following.word))
        )
    return word[0].isupper() and not is_common(word)


def _grown(text: str, tokens: list[_Part], index: int, reason: str) -> Finding:
    first = last = index
    while first > 0 and index - first < 6 and _takes(text, tokens, first - 1) and _joined(text, tokens[first - 1], tokens[first]):
        first -= 1
    while last + 1 < len(tokens) and last - index < 14 and _joined(text, tokens[last], tokens[last + 1]) and _takes(text, tokens, last + 1):
        last += 1
    while last > index and tokens[last].word.lower() in _JOINERS:
        last -= 1
    while first < index and tokens[first].word.lower() in _JOINERS:
        first += 1
    return Finding(Kind.ADDRESS, tokens[first].start, tokens[last].end, 0.75, "places", reason)


def _takes(text: str, tokens: list[_Part], index: int) -> bool:
    """Whether a token can be part of an address."""
    word = tokens[index].word
    lower = word.lower()
    after = text[tokens[index].end : tokens[index].end + 2]
    if after[:1] in (":", "/", "%") or (after[:1] == "." and after[1:2].isdigit()):
        return False
    if word[0].isdigit():
        return _NUMBER.fullmatch(word) is not None
    if lower in _UNITS:
        beside = [tokens[near].word for near in (index + 1, index - 1) if 0 <= near < len(tokens)]
        return any(word[:1].isdigit() for word in beside)
    if word[0].isupper():
        part = lower in HEADS or lower in TAILS or lower in _places() or _STREET.fullmatch(word) is not None
        return not is_common(word) or part or len(word) == 2
    if lower in _JOINERS and index + 1 < len(tokens) and tokens[index + 1].word[0].isupper():
        return True
    return lower == "nan" or (_STREET.fullmatch(word) is not None and index > 0 and tokens[index - 1].word[0].isupper())


def _joined(text: str, left: _Part, right: _Part) -> bool:
    """Whether nothing but a comma, an abbreviation's point or a line's end divides two tokens."""
    gap = text[left.end : right.start]
    if "." in gap and (left.word[0].isdigit() or len(left.word) > 4) and not _STREET.fullmatch(left.word):
        return False
    return len(gap) <= 12 and _GAP.fullmatch(gap) is not None
