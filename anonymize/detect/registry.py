"""The registry of detectors: what a policy may switch and threshold by name, and the text detector that it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

from anonymize.detect.base import Finding, Identifier, TextDetector
from anonymize.detect.decide import decide
from anonymize.policy.model import Kind, Text

Batch = Callable[[Sequence[str], Sequence[Sequence[Identifier]]], list[list[Finding]]]
"""Texts and their subjects' records in, each text's findings out."""

#: Name -> (made lazily, on by default). A new detector is one more line here.
DETECTORS: dict[str, tuple[Callable[[], Batch], bool]] = {
    "own-record": (lambda: _own_record, True),
    "patterns": (lambda: _presidio("patterns"), True),
    "safe-words": (lambda: _presidio("safe-words"), True),
    "rampart": (lambda: _rampart, True),
    "spacy": (lambda: _spacy, False),
}


class Detector:
    """All detectors that are switched on, and the decision over what they find."""

    def __init__(self, batches: dict[str, Batch], thresholds: dict[str, float]) -> None:
        self._batches, self._thresholds = batches, thresholds

    def find(self, texts: Sequence[str], records: Sequence[Sequence[Identifier]] | None = None) -> list[list[Finding]]:
        """For each text its findings, merged, sorted, not overlapping."""
        return [decide(text, found) for text, found in zip(texts, self.votes(texts, records), strict=True)]

    def votes(self, texts: Sequence[str], records: Sequence[Sequence[Identifier]] | None = None) -> list[list[Finding]]:
        """What each detector says, before the decision."""
        records = records if records is not None else [()] * len(texts)
        votes: list[list[Finding]] = [[] for _ in texts]
        for name, batch in self._batches.items():
            least = self._thresholds.get(name, 0.0)
            for vote, found in zip(votes, batch(texts, records), strict=True):
                vote.extend(finding for finding in found if finding.score >= least)
        return votes


def build(settings: Text) -> TextDetector:
    """The text detector that a policy asks for; built once a process. Raises ValueError for a detector or language that is not known."""
    return _build(settings.language, tuple(sorted(settings.detectors.items())))


@lru_cache(maxsize=8)
def _build(language: str, chosen: tuple[tuple[str, bool | float], ...]) -> Detector:
    if language != "en":
        raise ValueError(f"no detectors for language '{language}'. Known: en")
    unknown = [name for name, _ in chosen if name not in DETECTORS]
    if unknown:
        raise ValueError(f"no detector '{unknown[0]}'. Known: {', '.join(DETECTORS)}")
    switched = dict(chosen)
    on = {name: make for name, (make, default) in DETECTORS.items() if switched.get(name, default) is not False}
    thresholds = {name: float(value) for name, value in switched.items() if not isinstance(value, bool)}
    return Detector({name: make() for name, make in on.items()}, thresholds)


def _own_record(texts: Sequence[str], records: Sequence[Sequence[Identifier]]) -> list[list[Finding]]:
    from anonymize.detect.own_record import find_own

    return [find_own(text, record) for text, record in zip(texts, records, strict=True)]


def _spacy(texts: Sequence[str], records: Sequence[Sequence[Identifier]]) -> list[list[Finding]]:  # noqa: ARG001
    from anonymize.detect.ner import find_entities

    return find_entities(texts)


def _rampart(texts: Sequence[str], records: Sequence[Sequence[Identifier]]) -> list[list[Finding]]:  # noqa: ARG001
    from anonymize.detect.rampart import find_rampart

    return find_rampart(texts)


def _presidio(name: str) -> Batch:
    """A Presidio recognizer as a detector."""
    import logging

    from presidio_analyzer import EntityRecognizer

    from anonymize.detect.patterns import PatternRules
    from anonymize.detect.suspects import SafeWordFilter

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    recognizer: EntityRecognizer = {"patterns": PatternRules, "safe-words": SafeWordFilter}[name]()

    def find(texts: Sequence[str], records: Sequence[Sequence[Identifier]]) -> list[list[Finding]]:  # noqa: ARG001
        entities, nothing = recognizer.supported_entities, cast(Any, None)  # our recognizers read the text alone
        return [
            [Finding(Kind(r.entity_type), r.start, r.end, r.score, name) for r in recognizer.analyze(text, entities, nothing)] for text in texts
        ]

    return find
