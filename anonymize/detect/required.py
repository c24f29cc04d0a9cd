"""What every match of an expression holds, read out of the expression: words, with which it begins or not, and how many digits.

A requirement is only ever something that every match holds; what cannot be read requires nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import regex

#: A text that must stand in another; whether case does not count; whether no letter, digit or underscore may follow it.
Literal = tuple[str, bool, bool]
#: Signs of which every expression takes all for parts of a word.
WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

#: Classes that the standard library's parser does not know stand as one sign of private use, which is no literal.
_PROPERTY, _UNKNOWN = regex.compile(r"\\[pP]\{\^?\w+\}"), "\ue000"
#: Literals longer than this, or more of them in one place, tell no more. A class of more signs than the last is no literal.
_LONGEST, _MOST, _WIDEST = 8, 400, 12
#: How often, a sign of a text, what a match begins with may stand for a rule to be tried there; how often a paragraph what it requires.
_OFTEN, _NEARLY_ALWAYS = 0.05, 1.5
#: About how long a paragraph is, in characters, and how much of it each sign is: what is rare is worth asking for.
_PARAGRAPH = 220
_SHARES = {" ": 0.18, "\n": 0.02, ".": 0.015, ",": 0.012, "'": 0.004, "-": 0.003}
#: Letters of English in a hundred (rounded).
_LETTERS = (
    dict.fromkeys("qzjx", 0.1) | dict.fromkeys("vkbygpwfmuc", 2) | dict.fromkeys("dl", 4) | dict.fromkeys("hrsnioa", 7) | {"t": 9, "e": 12}
)
_ASCII_DIGITS = frozenset("0123456789")


@dataclass(frozen=True)
class Required:
    """What every match of an expression holds."""

    literals: tuple[frozenset[Literal], ...] = ()
    """Of each set one at least."""
    digits: int = 0
    run: int = 0
    """So many digits in all, and so many without anything between."""
    starts: frozenset[Literal] = frozenset()
    """One of these, at its begin; empty where that is not known."""
    at_word: bool = False
    """It begins where no letter, digit or underscore stands before."""


def requirements(expression: str, *, ignore_case: bool = False) -> Required:
    """What every match of an expression holds, as far as it can be read out of it. What the standard library cannot parse requires nothing."""
    try:
        parsed = _parser.parse(_PROPERTY.sub(_UNKNOWN, expression), re.IGNORECASE if ignore_case else 0)
    except re.error:
        return Required()
    folds, items, known = bool(parsed.state.flags & re.IGNORECASE), parsed.data, _Known()
    begun = _closed(_begins(items, folds, known))
    candidates = sorted(set(_literals(items, folds, known)), key=lambda some: (_share(some), sorted(some)))
    starts = begun if _share(begun) < _OFTEN else frozenset[Literal]()
    asked: list[frozenset[Literal]] = []
    for some in candidates:
        if _share(some) * _PARAGRAPH > _NEARLY_ALWAYS or len(asked) == 2:
            break
        if not any(_follows(some, known) for known in (starts, *asked) if known):
            asked.append(some)
    count, run, _ = _digits(items)
    return Required(
        tuple(asked),
        count,
        run,
        starts,
        at_word=_at_word(items) and all(text[0] in WORD for text, _, _ in starts),
    )


def _follows(some: frozenset[Literal], known: frozenset[Literal]) -> bool:
    """Whether a text that holds one of `known` holds one of `some` as well, so that asking for it says nothing new."""
    return all(any(text in other and any_case >= folds and not whole for text, any_case, whole in some) for other, folds, _ in known)


def _share(literals: Iterable[Literal]) -> float:
    """About how often one of the literals begins at a sign of a text; the same in every process, in whatever order a set gives them."""
    return math.fsum(_text_share(text, folds) for text, folds, _ in literals)


@cache
def _text_share(text: str, folds: bool) -> float:
    return math.prod(_sign_share(sign, folds) for sign in text)


@cache
def _sign_share(sign: str, folds: bool) -> float:
    share = _LETTERS.get(sign.lower(), 0) / 100
    return share * (1 if folds or sign.islower() else 0.1) if share else _SHARES.get(sign, 0.002)


#: The text with which a match begins; whether case does not count in it; whether a word ends with it; whether nothing is known of what follows.
_Begin = tuple[str, bool, bool, bool]
_NOTHING, _ANYTHING = ("", False, False, False), ("", False, False, True)
#: What the items of one parsed expression begin with, by which item and whether case counts: each is asked for by whatever it stands in.
_Known = dict[tuple[int, bool], set[_Begin]]


def _closed(begins: set[_Begin]) -> frozenset[Literal]:
    """As literals, the shortest alone; none where one of them is empty: then it can be anything."""
    return _shortest({(text.lower() if any_case else text, any_case, whole) for text, any_case, whole, _ in begins})


def _shortest(literals: set[Literal]) -> frozenset[Literal]:
    """Without those that begin with another; none where one is empty."""
    if any(not text for text, _, _ in literals):
        return frozenset()
    if len(literals) == 1:
        return frozenset(literals)
    open_ = {(text, any_case) for text, any_case, whole in literals if not whole}
    return frozenset(
        (text, any_case, whole)
        for text, any_case, whole in literals
        if not any((text[:size], any_case) in open_ for size in range(1, len(text) + whole))
    )


def _begins(items: Sequence[Any], folds: bool, known: _Known) -> set[_Begin]:
    """With what a match of a sequence begins."""
    spelled = _spelled(items, folds)
    if spelled[3]:
        return {spelled}
    closed, begins = set[_Begin](), {spelled}
    for item in items[len(spelled[0]) :]:
        if _ANYTHING in closed:
            return {_ANYTHING}
        if not begins:
            break
        if item == (sre.AT, sre.AT_BOUNDARY):
            longer = {_ended(begin) for begin in begins}
        else:
            if (then := known.get((id(item), folds))) is None:
                then = known[id(item), folds] = _item_begins(item, folds, known)
            longer = {_joined(begin, following) for begin in begins for following in then}
        ended = closed.union(begin for begin in longer if begin[3])
        still = {begin for begin in longer if not begin[3]}
        if len(ended) + len(still) > _MOST:
            return closed | {(text, any_case, whole, True) for text, any_case, whole, _ in begins}
        closed, begins = ended, still
    return closed | begins


def _spelled(items: Sequence[Any], folds: bool) -> _Begin:
    """The letters with which a sequence begins, one after the other: most of what the rules hold is words."""
    text, any_case = "", False
    for kind, value in items[:_LONGEST]:
        sign = chr(value) if kind is sre.LITERAL else _UNKNOWN
        if sign == _UNKNOWN or (folds and odd(sign)):
            break
        text, any_case = text + sign, any_case or (folds and sign.isalpha())
    return text, any_case, False, len(text) == _LONGEST


def _joined(begin: _Begin, following: _Begin) -> _Begin:
    text = begin[0] + following[0]
    return text, begin[1] or following[1], following[2], following[3] or len(text) >= _LONGEST


def _ended(begin: _Begin) -> _Begin:
    """Where a word's bound stands behind a letter, no other letter follows."""
    text, any_case, whole, closed = begin
    ends = not closed and text[-1:] in WORD and text != ""
    return text, any_case, whole or ends, closed or ends


def _item_begins(item: Any, folds: bool, known: _Known) -> set[_Begin]:
    kind, value = item
    if kind in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
        return {_NOTHING}
    if kind in (sre.LITERAL, sre.IN):
        signs = _signs([item] if kind is sre.LITERAL else value)
        listed = signs and len(signs) <= _WIDEST and not (folds and any(map(odd, signs)))
        return {(sign, folds and sign.isalpha(), False, False) for sign in signs} if listed else {_ANYTHING}
    if kind is sre.SUBPATTERN:
        return _begins(value[3].data, _folds(value, folds), known)
    if kind is sre.ATOMIC_GROUP:
        return _begins(value.data, folds, known)
    if kind is sre.BRANCH:
        return set().union(*(_begins(branch.data, folds, known) for branch in value[1]))
    if kind in _REPEATS:
        least, most, body = value
        if least == most and least <= _LONGEST:
            return _begins([one for _ in range(least) for one in body], folds, known)
        once = {(text, any_case, whole, closed or most > 1) for text, any_case, whole, closed in _begins(body.data, folds, known)}
        return once if least else once | {_NOTHING}
    return {_ANYTHING}


_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


def odd(sign: str) -> bool:
    """Whether other signs than its capital may mean the same where case does not count; those of Western Europe's letters do not."""
    return not sign.isascii() and sign.lower() != sign.upper() and not "à" <= sign.lower() <= "ÿ"


def _folds(group: Any, folds: bool) -> bool:
    _, added, taken, _ = group
    return (folds or bool(added & re.IGNORECASE)) and not taken & re.IGNORECASE


def _signs(members: Sequence[Any]) -> set[str]:
    """The signs of a class; none where it has others than can be told one by one."""
    signs: set[str] = set()
    for kind, value in members:
        if kind is sre.LITERAL and chr(value) != _UNKNOWN:
            signs.add(chr(value))
        elif kind is sre.RANGE and value[1] - value[0] < 2 * _WIDEST:
            signs.update(map(chr, range(value[0], value[1] + 1)))
        else:
            return set()
    return signs


def _literals(items: Sequence[Any], folds: bool, known: _Known) -> Iterator[frozenset[Literal]]:
    """Sets of literals, of each of which every match holds one: what its end begins with, from each item on, and what items hold inside."""
    for index, (kind, value) in enumerate(items):
        if kind not in (sre.AT, sre.ASSERT_NOT):
            begun = _closed(_begins(items[index:], folds, known))
            if begun:
                yield begun
        if kind is sre.SUBPATTERN:
            yield from _literals(value[3].data, _folds(value, folds), known)
        elif kind is sre.ATOMIC_GROUP:
            yield from _literals(value.data, folds, known)
        elif kind is sre.ASSERT:
            yield from _literals(value[1].data, folds, known)
        elif kind in _REPEATS and value[0]:
            yield from _literals(value[2].data, folds, known)
        elif kind is sre.BRANCH:
            best = [min(_literals(branch.data, folds, known), key=_share, default=frozenset[Literal]()) for branch in value[1]]
            if all(best):
                yield _shortest(set().union(*best))


def _digits(items: Sequence[Any]) -> tuple[int, int, bool]:
    """How many digits every match of a sequence holds; how many of them with nothing between; whether it holds nothing else."""
    count = best = run = joined = 0
    alone = True
    for item in items:
        if item[0] in (sre.AT, sre.ASSERT_NOT, sre.ASSERT):
            if item[0] is sre.ASSERT and item[1][0] > 0:
                ahead, ahead_run, _ = _digits(item[1][1])
                best, run = max(best, count + ahead), max(run, ahead_run)
            continue
        within, within_run, digits = _item_digits(item)
        count += within
        joined = joined + within if digits else 0
        run, alone = max(run, within_run, joined), alone and digits
    return max(best, count), run, alone


def _item_digits(item: Any) -> tuple[int, int, bool]:
    kind, value = item
    if kind in (sre.LITERAL, sre.IN):
        is_digit = _is_digits([item] if kind is sre.LITERAL else value)
        return int(is_digit), int(is_digit), is_digit
    if kind is sre.SUBPATTERN:
        return _digits(value[3])
    if kind is sre.ATOMIC_GROUP:
        return _digits(value)
    if kind is sre.BRANCH:
        branches = [_digits(branch) for branch in value[1]]
        return min(count for count, _, _ in branches), min(run for _, run, _ in branches), all(digits for *_, digits in branches)
    if kind in _REPEATS:
        count, run, alone = _digits(value[2])
        return value[0] * count, (value[0] * count if alone else run) if value[0] else 0, alone
    return 0, 0, False


def _is_digits(members: Sequence[Any]) -> bool:
    signs = _signs(members)
    return members == [(sre.CATEGORY, sre.CATEGORY_DIGIT)] or (bool(signs) and signs <= _ASCII_DIGITS)


def _at_word(items: Sequence[Any]) -> bool:
    """Whether what stands before a match is no letter, digit or underscore, if the match begins with one."""
    for kind, value in items:
        if kind is sre.AT and value is sre.AT_BOUNDARY:
            return True
        if kind is sre.ASSERT_NOT and value[0] < 0 and len(value[1]) == 1 and value[1][0][0] is sre.IN:
            if (sre.CATEGORY, sre.CATEGORY_WORD) in value[1][0][1] and value[1][0][1][0][0] is not sre.NEGATE:
                return True
        elif kind is sre.SUBPATTERN:
            return _at_word(value[3])
        elif kind is sre.BRANCH:
            return all(map(_at_word, value[1]))
        if kind not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            return False
    return False
