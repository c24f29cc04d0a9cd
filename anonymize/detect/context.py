"""What stands around a word, weighed: a linear model over the evidence that the other detectors and the lists give, word by word.

For each word that could be PHI its features are named (its shape, the lists that hold it, the words and signs beside it, who voted for it and
for its neighbours), their weights are added up, and the sum is a probability. It finds what no rule describes (`worked nights at Blue Heron`)
and speaks against unsure votes that nothing around them bears out. The weights stand in `data/context-weights.txt.gz`, a feature a line;
`benchmarks/text/learn.py` makes them. Words of no list are no features, so that no name is learnt.
"""

from __future__ import annotations

import gzip
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import regex

from anonymize.detect.base import Finding
from anonymize.detect.suspects import is_derived
from anonymize.detect.words import eponyms, first_names, is_common, is_drug, last_names, lines
from anonymize.policy.model import Kind

#: A word as likely as this is PHI; one as unlikely as that is none, though others voted for it.
FOUND, REFUTED = 0.4, 0.15
#: The kinds that a finding can be of; in the order of the columns of weights.
KINDS = (Kind.NAME, Kind.FACILITY, Kind.ORGANIZATION, Kind.ADDRESS, Kind.DATE, Kind.ID)
TOKEN = regex.compile(r"\p{N}+(?:[/.:]\p{N}+)+(?![\p{L}\p{M}])|[\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*")
_RUNS = tuple((regex.compile(expression), sign) for expression, sign in ((r"\p{Ll}+", "a"), (r"\p{Lu}", "A"), (r"\p{N}", "0")))
_SIGNS = str.maketrans(dict.fromkeys(ascii_lowercase, "a") | dict.fromkeys(ascii_uppercase, "A") | dict.fromkeys(digits, "0"))
_LONG = regex.compile(r"A{4,}|0{5,}")
_HOSPITAL = frozenset(lines("hospital-words"))
_ABBREVIATIONS = frozenset(lines("abbreviations"))
_DEGREES = frozenset(lines("degrees"))
_PLACES = frozenset(line.lower() for line in lines("places") if " " not in line)
#: How far a word's neighbours count, and how long a run of capitalized words is followed.
NEAR, RUN = 3, 4


class _Word:
    """What is known of a word wherever it stands."""

    __slots__ = ("alone", "candidate", "capital", "known", "lists", "shape", "text")

    def __init__(self, word: str) -> None:
        lower = word.lower().replace("’", "'").removesuffix("'s")
        named = [
            name
            for name, holds in (
                ("common", is_common(lower)),
                ("first", lower in first_names()),
                ("last", lower in last_names()),
                ("eponym", lower in eponyms()),
                ("drug", is_drug(lower)),
                ("place", lower in _PLACES),
                ("hospital", lower in _HOSPITAL),
                ("abbreviation", lower in _ABBREVIATIONS),
                ("degree", lower in _DEGREES),
            )
            if holds
        ] or (["derived"] if is_derived(lower) else ["unknown"])
        shape = word.translate(_SIGNS) if word.isascii() else word
        for run, sign in _RUNS[:1] if word.isascii() else _RUNS:
            shape = run.sub(sign, shape)
        self.capital = word[0].isupper()
        self.shape = _LONG.sub(lambda match: match.group()[0] * 5, shape)[:10]
        self.lists = "+".join(named)
        self.known = {"common", "hospital", "abbreviation", "degree"} & set(named) != set()
        self.text = lower if self.known else ""
        self.candidate = not (word.islower() and (is_common(lower) or len(lower) < 2))
        case = "A" if self.capital else "a"
        self.alone = ["", f"shape={self.shape}", f"lists={self.lists}", f"length={min(len(word), 8)}", *(f"list={name}{case}" for name in named)]
        if self.text:
            self.alone.append(f"word={self.text}{case}")
        if word.isalpha():
            self.alone += [f"end={word[-size:].lower()}{case}" for size in (2, 3) if len(word) > size + 1]


@lru_cache(maxsize=50_000)
def _word(word: str) -> _Word:
    return _Word(word)


@lru_cache(maxsize=5_000)
def _sign(gap: str) -> str:
    """What divides two words, as a feature."""
    return "_" if gap == " " else "NL" if "\n" in gap else gap.strip()[:2] or "__"


class Weighed:
    """The words of a text with the votes on them. votes: of the other detectors, not yet judged."""

    def __init__(self, text: str, votes: Sequence[Finding]) -> None:
        self.tokens = [match.span() for match in TOKEN.finditer(text)]
        self.words = [_word(text[start:end]) for start, end in self.tokens]
        ends = [end for _, end in self.tokens]
        starts = [start for start, _ in self.tokens]
        between = [text[end:start] for end, start in zip(ends, starts[1:], strict=False)]
        self.gaps = ["NL", *("_" if gap == " " else _sign(gap) for gap in between), "NL"]
        self.plain = [False, *(gap in (" ", " & ") for gap in between), False]
        self.votes: dict[int, list[str]] = {}
        self.kinds: dict[int, str] = {}
        for vote in votes:
            name = f"{vote.detector}:{vote.reason if vote.detector == 'patterns' else round(vote.score, 1)}"
            for index in range(bisect_right(ends, vote.start), bisect_left(starts, vote.end)):
                self.votes.setdefault(index, []).append(name)
                self.kinds[index] = vote.kind.value

    def candidates(self) -> Iterator[int]:
        """The words that could be PHI: all but those of the language in small letters."""
        return (index for index, word in enumerate(self.words) if word.candidate or index in self.votes)

    def features(self, index: int) -> list[str]:
        """The names of what speaks for or against a word."""
        return [name for names, *about in self._evidence(index) for name in names(*about)]

    def hits(self, index: int) -> list[tuple[float, ...]]:
        """The weights of those features that have one."""
        return [hit for evidence in self._evidence(index) for hit in _hits(*evidence)]

    def _evidence(self, index: int) -> Iterator[tuple[Any, ...]]:
        """What is looked at, as a function that names features and what it is given: the same evidence comes again and again."""
        words, gaps, word = self.words, self.gaps, self.words[index]
        before, after, shape = gaps[index], gaps[index + 1], word.shape[:3]
        yield _alone, word
        yield _between, before, after
        for vote in self.votes.get(index, ("none",)):
            yield _voted, vote
        for step in (-1, 1):
            near = index
            for distance in range(1, NEAR + 1):
                line = gaps[near if step < 0 else near + 1] != "NL"
                near += step
                if not line or not 0 <= near < len(words):
                    yield _named, f"{step * distance}none"
                    break
                other = words[near]
                if distance == 1:
                    gap = before if step < 0 else after
                    yield _next, step, other.text, other.shape[:4], other.lists, shape, self.kinds.get(near, ""), gap
                elif distance < NEAR:
                    yield _near, step * distance, other.text, other.shape[:4], other.lists, self.kinds.get(near, "")
                elif other.text:
                    yield _named, f"{step * distance}={other.text}"
        if word.capital:
            yield from self._run(index)

    def _run(self, index: int) -> Iterator[tuple[Any, ...]]:
        """The capitalized words around a word, and what stands before the first of them."""
        words, last, first = self.words, index, index
        while last + 1 < len(words) and last - index < RUN and self.plain[last + 1] and words[last + 1].capital:
            last += 1
            yield _named, f"ahead={words[last].text}"
        while first > 0 and index - first < RUN and self.plain[first] and words[first - 1].capital:
            first -= 1
            yield _named, f"behind={words[first].text}"
        yield _in_run, last - index, index - first, self.gaps[first]
        if first:
            yield _named, f"led={words[first - 1].text}{self.gaps[first]}"


def _named(name: str) -> list[str]:
    return [name]


def _alone(word: _Word) -> list[str]:
    return word.alone


def _between(before: str, after: str) -> list[str]:
    return [f"<{before}", f">{after}", f"<{before}>{after}"]


def _voted(vote: str) -> list[str]:
    return [f"vote={vote}"]


def _near(place: int, text: str, shape: str, lists: str, kind: str) -> list[str]:
    """Of a word that stands so many words behind, or before where that is negative."""
    known = [f"{place}={text}"] if text else []
    return [*known, f"{place}shape={shape}", f"{place}lists={lists}", *([f"{place}kind={kind}"] if kind else [])]


def _next(place: int, text: str, shape: str, lists: str, beside: str, kind: str, gap: str) -> list[str]:
    """Of the word right before or behind one of the shape `beside`."""
    found = _near(place, text, shape, lists, kind)
    if text:
        found.insert(1, f"{place}={text}|{beside}")
    return [*found, f"{place}pair={beside}|{shape[:2]}{gap}"]


def _in_run(ahead: int, behind: int, begins: str) -> list[str]:
    return [f"run+{ahead}", f"run-{behind}", f"run={min(ahead + behind, RUN)}", f"begins={begins}"]


@lru_cache(maxsize=50_000)
def _hits(names: Callable[..., list[str]], *about: Any) -> tuple[tuple[float, ...], ...]:
    weights = _weights()
    return tuple(hit for name in names(*about) if (hit := weights.get(name)) is not None)


def find_in_context(texts: Sequence[str], found: Sequence[Sequence[Finding]]) -> list[list[Finding]]:
    """For each text the words that are likely PHI, and those voted for that are most unlikely to be: their score says which."""
    return [list(_weigh(text, votes)) for text, votes in zip(texts, found, strict=True)]


def _weigh(text: str, votes: Sequence[Finding]) -> Iterator[Finding]:
    weighed = Weighed(text, votes)
    for index in weighed.candidates():
        hits = weighed.hits(index)
        likely = 1 / (1 + math.exp(-max(-30.0, min(30.0, sum(hit[0] for hit in hits)))))
        start, end = weighed.tokens[index]
        if likely >= FOUND:
            kind = max(range(len(KINDS)), key=lambda column: sum(hit[column + 1] for hit in hits))
            yield Finding(KINDS[kind], start, end, round(likely, 2), "context", "what stands around it speaks for it")
        elif likely <= REFUTED and index in weighed.votes:
            yield Finding(Kind.NAME, start, end, round(likely, 2), "context", "what stands around it speaks against it")


@cache
def _weights() -> dict[str, tuple[float, ...]]:
    """Feature -> its weight for being PHI, and for each kind."""
    packed = (files("anonymize.detect") / "data" / "context-weights.txt.gz").read_bytes()
    rows = (line.split("\t") for line in gzip.decompress(packed).decode("utf-8").splitlines() if not line.startswith("#"))
    return {name: tuple(map(float, numbers)) for name, *numbers in rows}
