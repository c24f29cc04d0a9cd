"""Spares rules their search: an expression is tried only where what each of its matches requires stands in the text.

Most rules look for a word or a number that most paragraphs do not hold. One pass over a paragraph (Aho and Corasick, 1975) tells which of the
words of all rules it holds, and where; a rule whose matches begin with such words is tried at those places alone, any other rule searches the
paragraph where all that it requires stands there. What is found is the same, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ahocorasick
import regex

from anonymize.detect.required import WORD, Literal, Required, requirements

_DIGITS = regex.compile(r"\d+")
#: Signs that a letter of the language also stands for where case does not count, and that have another length or none in small letters.
_FOLDED = str.maketrans({"İ": "i", "ſ": "s"})


class Sieve:
    """Some expressions, and of each what it requires."""

    def __init__(self, expressions: Sequence[regex.Pattern[str]]) -> None:
        self._expressions = expressions
        required = [requirements(expression.pattern, ignore_case=bool(expression.flags & regex.IGNORECASE)) for expression in expressions]
        self._started = [bool(one.starts) for one in required]
        conditions: dict[Any, int] = {}
        self._needs = [self._mask(one, conditions) for one in required]
        self._counted = [(what, bit) for what, bit in conditions.items() if isinstance(what, tuple)]
        literals = {literal for one in required for some in (one.starts, *one.literals) for literal in some}
        self._automata = {folds: _automaton({one for one in literals if one[1] is folds}, required, conditions) for folds in (True, False)}

    @staticmethod
    def _mask(one: Required, conditions: dict[Any, int]) -> int:
        """A bit a condition. Conditions: a set of literals, of which one must stand in the text, or (`digits` or `run`, how many)."""
        counted = [(name, least) for name, least in (("digits", one.digits), ("run", one.run)) if least]
        mask = 0
        for condition in (*one.literals, *counted):
            mask |= conditions.setdefault(condition, 1 << len(conditions))
        return mask

    def matches(self, text: str) -> Iterator[tuple[int, regex.Match[str]]]:
        """Every match of every expression, as `finditer` gives them, with the expression's number; in the order of the expressions."""
        held, places = self._held(text)
        for number, (expression, needs) in enumerate(zip(self._expressions, self._needs, strict=True)):
            if needs & held != needs:
                continue
            if self._started[number]:
                for match in _tried(expression, text, places.get(number)):
                    yield number, match
            else:
                for match in expression.finditer(text):
                    yield number, match

    def _held(self, text: str) -> tuple[int, dict[int, set[int]]]:
        """Which conditions a text meets, and where it holds what the expressions begin with."""
        runs = [len(run) for run in _DIGITS.findall(text)]
        counts = {"digits": sum(runs), "run": max(runs, default=0)}
        held = 0
        for (name, least), bit in self._counted:
            if counts[name] >= least:
                held |= bit
        places: dict[int, set[int]] = {}
        for folds, automaton in self._automata.items():
            for last, forms in automaton.iter(folded(text) if folds else text) if automaton else ():
                follows = last + 1 < len(text) and text[last + 1] in WORD
                for whole, length, mask, anywhere, at_word in forms:
                    if whole and follows:
                        continue
                    held |= mask
                    start = last - length + 1
                    for number in anywhere:
                        places.setdefault(number, set()).add(start)
                    if at_word and not (start and text[start - 1] in WORD):
                        for number in at_word:
                            places.setdefault(number, set()).add(start)
        return held, places


def folded(text: str) -> str:
    """A text of the same length in which a literal stands wherever an expression for which case does not count would match it."""
    return text.lower() if text.isascii() else text.translate(_FOLDED).lower()


def _automaton(literals: set[Literal], required: Sequence[Required], conditions: dict[Any, int]) -> Any:
    """Finds the literals: of each whether it is a whole word, its length, the conditions that it meets, and whose matches begin with it:
    anywhere, and at a word's begin."""
    masks: dict[Literal, int] = {}
    for condition, bit in conditions.items():
        for literal in condition if isinstance(condition, frozenset) else ():
            masks[literal] = masks.get(literal, 0) | bit
    begins: dict[Literal, list[int]] = {}
    for number, one in enumerate(required):
        for literal in one.starts:
            begins.setdefault(literal, []).append(number)
    forms: dict[str, list[tuple[bool, int, int, tuple[int, ...], tuple[int, ...]]]] = {}
    for literal in sorted(literals):
        text, _, whole = literal
        mask, begun = masks.get(literal, 0), begins.get(literal, [])
        anywhere = tuple(number for number in begun if not required[number].at_word)
        forms.setdefault(text, []).append((whole, len(text), mask, anywhere, tuple(number for number in begun if required[number].at_word)))
    automaton = ahocorasick.Automaton()
    for text, found in forms.items():
        automaton.add_word(text, tuple(found))
    if forms:
        automaton.make_automaton()
    return automaton


def _tried(expression: regex.Pattern[str], text: str, places: set[int] | None) -> Iterator[regex.Match[str]]:
    end = 0
    for place in sorted(places or ()):
        match = expression.match(text, place) if place >= end else None
        if match is not None:
            yield match
            end = match.end()
