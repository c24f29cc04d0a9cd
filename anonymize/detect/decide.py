"""Many votes become findings: what is explained otherwise goes, names are completed and found again, and overlaps are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import regex

from anonymize.detect.base import Finding
from anonymize.detect.context import REFUTED
from anonymize.detect.places import HEADS, TAILS
from anonymize.detect.rampart import FOUND
from anonymize.detect.words import eponyms, first_names, is_common, is_drug, is_name, lines
from anonymize.policy.model import Kind

_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*")
_WORDLIKE = regex.compile(r"[\p{L}\p{M}\p{N}]")
_NAME_JOIN = regex.compile(r"[ \t]*(?:[,.\-]?[ \t]*|\n)")
#: What names a disease, a sign, a score, a procedure or a device by a person: `Lisfranc fracture`, `Smith-Magenis syndrome`, `Clark level`.
_EPONYM_CONTEXT = regex.compile(
    r"(?:-\p{Lu}[\p{L}]+)*(?:['’]s?)?(?:[- ]+(?:(?:and|or|&) \p{Lu}[\p{L}-]+(?:['’]s)?|[Tt]ype [IVX\d]+[AB]?|[\p{L}]+(?:['’]s)?|\d+))?[- ]*"
    rf"(?:{'|'.join(lines('eponym-heads'))})\b",
    regex.IGNORECASE,
)
#: A number behind an eponym is its score: `Aldrete 9`, `Braden 16`.
_SCORED = regex.compile(r"(?: (?:score|scale))?(?: (?:of|is|was))? \d{1,2}(?![\d/-])")
#: A vote under this does not count.
THRESHOLD = 0.2
#: A rule's finding as sure as this stands, whatever is around it: of a name, a place or an institution; of what has a form of its own.
SURE, SURE_OF_FORMS = 0.95, 0.6
_NAMED_KINDS = frozenset({Kind.NAME, Kind.FACILITY, Kind.ORGANIZATION, Kind.ADDRESS})
#: Detectors that weigh all others' votes; where they are as sure as this, they have weighed what lists of eponyms and drugs say.
_WEIGHING = frozenset({"context", "rampart"})
WEIGHED = 0.6
#: Where they are as sure as this, a phrase that names nobody is part of a name: `Stonewall Physical Therapy`.
PART_OF_A_NAME = 0.95
_UNSURE = frozenset({"safe-words", "spacy", "rampart", "places", "context"})
_OF_PLACES = frozenset(lines("hospital-words")) | frozenset(lines("titles")) | frozenset(lines("degrees"))
_SUFFIXES = frozenset("jr sr ii iii iv".split())
_INITIALS = frozenset("bcdefghjklmnopqrstuvyz")
#: Words that stand beside names and are none.
_BESIDE = frozenset(lines("sentence-beginners")) | frozenset(
    "patient patients md rn pa phd mr mrs ms dr email phone address admitted discharged signed dictated discussed called attending via".split()
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One vote and what became of it."""

    finding: Finding
    stays: bool
    why: str


def decide(text: str, votes: Sequence[Finding], *, threshold: float = THRESHOLD) -> list[Finding]:
    """The findings that stay, sorted, not overlapping, grown to whole tokens.

    Unsure votes (`safe-words`, `places`, `rampart`, `spacy`) go where the words are explained otherwise; sure ones (rules with cues, the own
    record) stay.
    """
    return merge(text, [verdict.finding for verdict in judge(text, votes, threshold=threshold) if verdict.stays])


def judge(text: str, votes: Sequence[Finding], *, threshold: float = THRESHOLD) -> list[Verdict]:
    """Each vote, grown to whole tokens, with what became of it and why; then what was found beside and again because of those that stayed."""
    judged = []
    look = _Look(text, votes)
    for vote in votes:
        finding = _trimmed(text, _grown(text, vote))
        if finding.start >= finding.end:
            continue
        why = f"its score is under {threshold}" if finding.score < threshold else look.against(finding)
        judged.append(Verdict(finding, not why, why or "nothing speaks against it"))
    kept = [verdict.finding for verdict in judged if verdict.stays]
    beside = list(_beside(text, kept))
    again = list(_again(text, [*kept, *beside]))
    return [*judged, *(Verdict(finding, stays=True, why="follows from another finding") for finding in [*beside, *again])]


class _Look:
    """A text, and where in it stand phrases that name nobody."""

    def __init__(self, text: str, votes: Sequence[Finding] = ()) -> None:
        self.text = text
        read = [vote for vote in votes if vote.detector == "rampart"]
        #: Where the model read, its word counts, and that of `context` no more.
        self._read = {at for vote in read for at in range(vote.start, vote.end)}
        against = [vote for vote in read if vote.score < FOUND]
        against += [vote for vote in votes if vote.detector == "context" and vote.score <= REFUTED and vote.start not in self._read]
        self._refuted = {at for vote in against for at in range(vote.start, vote.end)}
        self._phrases = tuple((m.start(), m.end()) for m in _phrases().finditer(text))

    def against(self, finding: Finding) -> str:
        """Why a finding goes; empty where it stays."""
        weak = finding.kind is Kind.NAME and finding.score < 0.8
        sure = SURE if finding.kind in _NAMED_KINDS else SURE_OF_FORMS
        if self._refuted and (finding.detector in _UNSURE or finding.score < sure) and self._is_refuted(finding):
            return "what stands around it speaks against it"
        if finding.detector not in _UNSURE:
            return "part of a phrase that names nobody" if weak and self._in_phrase(finding) else ""
        found = self.text[finding.start : finding.end]
        words = [word.lower() for word in _TOKEN.findall(found)]
        if finding.detector == "context" and finding.start in self._read:
            return "the model read it again"
        if self._in_phrase(finding) and not (finding.detector in _WEIGHING and finding.score >= PART_OF_A_NAME):
            return "part of a phrase that names nobody"
        if finding.detector in _WEIGHING and finding.score >= WEIGHED:
            return ""
        if self._eponym(finding, words):
            return "an eponym: a disease, a sign, a device"
        if finding.detector in _WEIGHING:
            return "all of its words are of drugs" if words and all(map(is_drug, words)) else ""
        if finding.detector == "safe-words":
            return "in small letters where names have capitals" if found.islower() else ""
        if finding.detector == "places":
            return ""
        safe = not found[:1].isupper() or all(_safe(word) for word in words)
        return "all of its words are of the language or the clinic" if safe else ""

    def _is_refuted(self, finding: Finding) -> bool:
        return all(at in self._refuted or not self.text[at].isalnum() for at in range(finding.start, finding.end))

    def _in_phrase(self, finding: Finding) -> bool:
        return any(start <= finding.start and finding.end <= end for start, end in self._phrases)

    def _eponym(self, finding: Finding, words: Sequence[str]) -> bool:
        """Whether a person's name stands for something else here."""
        named = finding.kind in (Kind.NAME, Kind.ADDRESS, Kind.ORGANIZATION) or (finding.kind is Kind.FACILITY and finding.detector in _WEIGHING)
        if not named or not words:
            return False
        if _EPONYM_CONTEXT.match(self.text, finding.end) is not None:
            return True
        known = all(part in eponyms() for word in words for part in word.replace("’", "'").removesuffix("'s").split("-"))
        if known and _SCORED.match(self.text, finding.end) is not None:
            return True
        return known and self.text[max(0, finding.end - 2) : finding.end + 2].replace("’", "'").find("'s") >= 0


@cache
def _phrases() -> regex.Pattern[str]:
    """Phrases of our own list that name nobody, though their words could."""
    return regex.compile(r"(?i)\b(?:" + "|".join(regex.escape(line) for line in lines("safe-phrases")) + r")\b")


def _eponym(word: str) -> bool:
    return word.replace("’", "'").removesuffix("'s") in eponyms()


def _safe(word: str) -> bool:
    bare = word.replace("’", "'").removesuffix("'s")
    return is_common(bare) or _eponym(bare) or len(bare) < 2 or bare.isdigit()


def _grown(text: str, finding: Finding) -> Finding:
    """A finding that begins or ends inside of a word takes all of it."""
    start, end = finding.start, finding.end
    while start > 0 and _WORDLIKE.match(text[start]) and _WORDLIKE.match(text[start - 1]):
        start -= 1
    while end < len(text) and end > start and _WORDLIKE.match(text[end]) and _WORDLIKE.match(text[end - 1]):
        end += 1
    return finding if (start, end) == (finding.start, finding.end) else replace(finding, start=start, end=end)


def _trimmed(text: str, finding: Finding) -> Finding:
    start, end = finding.start, finding.end
    while start < end and (text[start].isspace() or text[start] in ",;:"):
        start += 1
    while end > start and (text[end - 1].isspace() or text[end - 1] in ",;:"):
        end -= 1
    return finding if (start, end) == (finding.start, finding.end) else replace(finding, start=start, end=end)


def _beside(text: str, findings: list[Finding]) -> Iterator[Finding]:
    """The words on both sides of a name that can be names are names: `Rose Koshy` where only `Koshy` was found, `West Lauren`, `Ann Lee III`."""
    tokens = list(_TOKEN.finditer(text))
    starts = {token.start(): index for index, token in enumerate(tokens)}
    ends = {token.end(): index for index, token in enumerate(tokens)}
    # A kind that was weighed yields to that of a name beside it.
    known = [finding for finding in findings if finding.detector not in _WEIGHING or finding.kind is Kind.NAME]
    covered = {position for finding in known for position in range(finding.start, finding.end)}
    for finding in findings:
        if finding.kind not in (Kind.NAME, Kind.ADDRESS):
            continue
        small = text[finding.start : finding.end].islower()
        given = text[finding.start : finding.end].lower() in first_names()
        for index, step in ((ends.get(finding.end), 1), (starts.get(finding.start), -1)):
            while index is not None and 0 <= index + step < len(tokens):
                near, last = tokens[index + step], tokens[index]
                gap = text[last.end() : near.start()] if step > 0 else text[near.end() : last.start()]
                surname = given and step > 0 and gap == " " and (_can_be_surname(text, near) or _is_initial(text, near))
                if near.start() in covered or not (surname or _can_be_beside(near.group(), gap, step, finding.kind, small=small)):
                    break
                given = False
                yield Finding(finding.kind, near.start(), near.end(), 0.6, "beside-name", "beside a name, and can be one")
                index += step


def _can_be_surname(text: str, token: regex.Match[str]) -> bool:
    """Whether a word behind a given name, with a capital of its own, is the family name: `Patsy Kidney`, `Elizabeth Alzheimer`."""
    word = token.group()
    if not word[0].isupper() or not word[1:].islower() or word.lower() in _BESIDE or word.lower() in _OF_PLACES:
        return False
    return text[token.end() : token.end() + 1] not in (":", "/") and _EPONYM_CONTEXT.match(text, token.end()) is None


def _is_initial(text: str, token: regex.Match[str]) -> bool:
    """Whether a small letter alone behind a given name is that of the family: `lakeisha n`; but not what stands for words: `mary c/o`, `w`."""
    return len(token.group()) == 1 and token.group() in _INITIALS and text[token.end() : token.end() + 1] not in ("/", "'", "’", "-")


def _can_be_beside(token: str, gap: str, step: int, kind: Kind, *, small: bool) -> bool:
    word = token.lower()
    if gap == " " and token[0].isupper() and word in (TAILS if step > 0 else HEADS):
        return True
    if step > 0 and kind is Kind.NAME and gap.strip(" ,") == "" and word in _SUFFIXES:
        return True
    if kind is not Kind.NAME or "\n" in gap or not _NAME_JOIN.fullmatch(gap) or (gap.strip() == "." and len(token) > 1):
        return False
    if small:
        return gap == " " and len(token) > 2 and not is_common(word) and word not in _BESIDE
    if not token[0].isupper() or (word in _BESIDE and len(token) > 1):
        return False
    if len(token) == 1:
        return token not in ("I",) and (gap == " " or (step < 0 and gap.strip() == "."))
    return (is_name(word) or not is_common(word)) and (gap.strip() != "," or not is_common(word))


def _again(text: str, findings: Sequence[Finding]) -> Iterator[Finding]:
    """A name found once in a text is a name everywhere in it, where it is written as a name."""
    sure: set[str] = set()
    for finding in findings:
        if finding.kind is not Kind.NAME or finding.score < 0.6:
            continue
        found = _TOKEN.findall(text[finding.start : finding.end])
        words = [word for word in found if len(word) >= 3 and word[0].isupper() and not _eponym(word)]
        sure.update(word for word in words if word.lower() not in _BESIDE and (not is_common(word) or finding.score >= 0.8))
    if not sure:
        return
    plain = {form for word in sure if not is_common(word) for form in (word, word.title(), word.upper(), word.lower())}
    as_written = {word for word in sure if is_common(word)}
    known: dict[str, bool | None] = {}
    for token in _TOKEN.finditer(text):
        written = token.group()
        if written not in known:
            word = written.replace("’", "'").removesuffix("'s")
            named = word in plain or any(len(part) > 2 and part in plain for part in word.split("-"))
            known[written] = named or (None if word in as_written else False)
        named_here = known[written]
        if named_here or (named_here is None and not _begins(text, token.start())):
            yield Finding(Kind.NAME, token.start(), token.end(), 0.7, "again", "found elsewhere in the text")


def _begins(text: str, position: int) -> bool:
    """Whether a sentence, a line or a field begins here, so that a capital says nothing."""
    before = text[max(0, position - 3) : position].rstrip(" \t\"'(•*-")
    return not before or before[-1] in ".!?\n:;"


def merge(text: str, findings: Sequence[Finding]) -> list[Finding]:
    """Overlapping findings become one, of the kind of the longest (then surest) among them; a kind by `context` or the model yields to any
    other. Names that only a blank divides become one.
    """
    found = _joined(sorted(findings, key=lambda f: (f.start, -f.end)), lambda last, finding: finding.start < last.end)
    return _joined(found, lambda last, finding: _one_name(text, last, finding))


def _joined(findings: Sequence[Finding], joins: Callable[[Finding, Finding], bool]) -> list[Finding]:
    """Findings in their order, each put together with the one before where they join."""
    joined: list[Finding] = []
    best: list[Finding] = []
    for finding in findings:
        last = joined[-1] if joined else None
        if last is None or not joins(last, finding):
            joined.append(finding)
            best.append(finding)
            continue
        best[-1] = surest = max(best[-1], finding, key=lambda f: (f.detector not in _WEIGHING, f.end - f.start, f.score))
        detectors = "+".join(dict.fromkeys([*last.detector.split("+"), *finding.detector.split("+")]))
        joined[-1] = Finding(surest.kind, last.start, max(last.end, finding.end), max(last.score, finding.score), detectors, surest.reason)
    return joined


def _one_name(text: str, last: Finding, finding: Finding) -> bool:
    return last.kind is Kind.NAME and finding.kind is Kind.NAME and text[last.end : finding.start] in ("", " ", ", ", ". ")
