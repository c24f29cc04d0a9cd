"""The rules with cues, as one Presidio recognizer: `data/patterns.yaml` says what is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import regex
from presidio_analyzer import EntityRecognizer, RecognizerResult
from ruamel.yaml import YAML

from anonymize.policy.model import Kind


@dataclass(frozen=True)
class Pattern:
    """One rule: its name, what it finds, how sure it is, and its expression."""

    name: str
    kind: Kind
    score: float
    regex: regex.Pattern[str]


@cache
def patterns() -> tuple[Pattern, ...]:
    """The rules of `data/patterns.yaml`, compiled once a process."""
    text = (files("anonymize.detect") / "data" / "patterns.yaml").read_text(encoding="utf-8")
    return tuple(_compiled(entry) for entry in YAML(typ="safe").load(text))


def _compiled(entry: dict[str, Any]) -> Pattern:
    flags = regex.VERSION0 | (regex.IGNORECASE if entry.get("ignore-case") else 0)
    return Pattern(entry["name"], Kind(entry["kind"]), float(entry["score"]), regex.compile(entry["regex"].replace(r"\#", "#"), flags))


class PatternRules(EntityRecognizer):
    """Finds what the rules describe. A finding's kind is its entity type."""

    def __init__(self) -> None:
        super().__init__(supported_entities=[kind.value for kind in Kind], name="patterns", supported_language="en")

    def load(self) -> None:
        patterns()

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:  # noqa: ARG002
        return [
            RecognizerResult(pattern.kind.value, start, end, pattern.score)
            for pattern in patterns()
            for match in pattern.regex.finditer(text)
            for start, end in [_span(match)]
            if start < end
        ]


def _span(match: regex.Match[str]) -> tuple[int, int]:
    """The group that is PHI (`phi`, or `phi2`, `phi3` of another branch), or all of the match."""
    for name in ("phi", "phi2", "phi3"):
        if name in match.re.groupindex and match.group(name) is not None:
            return match.span(name)
    return match.span()
