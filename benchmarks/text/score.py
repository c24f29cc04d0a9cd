"""Scores of PHI detection: by character, by entity, by document and by category, each with a bootstrap interval.

All headline scores are binary (PHI or not); labels only group recall.

- character: over alphanumeric characters; separators identify nobody.
- entity: a gold span is found when every alphanumeric character of it is covered by the union of predictions; otherwise it leaks.
  A predicted span is right when at least half of its alphanumeric characters are gold PHI or ignored.
- document: the share of documents with PHI in which nothing leaks.

Gold spans with an ignored label are neither required nor counted against a prediction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IGNORED = frozenset({"AGE", "YEAR", "TIME", "CUE", "COUNTRY"})
"""Ages up to 89 and years alone are no PHI (45 CFR 164.514(b)(2)(i)(C)); nor are a time of day, a country, and the word that stands before
a number (`ext.`, `Room`), which a detector may take along or leave."""

COUNTS = ("tp", "fn", "fp", "tn", "entities", "full", "predicted", "right", "with_phi", "leak_free")


@dataclass
class Scored:
    """What was counted. documents: int64, n documents x COUNTS; labels: label -> int64, n documents x (entities, found, characters, covered)."""

    documents: np.ndarray
    labels: dict[str, np.ndarray]
    misses: list[dict[str, str]] = field(default_factory=list)
    alarms: list[dict[str, str]] = field(default_factory=list)


def score(gold: Sequence[dict[str, Any]], predicted: Sequence[Iterable[tuple[int, int]]], ignored: Iterable[str] = IGNORED) -> Scored:
    """Count. gold: documents with `text` and `spans` (`start`, `end` in code points, `label`); predicted: each document's (start, end)."""
    ignored = frozenset(ignored)
    rows = np.zeros((len(gold), len(COUNTS)), np.int64)
    labels: dict[str, np.ndarray] = {}
    outcome = Scored(rows, labels)
    for index, (document, spans) in enumerate(zip(gold, predicted, strict=True)):
        rows[index] = _document(document, sorted(set(spans)), ignored, index, len(gold), outcome)
    return outcome


def _document(document: dict[str, Any], spans: list[tuple[int, int]], ignored: frozenset[str], index: int, n: int, outcome: Scored) -> list[int]:
    text = document["text"]
    alnum = np.fromiter((c.isalnum() for c in text), bool, len(text))
    required, free, found = (np.zeros(len(text), bool) for _ in range(3))
    for span in document["spans"]:
        (free if span["label"] in ignored else required)[span["start"] : span["end"]] = True
    for start, end in spans:
        found[max(0, start) : end] = True
    entities = full = 0
    for span in document["spans"]:
        inside = slice(span["start"], span["end"])
        characters = int(alnum[inside].sum())
        if span["label"] in ignored or not characters:
            continue
        covered = int((alnum[inside] & found[inside]).sum())
        whole = covered == characters
        entities, full = entities + 1, full + whole
        for name in {span["label"], f"{span['label']}/{span['form']}"} if "form" in span else {span["label"]}:
            outcome.labels.setdefault(name, np.zeros((n, 4), np.int64))[index] += (1, whole, characters, covered)
        if not whole:
            outcome.misses.append({"id": document["id"], "label": span["label"], "form": span.get("form", ""), **_seen(text, inside)})
    right = counted = 0
    for start, end in spans:
        inside = slice(max(0, start), end)
        characters = int(alnum[inside].sum())
        if not characters:
            continue
        counted += 1
        if 2 * int((alnum[inside] & (required[inside] | free[inside])).sum()) >= characters:
            right += 1
        else:
            outcome.alarms.append({"id": document["id"], **_seen(text, inside)})
    kept = alnum & ~free | alnum & required
    tp, fn = int((kept & required & found).sum()), int((kept & required & ~found).sum())
    fp, tn = int((kept & ~required & found).sum()), int((kept & ~required & ~found).sum())
    return [tp, fn, fp, tn, entities, full, counted, right, int(entities > 0), int(entities > 0 and full == entities)]


def _seen(text: str, inside: slice) -> dict[str, str]:
    around = text[max(0, inside.start - 40) : inside.start] + "⟦" + text[inside] + "⟧" + text[inside.stop : inside.stop + 25]
    return {"span": text[inside], "context": around.replace("\n", " ⏎ ")}


def figures(rows: np.ndarray) -> dict[str, float]:
    """The headline figures of counted documents (n x COUNTS), each in [0, 1]."""
    tp, fn, fp, tn, entities, full, predicted, right, with_phi, leak_free = (float(x) for x in rows.sum(axis=0))
    return {
        "char_recall": tp / max(1.0, tp + fn),
        "char_precision": tp / max(1.0, tp + fp),
        "entity_recall": full / max(1.0, entities),
        "entity_precision": right / max(1.0, predicted),
        "leak_free": leak_free / max(1.0, with_phi),
        "over_redaction": fp / max(1.0, fp + tn),
    }


def intervals(rows: np.ndarray, resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of the figures; documents are drawn with replacement, since spans of one note are not independent."""
    weights = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    tp, fn, fp, tn, entities, full, predicted, right, with_phi, leak_free = (weights @ rows).T.astype(float)
    drawn = {
        "char_recall": tp / np.maximum(1, tp + fn),
        "char_precision": tp / np.maximum(1, tp + fp),
        "entity_recall": full / np.maximum(1, entities),
        "entity_precision": right / np.maximum(1, predicted),
        "leak_free": leak_free / np.maximum(1, with_phi),
        "over_redaction": fp / np.maximum(1, fp + tn),
    }
    return {name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))) for name, values in drawn.items()}


def by_label(labels: dict[str, np.ndarray], resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Each label's number of entities, share found in full with its 95 % bootstrap interval, and share of characters covered."""
    outcome = {}
    for label, rows in sorted(labels.items()):
        n, full, characters, covered = (int(x) for x in rows.sum(axis=0))
        held = rows[rows[:, 0] > 0]
        weights = np.random.default_rng(seed).multinomial(len(held), np.full(len(held), 1 / len(held)), size=resamples)
        drawn = (weights @ held[:, 1]) / np.maximum(1, weights @ held[:, 0])
        interval = (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975)))
        outcome[label] = {"n": n, "entity_recall": full / n, "interval": interval, "char_recall": covered / characters}
    return outcome


def confused(scored: Scored) -> dict[str, Counter[str]]:
    """How often each form was missed and each text taken in alarm; for synthetic data alone, since it shows values."""
    return {
        "misses": Counter(f"{m['label']}/{m['form']}" if m["form"] else m["label"] for m in scored.misses),
        "alarms": Counter(a["span"] for a in scored.alarms),
    }
