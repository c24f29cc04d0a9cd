"""Many votes become findings: what is explained otherwise goes, names are completed and found again, and overlaps are merged."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from anonymize.detect.base import Finding
from anonymize.detect.words import eponyms, first_names, last_names, safe_words
from anonymize.policy.model import Kind

_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*")
_WORDLIKE = regex.compile(r"[\p{L}\p{M}\p{N}]")
_NAME_JOIN = regex.compile(r"[ \t]*(?:[,.\-]?[ \t]*|\n)")
_EPONYM_CONTEXT = regex.compile(
    r"(?:['’]s)?[- ]+(?:disease|syndrome|sign|test|score|scale|catheter|fracture|lymphoma|palsy|criteria|monitor|maneuver|manoeuvre|procedure|"
    r"phenomenon|tumou?r|stain|cyst|esophagus|thyroiditis|hernia|reflex|ulcer|duct|node|nodes|position|class|stage|contracture|anomaly|"
    r"encephalopathy|neuroma|index|coma|exam|ultrasound|virus|sarcoma|angina|respirations?|metaplasia|point|line)\b",
    regex.IGNORECASE,
)
#: Words that stand beside names and are none.
_BESIDE = frozenset(
    "patient pt name date dob mrn doctor nurse mr mrs ms dr md do rn np pa the and or of in on at by to for from with is was has had will may "
    "age sex male female phone address email provider attending physician he she they his her their it this that not no yes per via mother "
    "father wife husband son daughter brother sister discussed called seen signed dictated admitted discharged follow labs note notes history "
    "exam plan assessment i".split()
)


def decide(text: str, findings: Sequence[Finding], *, threshold: float = 0.2) -> list[Finding]:
    """The findings that stay, sorted, not overlapping, grown to whole tokens.

    Unsure votes (`safe-words`, `spacy`, `rampart`) go where all of their words are safe to show; sure ones (rules with cues, the own
    record) stay.
    """
    grown = [_trimmed(text, _grown(text, finding)) for finding in findings if finding.score >= threshold]
    kept = [finding for finding in grown if _stands(text, finding)]
    kept = _completed(text, [finding for finding in kept if finding.start < finding.end])
    return merge(text, [*kept, *_again(text, kept)])


def _stands(text: str, finding: Finding) -> bool:
    if finding.detector not in ("safe-words", "spacy", "rampart"):
        return True
    found = text[finding.start : finding.end]
    words = [word.lower() for word in _TOKEN.findall(found)]
    if finding.kind is Kind.NAME and words and all(_eponym(word) for word in words):
        return _EPONYM_CONTEXT.match(text, finding.end) is None and not found.endswith(("'s", "’s"))
    if finding.detector == "safe-words":
        return finding.score > 0.5 or _in_lower_case(text, finding)
    if finding.detector == "rampart":
        return finding.kind is not Kind.NAME or _named(found, words, finding.score)
    return found[:1].isupper() and not all(_safe(word) for word in words)


def _in_lower_case(text: str, finding: Finding) -> bool:
    """Whether a line has no capitals: there, and only there, a name without one is to be expected."""
    start, end = text.rfind("\n", 0, finding.start) + 1, text.find("\n", finding.end)
    return text[start : end if end >= 0 else len(text)].islower()


def _named(found: str, words: Sequence[str], score: float) -> bool:
    """Whether a model's name is one: the model takes organs at a line's start, and much that is lower-case, for names."""
    bare = [word.replace("’", "'").removesuffix("'s") for word in words]
    listed = any(word in first_names() or word in last_names() for word in bare)
    safe = all(_safe(word) for word in words)
    if not found[:1].isupper():
        return not safe and listed and score >= 0.7
    return not safe or (listed and score >= 0.4)


def _eponym(word: str) -> bool:
    return word.replace("’", "'").removesuffix("'s") in eponyms()


def _safe(word: str) -> bool:
    bare = word.replace("’", "'").removesuffix("'s")
    return bare in safe_words() or _eponym(bare) or len(bare) < 2 or bare.isdigit()


def _grown(text: str, finding: Finding) -> Finding:
    """A finding that begins or ends inside of a word takes all of it."""
    start, end = finding.start, finding.end
    while start > 0 and _WORDLIKE.match(text[start]) and _WORDLIKE.match(text[start - 1]):
        start -= 1
    while end < len(text) and end > start and _WORDLIKE.match(text[end]) and _WORDLIKE.match(text[end - 1]):
        end += 1
    return Finding(finding.kind, start, end, finding.score, finding.detector)


def _trimmed(text: str, finding: Finding) -> Finding:
    start, end = finding.start, finding.end
    while start < end and (text[start].isspace() or text[start] in ",;:"):
        start += 1
    while end > start and (text[end - 1].isspace() or text[end - 1] in ",;:"):
        end -= 1
    return Finding(finding.kind, start, end, finding.score, finding.detector)


def _completed(text: str, findings: list[Finding]) -> list[Finding]:
    """The words on both sides of a name that can be names are names: `Rose Koshy` where only `Koshy` was found."""
    tokens = list(_TOKEN.finditer(text))
    starts = {token.start(): index for index, token in enumerate(tokens)}
    ends = {token.end(): index for index, token in enumerate(tokens)}
    covered = {position for finding in findings for position in range(finding.start, finding.end)}
    more = []
    for finding in findings:
        if finding.kind is not Kind.NAME:
            continue
        for index, step in ((ends.get(finding.end), 1), (starts.get(finding.start), -1)):
            while index is not None and 0 <= index + step < len(tokens):
                near, last = tokens[index + step], tokens[index]
                gap = text[last.end() : near.start()] if step > 0 else text[near.end() : last.start()]
                if near.start() in covered or not _can_be_name(near.group(), gap):
                    break
                more.append(Finding(Kind.NAME, near.start(), near.end(), 0.6, "beside-name"))
                index += step
    return [*findings, *more]


def _can_be_name(token: str, gap: str) -> bool:
    word = token.lower()
    if not token[0].isupper() or word in _BESIDE or "\n" in gap or not _NAME_JOIN.fullmatch(gap) or (gap.strip() in (".",) and len(token) > 1):
        return False
    if len(token) == 1:
        return True
    names = word in first_names() or word in last_names()
    return names and (gap.strip() != "," or word not in safe_words())


def _again(text: str, findings: Sequence[Finding]) -> list[Finding]:
    """A name found once in a text is a name everywhere in it, where it is written as a name."""
    sure = {
        word
        for finding in findings
        if finding.kind is Kind.NAME and finding.score >= 0.8
        for word in _TOKEN.findall(text[finding.start : finding.end])
        if len(word) >= 3 and word[0].isupper() and word.lower() not in _BESIDE and not _eponym(word.lower())
    }
    if not sure:
        return []
    words = {form for word in sure for form in ((word,) if word.lower() in safe_words() else (word, word.title(), word.upper(), word.lower()))}
    found = []
    for token in _TOKEN.finditer(text):
        parts = token.group().replace("’", "'").removesuffix("'s")
        if parts in words or any(part in words for part in parts.split("-") if len(part) > 2):
            found.append(Finding(Kind.NAME, token.start(), token.end(), 0.7, "again"))
    return found


def merge(text: str, findings: Sequence[Finding]) -> list[Finding]:
    """Overlapping findings become one, of the kind of the surest (then longest) among them; names that only a blank divides become one."""
    merged: list[Finding] = []
    best: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        last = merged[-1] if merged else None
        joins = last is not None and (finding.start < last.end or _one_name(text, last, finding))
        if last is None or not joins:
            merged.append(finding)
            best.append(finding)
            continue
        surest = max(best[-1], finding, key=lambda f: (f.score, f.end - f.start))
        names = last.detector if finding.detector in last.detector.split("+") else f"{last.detector}+{finding.detector}"
        merged[-1] = Finding(surest.kind, last.start, max(last.end, finding.end), max(last.score, finding.score), names)
        best[-1] = surest
    return merged


def _one_name(text: str, last: Finding, finding: Finding) -> bool:
    return last.kind is Kind.NAME and finding.kind is Kind.NAME and text[last.end : finding.start] in ("", " ", ", ", ". ")
