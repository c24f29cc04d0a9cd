"""A detector as one of Presidio's recognizers: what others may put into an AnalyzerEngine of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from presidio_analyzer import AnalysisExplanation, EntityRecognizer, RecognizerResult

from anonymize.detect.base import DOUBT, Finding
from anonymize.detect.decide import THRESHOLD
from anonymize.policy.model import Kind


class Recognizer(EntityRecognizer):
    """A detector behind Presidio's interface. A finding's kind is its entity type, its reason the explanation."""

    def __init__(
        self, name: str, find: Callable[[Sequence[str], Sequence[Sequence[Finding]]], list[list[Finding]]], language: str = "en"
    ) -> None:
        self._find = find
        super().__init__(supported_entities=[kind.value for kind in Kind], name=name, supported_language=language)

    def load(self) -> None:
        """Read the lists and the models now, and not at the first text."""
        self._find([""], [[]])

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:  # noqa: ARG002
        """The findings whose kind is asked for (all, where none is). What speaks against a word is none, nor is a doubt."""
        found = [finding for finding in self._find([text], [[]])[0] if finding.detector != DOUBT and finding.score >= THRESHOLD]
        return [_result(finding) for finding in found if not entities or finding.kind.value in entities]


def _result(finding: Finding) -> RecognizerResult:
    why = AnalysisExplanation(recognizer=finding.detector, original_score=finding.score, textual_explanation=finding.reason)
    return RecognizerResult(finding.kind.value, finding.start, finding.end, finding.score, analysis_explanation=why)
