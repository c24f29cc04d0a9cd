"""The registry of detectors: what a policy may switch and threshold by name, and the text detector that it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from anonymize.detect.base import DOUBT, Finding, Identifier
from anonymize.detect.decide import Verdict, decide, judge
from anonymize.detect.paragraphs import Memory, paragraphs
from anonymize.detect.reading import Reading, read
from anonymize.policy.model import Text

OWN_RECORD = "own-record"
"""The one detector that reads a subject's record beside the text."""
Batch = Callable[[Sequence[str], Sequence[Sequence[Finding]]], list[list[Finding]]]
"""Texts, and what the detectors before found in each, in; each text's findings out. What is found in a text depends on it alone."""


def _patterns() -> Batch:
    from anonymize.detect.patterns import find_patterns

    return _each(find_patterns)


def _places() -> Batch:
    from anonymize.detect.places import find_places

    return _each(find_places)


def _safe_words() -> Batch:
    from anonymize.detect.suspects import find_suspects

    return _each(find_suspects)


def _rampart() -> Batch:
    from anonymize.detect.rampart import find_rampart

    return find_rampart


def _rampart_alone() -> Batch:
    from anonymize.detect.rampart import find_rampart

    return lambda texts, found: find_rampart(texts)  # noqa: ARG005


def _context() -> Batch:
    from anonymize.detect.context import find_in_context

    return find_in_context


def _spacy() -> Batch:
    from anonymize.detect.ner import find_entities

    return lambda texts, found: find_entities(texts)  # noqa: ARG005


#: Language -> name -> (made lazily, on by default). A new detector is one more line here.
LANGUAGES: dict[str, dict[str, tuple[Callable[[], Batch], bool]]] = {
    "en": {
        "patterns": (_patterns, True),
        "places": (_places, True),
        "safe-words": (_safe_words, True),
        "context": (_context, True),
        "rampart": (_rampart, True),
        "spacy": (_spacy, False),
    },
}
#: Detectors that read what another leaves in doubt, and how they are made where that one is off.
ALONE: dict[str, tuple[str, Callable[[], Batch]]] = {"rampart": ("context", _rampart_alone)}
DETECTORS = (OWN_RECORD, *LANGUAGES["en"])
"""The names that a policy may switch."""


class Detector:
    """All detectors that are switched on, and the decision over what they find."""

    def __init__(
        self, batches: dict[str, Batch], thresholds: dict[str, float], *, own_record: bool = True, memory: Memory | None = None
    ) -> None:
        self._batches, self._thresholds = batches, thresholds
        self._own_record, self._memory = own_record, memory if memory is not None else Memory()

    def find(self, texts: Sequence[str], records: Sequence[Sequence[Identifier]] | None = None) -> list[list[Finding]]:
        """For each text its findings, merged, sorted, not overlapping."""
        readings = [read(text) for text in texts]
        votes = self._votes(readings, records)
        return [[r.returned(f) for f in decide(r.cased, found)] for r, found in zip(readings, votes, strict=True)]

    def explain(self, text: str, record: Sequence[Identifier] = ()) -> list[Verdict]:
        """Every vote on a text, whether it stayed, and why."""
        reading = read(text)
        verdicts = judge(reading.cased, self._votes([reading], [record])[0])
        return [replace(verdict, finding=reading.returned(verdict.finding)) for verdict in verdicts]

    def _votes(self, readings: Sequence[Reading], records: Sequence[Sequence[Identifier]] | None) -> list[list[Finding]]:
        """What each detector says, before the decision."""
        split = [list(paragraphs(reading.cased)) for reading in readings]
        found = self._in_paragraphs(dict.fromkeys(paragraph for pieces in split for _, paragraph in pieces))
        votes = [[finding.moved(start) for start, paragraph in pieces for finding in found[paragraph]] for pieces in split]
        if self._own_record and records is not None:
            from anonymize.detect.own_record import find_own

            for vote, reading, record in zip(votes, readings, records, strict=True):
                vote.extend(finding for finding in find_own(reading.plain, record) if finding.score >= self._thresholds.get(OWN_RECORD, 0.0))
        return votes

    def _in_paragraphs(self, wanted: Iterable[str]) -> dict[str, tuple[Finding, ...]]:
        """What the detectors say of each paragraph, from the memory where it was seen before."""
        known = {paragraph: self._memory.get(paragraph) for paragraph in wanted}
        new = [paragraph for paragraph, found in known.items() if found is None]
        fresh: list[list[Finding]] = [[] for _ in new]
        for name, batch in self._batches.items():
            least = self._thresholds.get(name, 0.0)
            for votes, found in zip(fresh, batch(new, fresh), strict=True):
                votes.extend(finding for finding in found if finding.score >= least or finding.detector == DOUBT)
        result = {paragraph: found for paragraph, found in known.items() if found is not None}
        for paragraph, votes in zip(new, fresh, strict=True):
            result[paragraph] = tuple(vote for vote in votes if vote.detector != DOUBT)
            self._memory.put(paragraph, result[paragraph])
        return result


def build(settings: Text) -> Detector:
    """The text detector that a policy asks for; built once a process. Raises ValueError for a detector or language that is not known."""
    # The type is part of the key: to a cache 1.0 is True and 0.0 is False.
    return _build(settings.language, tuple(sorted((name, type(value), value) for name, value in settings.detectors.items())))


@lru_cache(maxsize=8)
def _build(language: str, chosen: tuple[tuple[str, type, bool | float], ...]) -> Detector:
    if language not in LANGUAGES:
        raise ValueError(f"no detectors for language '{language}'. Known: {', '.join(LANGUAGES)}")
    unknown = [name for name, _, _ in chosen if name not in DETECTORS]
    if unknown:
        raise ValueError(f"no detector '{unknown[0]}'. Known: {', '.join(DETECTORS)}")
    switched = {name: value for name, _, value in chosen}
    on = [name for name, (_, default) in LANGUAGES[language].items() if switched.get(name, default) is not False]
    thresholds = {name: float(value) for name, value in switched.items() if not isinstance(value, bool)}
    return Detector({name: _made(language, name, on) for name in on}, thresholds, own_record=switched.get(OWN_RECORD, True) is not False)


def recognizers(language: str = "en") -> list[Any]:
    """The detectors that read the text alone, as recognizers of Presidio, for an AnalyzerEngine of one's own."""
    from anonymize.detect.presidio import Recognizer

    return [Recognizer(name, _made(language, name), language) for name in LANGUAGES[language]]


def _made(language: str, name: str, beside: Iterable[str] = ()) -> Batch:
    """A detector among others."""
    before, alone = ALONE.get(name, ("", None))
    make, _ = LANGUAGES[language][name]
    return alone() if alone is not None and before not in beside else make()


def _each(find: Callable[[str], list[Finding]]) -> Batch:
    return lambda texts, found: [find(text) for text in texts]  # noqa: ARG005
