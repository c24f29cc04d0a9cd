"""What stands around a word, weighed: a small network over the evidence that the other detectors and the lists give, word by word.

For each word that could be PHI its features are named (its shape and parts, the lists that hold it, the words and signs beside it, the line and
the run of capitalized words that it stands in, who voted for it and for its neighbours), the network adds up what each of them says
(`network.py`), and tells a probability of each kind. It finds what no rule describes (`worked nights at Blue Heron`) and speaks against unsure
votes that nothing around them bears out. `benchmarks/text/learn.py` learns it. Words of no list are no features, so that no name is learnt: of
those only their parts of up to three letters are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np
import regex

from anonymize.detect.base import DOUBT, Finding
from anonymize.detect.network import Network
from anonymize.detect.suspects import is_derived
from anonymize.detect.words import eponyms, first_names, group, is_common, is_drug, last_names, lines
from anonymize.policy.model import Kind

#: A word as likely as this is PHI; one as unlikely as that is none, though others voted for it.
FOUND, REFUTED = 0.4, 0.15
#: A word as likely as this leaves no doubt.
CERTAIN = 0.95
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
_LEADS = frozenset(lines("name-leads"))
_ROOMS = frozenset(lines("room-words"))
#: What stands before the first word of a sentence.
_ENDS = frozenset({"NL", ".", "?", "!"})
#: How far a word's neighbours count, how far a run of capitalized words is followed, and how long lines are counted.
NEAR, RUN, LINE = 3, 4, 5
#: Words in small letters that stand within names: `Sisters of Mercy`.
_JOINERS = frozenset({"of", "and", "the"})


class _Word:
    """What is known of a word wherever it stands."""

    __slots__ = ("alone", "beside", "candidate", "capital", "group", "known", "lists", "named", "opener", "room", "shape", "short", "text")

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
        self.group = group(lower)
        self.beside = (self.text, self.shape[:4], self.lists, self.group)
        self.candidate = not (word.islower() and (is_common(lower) or len(lower) < 2))
        self.opener = self.capital and word[1:].islower() and "common" in named and not {"first", "place"} & set(named)
        self.short = not self.candidate and 2 <= len(word) <= 3 and word.isalpha()
        self.named = not self.candidate and {"first", "last"} & set(named) != set()
        self.room = not self.candidate and lower in _ROOMS
        case = "A" if self.capital else "a"
        self.alone = ["", f"shape={self.shape}", f"lists={self.lists}", f"length={min(len(word), 8)}", *(f"list={name}{case}" for name in named)]
        if self.text:
            self.alone.append(f"word={self.text}{case}")
        if word.isalpha():
            self.alone += [f"end={word[-size:].lower()}{case}" for size in (2, 3) if len(word) > size + 1]
        self.alone.append(f"group={self.group}{case}")
        if not self.known and any(map(str.isalpha, word)):
            whole = f"^{lower[:14]}$"
            self.alone += sorted({f"part={whole[at : at + 3]}" for at in range(len(whole) - 2)})


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
                given = self.votes.setdefault(index, [])
                if name not in given:
                    given.append(name)
                self.kinds[index] = vote.kind.value
        self._lines = list(self._in_lines())
        self._runs = self._in_runs()

    def candidates(self) -> Iterator[int]:
        """The words that could be PHI: all but those of the language in small letters or at the head of a sentence; and of these the ones that
        stand where names do."""
        for index, word in enumerate(self.words):
            if index in self.votes or (self._placed(index, word) if not word.candidate else not word.opener or not self._opens(index)):
                yield index

    def _opens(self, index: int) -> bool:
        """Whether a word is the first of a sentence that goes on in small letters."""
        return self.gaps[index] in _ENDS and self.gaps[index + 1] == "_" and self.words[index + 1].shape[0] == "a"

    def _placed(self, index: int, word: _Word) -> bool:
        """Whether a word in small letters stands where initials (`dsg changed. hk`), names (`dr will`) or what a room is called (`rm 9`) do."""
        if not (word.short or word.named or word.room):
            return False
        before, after = self.gaps[index], self.gaps[index + 1]
        ahead = self.words[index + 1] if after in ("_", ",") else None
        if word.short and (after[0] in "N/:" or before == "/"):
            return True
        if ahead is not None and (ahead.text in _DEGREES or (word.room and ahead.shape[0] == "0")):
            return True
        if word.named and before in ("_", ".", ":"):
            behind = self.words[index - 1]
            return behind.text in _LEADS or (before == "_" and "first" in behind.lists and not behind.known)
        return False

    def features(self, index: int) -> list[str]:
        """The names of what speaks for or against a word."""
        return [name for names, *about in self._evidence(index) for name in names(*about)]

    def evidence(self, index: int) -> list[bytes]:
        """What the network knows of each piece of evidence on a word."""
        return [_seen(*evidence) for evidence in self._evidence(index)]

    def _in_lines(self) -> Iterator[tuple[int, int, str]]:
        """Of each word: where its line begins, the line's number, and the word before the last colon of its field (`Employer: `)."""
        begin, number, field = 0, -1, ""
        for index, gap in enumerate(self.gaps[:-1]):
            if gap == "NL":
                begin, number, field = index, number + 1, ""
            elif gap[0] == ":":
                field = self.words[index - 1].text or "?"
            elif gap[0] in "|;" or gap == "__":
                field = ""
            yield begin, number, field

    def _in_runs(self) -> list[tuple[int, int]]:
        """Of each capitalized word: the first and the last of those that follow each other around it, joined by `of` and the like too."""
        words, plain = self.words, self.plain
        runs = [(index, index) for index in range(len(words))]
        first = 0
        while first < len(words):
            last = first
            while words[first].capital and last + 1 < len(words) and plain[last + 1]:
                if words[last + 1].capital:
                    last += 1
                elif words[last + 1].text in _JOINERS and plain[last + 2] and words[last + 2].capital:
                    last += 2
                else:
                    break
            runs[first : last + 1] = [(first, last)] * (last + 1 - first)
            first = last + 1
        return runs

    def _evidence(self, index: int) -> Iterator[tuple[Any, ...]]:
        """What is looked at, as a function that names features and what it is given: the same evidence comes again and again."""
        words, gaps, word = self.words, self.gaps, self.words[index]
        before, after, shape = gaps[index], gaps[index + 1], word.shape[:3]
        yield _alone, word
        yield _between, before, after
        votes = self.votes.get(index)
        yield _voted, tuple(votes or ()), shape, word.lists
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
                    yield _next, step, other.beside, shape, self.kinds.get(near, ""), gap
                    if near in self.votes:
                        yield _voted_beside, step, tuple(self.votes[near])
                elif distance < NEAR:
                    yield _near, step * distance, other.beside, self.kinds.get(near, "")
                else:
                    yield _far, step * distance, other.text, other.group
        yield from self._line(index, shape)
        if word.capital:
            yield from self._run(index)

    def _line(self, index: int, shape: str) -> Iterator[tuple[Any, ...]]:
        """The field and the line around a word."""
        begin, number, field = self._lines[index]
        end = index
        while self.gaps[end + 1] != "NL" and end - index < LINE:
            end += 1
        yield _in_field, field, shape
        yield _in_line, min(index - begin, LINE - 1), end - index, min(number, 3), shape
        yield _named, f"line={self.words[begin].text}"

    def _run(self, index: int) -> Iterator[tuple[Any, ...]]:
        """The capitalized words around a word, and what stands before the first of them and behind the last."""
        words, gaps = self.words, self.gaps
        first, last = self._runs[index]
        head, tail = words[first], words[last]
        for other in range(max(first, index - RUN), index):
            yield _named, f"behind={words[other].text}"
        for other in range(index + 1, min(last, index + RUN) + 1):
            yield _named, f"ahead={words[other].text}"
        yield _in_run, min(last - index, RUN), min(index - first, RUN), min(last - first, RUN + 1), gaps[first]
        yield _run_of, head.text, head.group, tail.text, tail.group, index > first, index < last
        if last > first:
            yield _named, "run of " + "/".join(sorted({words[other].lists for other in range(first, min(last, first + RUN) + 1)}))
        if last + 1 < len(words):
            yield _run_before, words[last + 1].text or words[last + 1].lists, words[last + 1].group, gaps[last + 1]
        if first:
            led, leads = words[first - 1], []
            for other in range(first - 2, max(first - 4, -1), -1):
                if "NL" in (gaps[other + 1], gaps[first]):
                    break
                leads.append(words[other])
            yield _led, led.text, led.group, gaps[first], *((lead.text, lead.group) for lead in leads)


def _named(name: str) -> list[str]:
    return [name]


def _alone(word: _Word) -> list[str]:
    return word.alone


def _between(before: str, after: str) -> list[str]:
    return [f"<{before}", f">{after}", f"<{before}>{after}"]


def _voted(votes: tuple[str, ...], shape: str, lists: str) -> list[str]:
    """Of the votes on a word, of this shape and on these lists."""
    if not votes:
        return ["vote=none"]
    detectors = "+".join(sorted({vote.partition(":")[0] for vote in votes}))
    each = [name for vote in votes for name in (f"vote={vote}", f"vote={vote}|{shape}", f"vote={vote}|{lists}")]
    return [f"votes={min(len(votes), 4)}", f"voters={detectors}", *each]


def _voted_beside(place: int, votes: tuple[str, ...]) -> list[str]:
    return [f"{place}vote={vote}" for vote in votes]


def _near(place: int, beside: tuple[str, str, str, str], kind: str) -> list[str]:
    """Of a word that stands so many words behind, or before where that is negative, and of what kind it was found to be."""
    text, shape, lists, group_of = beside
    found = [f"{place}shape={shape}", f"{place}lists={lists}", f"{place}group={group_of}"]
    if text:
        found.append(f"{place}={text}")
    if kind:
        found.append(f"{place}kind={kind}")
    return found


def _next(place: int, beside: tuple[str, str, str, str], shape: str, kind: str, gap: str) -> list[str]:
    """Of the word right before or behind one of this shape."""
    found = _near(place, beside, kind)
    if beside[0]:
        found.append(f"{place}={beside[0]}|{shape}")
    return [*found, f"{place}pair={shape}|{beside[1][:2]}{gap}"]


def _far(place: int, text: str, group_of: str) -> list[str]:
    return [f"{place}={text}", f"{place}group={group_of}"] if text else [f"{place}group={group_of}"]


def _in_field(field: str, shape: str) -> list[str]:
    return [f"field={field}", f"field={field}|{shape}"]


def _in_line(place: int, left: int, number: int, shape: str) -> list[str]:
    return [f"at={place}|{shape}", f"left={left}|{shape}", f"lines={number}"]


def _in_run(ahead: int, behind: int, length: int, begins: str) -> list[str]:
    return [f"run+{ahead}", f"run-{behind}", f"run={length}", f"begins={begins}"]


def _run_of(head: str, heads: str, tail: str, tails: str, behind: bool, ahead: bool) -> list[str]:
    """Of the first and the last word of a run and their groups, and whether the word itself stands behind or ahead of them."""
    return [f"head={head}", f"tail={tail}", f"headgroup={heads}|{behind}", f"tailgroup={tails}|{ahead}"]


def _run_before(text: str, group_of: str, gap: str) -> list[str]:
    return [f"then={text}{gap}", f"thengroup={group_of}"]


def _led(text: str, group_of: str, gap: str, *leads: tuple[str, str]) -> list[str]:
    """Of the word before a run, and of the one or two before that."""
    found = [f"led={text}{gap}", f"ledgroup={group_of}{gap}"]
    if leads:
        (lead, leading), *earlier = leads
        found.append(f"led2group={leading}|{text}")
        if lead and text:
            found.append(f"led2={lead}|{text}")
        found += [f"led3group={earliest}|{leading}|{text}" for _, earliest in earlier]
    return found


_NETWORK: list[Network] = []


def use(network: Network) -> None:
    """From here on this process weighs with another network: for those who learn one and judge it."""
    _NETWORK[:] = [network]
    _seen.cache_clear()


def _network() -> Network:
    if not _NETWORK:
        _NETWORK.append(Network.read())
    return _NETWORK[0]


@lru_cache(maxsize=50_000)
def _seen(names: Callable[..., list[str]], *about: Any) -> bytes:
    return _network().seen(names(*about))


def find_in_context(texts: Sequence[str], found: Sequence[Sequence[Finding]]) -> list[list[Finding]]:
    """For each text the words that are likely PHI, and those voted for that are most unlikely to be: their score says which.
    Beside them a `DOUBT` for each word that is not certain to be PHI, with its chance."""
    return [list(_weigh(text, votes)) for text, votes in zip(texts, found, strict=True)]


def _weigh(text: str, votes: Sequence[Finding]) -> Iterator[Finding]:
    weighed = Weighed(text, votes)
    candidates = list(weighed.candidates())
    if not candidates:
        return
    chances = _network().chances([weighed.evidence(index) for index in candidates])
    likely = 1 - chances[:, 0]
    for index, phi, kind in zip(candidates, likely.tolist(), np.argmax(chances[:, 1:], axis=1).tolist(), strict=True):
        start, end = weighed.tokens[index]
        if phi >= FOUND:
            yield Finding(KINDS[kind], start, end, round(phi, 2), "context", "what stands around it speaks for it")
        elif phi <= REFUTED and index in weighed.votes:
            yield Finding(Kind.NAME, start, end, round(phi, 2), "context", "what stands around it speaks against it")
        if phi < CERTAIN:
            yield Finding(KINDS[kind], start, end, round(phi, 4), DOUBT)
