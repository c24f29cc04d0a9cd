"""Detectors by name: switched, thresholded, explained, and behind Presidio's interface; and the checksums that rules ask for."""

from __future__ import annotations

import pytest
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

from anonymize.detect import checksums
from anonymize.detect.base import Finding, Identifier
from anonymize.detect.decide import decide
from anonymize.detect.registry import DETECTORS, build, recognizers
from anonymize.policy.model import Kind, Text


def test_a_detector_that_is_switched_off_finds_nothing() -> None:
    off = Text(detectors=dict.fromkeys(DETECTORS, False))
    assert build(off).find(["Dr. Lindqvist, 617-555-0100"], [[Identifier(Kind.NAME, "Lindqvist")]]) == [[]]


@pytest.mark.parametrize("name", ["patterns", "places", "safe-words", "own-record"])
def test_each_detector_alone(name: str) -> None:
    texts = {
        "patterns": "call 617-555-0100",
        "places": "came from Winnipeg",
        "safe-words": "Then Xiuying went",
        "own-record": "then young Hope went",
    }
    only = Text(detectors={other: other == name for other in DETECTORS})
    record = [Identifier(Kind.NAME, "Hope", "given")]
    found = build(only).find([texts[name]], [record])[0]
    assert {f.detector.removesuffix("+again") for f in found} == {name}


@pytest.mark.parametrize("name", ["patterns", "context", "rampart"])
def test_a_threshold_keeps_the_unsure_out(name: str) -> None:
    text = "pt brought by neighbor Quill from the Corner Pantry, in March"
    only: dict[str, bool | float] = {other: other == name for other in DETECTORS}
    scores = {finding.score for finding in build(Text(detectors=only)).find([text])[0]}
    assert len(scores) > 1
    kept = build(Text(detectors={**only, name: max(scores)})).find([text])[0]
    assert {finding.score for finding in kept} == {max(scores)}


def test_a_threshold_of_one_is_not_on_and_one_of_nought_is_not_off() -> None:
    for switch, threshold in ((True, 1.0), (False, 0.0)):
        assert build(Text(detectors={"patterns": switch})) is not build(Text(detectors={"patterns": threshold}))


def test_context_finds_what_no_rule_describes_and_says_so() -> None:
    text = "She works nights at Blue Heron and her knee swells."
    found = [v.finding for v in build(Text(detectors={"patterns": False})).explain(text) if v.finding.detector == "context" and v.stays]
    assert [(text[f.start : f.end], f.reason) for f in found] == [
        ("Blue", "what stands around it speaks for it"),
        ("Heron", "what stands around it speaks for it"),
    ]


def test_context_speaks_against_a_vote_that_nothing_bears_out() -> None:
    against = [Finding(Kind.NAME, 8, 16, 0.55, "safe-words"), Finding(Kind.NAME, 8, 16, 0.05, "context")]
    assert decide("Started Entresto.", against) == []
    assert [f.kind for f in decide("Started Entresto.", [*against, Finding(Kind.NAME, 8, 16, 0.95, "patterns")])] == [Kind.NAME]
    assert [f.kind for f in decide("Started Entresto.", [*against, Finding(Kind.ID, 8, 16, 0.6, "patterns")])] == [Kind.ID]


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no detector 'patern'\. Known: own-record, patterns"):
        build(Text(detectors={"patern": True}))
    with pytest.raises(ValueError, match=r"no detectors for language 'de'\. Known: en"):
        build(Text(language="de"))


def test_a_vote_is_explained_whether_it_stays_or_goes() -> None:
    text = "Mrs. Young has Parkinson's disease."
    verdicts = build(Text(detectors={"spacy": False})).explain(text)
    stays = [v for v in verdicts if v.stays]
    assert {text[v.finding.start : v.finding.end] for v in stays} == {"Young"}
    assert all(v.finding.reason and v.why for v in verdicts)
    assert all(v.why == "an eponym: a disease, a sign, a device" for v in verdicts if not v.stays)


class _NoNlp(NlpEngine):
    """Presidio wants a language engine; our recognizers read the text alone."""

    def load(self) -> None: ...

    def is_loaded(self) -> bool:
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        return NlpArtifacts([], [], [], [], self, language)  # type: ignore[arg-type]

    def process_batch(self, texts, language, **kwargs):  # type: ignore[no-untyped-def]
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        return False

    def is_punct(self, word: str, language: str) -> bool:
        return False

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return ["en"]


def test_our_detectors_work_in_an_analyzer_of_presidio() -> None:
    mine = [recognizer for recognizer in recognizers() if recognizer.name in ("patterns", "safe-words")]
    engine = AnalyzerEngine(registry=RecognizerRegistry(mine, supported_languages=["en"]), nlp_engine=_NoNlp(), supported_languages=["en"])
    text = "Xiuying called 617-555-0100."
    results = engine.analyze(text, "en", entities=["name", "phone"], return_decision_process=True)
    assert {(r.entity_type, text[r.start : r.end]) for r in results} == {("name", "Xiuying"), ("phone", "617-555-0100")}
    assert {r.analysis_explanation.textual_explanation for r in results} >= {"phone"}


def test_what_speaks_against_a_word_and_doubts_are_no_results_of_presidio() -> None:
    mine = {recognizer.name: recognizer for recognizer in recognizers()}
    text = "Started Entresto today. Sister Xiuying Okonkwo will drive."
    for name in ("context", "rampart"):
        results = mine[name].analyze(text, [])
        assert all(result.score >= 0.2 for result in results)
        assert "Okonkwo" in {text[r.start : r.end] for r in results}
        assert "Entresto" not in {text[r.start : r.end] for r in results}


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("luhn", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("npi", "1234567893", "1234567890"),
        ("ssn", "123-45-6789", "666-45-6789"),
        ("vin", "1M8GDM9AXKP042788", "1M8GDM9A1KP042788"),
        ("iban", "GB82 WEST 1234 5698 7654 32", "GB83 WEST 1234 5698 7654 32"),
    ],
)
def test_checksums(check: str, right: str, wrong: str) -> None:
    assert checksums.CHECKS[check](right)
    assert not checksums.CHECKS[check](wrong)
    assert not checksums.CHECKS[check]("")
