"""How much PHI is left in scrubbed notes, estimated from a sample that a steward has labelled, with intervals.

Two figures, since a reader asks two questions:

- *notes with something missed*: of all notes, the share in which a steward saw at least one identifier left;
- *recall*: of all identifiers in the notes, the share that was replaced. How many were replaced is counted, how many were missed is labelled.

Notes are drawn by column (stratum), so each counts for as many as its column has for each one drawn. The interval is Clopper and Pearson's
exact one (1934), with the effective size of the sample in the place of its size (Kish 1965 for the weights; Korn and Graubard 1998 for
intervals of shares near 0; for recall, the design effect of identifiers that stand together in notes). Where nothing was missed this is the
rule of three (Hanley and Lippman-Hand 1983): up to about 3 in n are possible, 3.7 in n at the two-sided 95 % used here. Nothing is known then
of how misses would stand together, so that for recall each note counts once.

It is the kind of figure that an expert's determination under 45 CFR 164.514(b)(1) rests on; it is no determination. What a steward overlooks
is not in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import betaincinv

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judged:
    """One labelled note. stratum: the column it was drawn from; replaced, missed: identifiers."""

    stratum: str
    replaced: int
    missed: int


@dataclass(frozen=True)
class Interval:
    """A share with its interval. low, high: at `confidence`, two-sided; effective: the size of the sample that it rests on."""

    share: float
    low: float
    high: float
    effective: float
    confidence: float = CONFIDENCE

    def counts(self) -> dict[str, float]:
        """As JSON holds it, to six digits."""
        return {name: round(value, 6) for name, value in vars(self).items()}


def exact(hits: float, size: float, *, confidence: float = CONFIDENCE) -> Interval:
    """Clopper and Pearson's interval of a share. hits, size: may be fractions (an effective size). Size 0 says nothing: 0 to 1."""
    if size <= 0:
        return Interval(0.0, 0.0, 1.0, 0.0, confidence)
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, size - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, size - hits, 1 - tail)) if hits < size else 1.0
    return Interval(hits / size, low, high, size, confidence)


def weights(notes: Sequence[Judged], sizes: Mapping[str, int]) -> list[float]:
    """For how many notes each labelled one stands. sizes: the notes of each stratum."""
    drawn = Counter(note.stratum for note in notes)
    return [sizes[note.stratum] / drawn[note.stratum] for note in notes]


def notes_with_misses(notes: Sequence[Judged], sizes: Mapping[str, int], *, confidence: float = CONFIDENCE) -> Interval:
    """The share of notes in which something was missed."""
    weight = weights(notes, sizes)
    total = sum(weight)
    if not total:
        return exact(0, 0, confidence=confidence)
    effective = total**2 / sum(one * one for one in weight)
    share = sum(one for one, note in zip(weight, notes, strict=True) if note.missed) / total
    return exact(share * effective, effective, confidence=confidence)


def recall(notes: Sequence[Judged], sizes: Mapping[str, int], *, confidence: float = CONFIDENCE) -> Interval:
    """The share of identifiers that were replaced: a ratio of sums over notes, its variance by linearization (Cochran 1977, 6.3)."""
    weight = weights(notes, sizes)
    spans = [note.replaced + note.missed for note in notes]
    total = sum(one * number for one, number in zip(weight, spans, strict=True))
    if not total:
        return exact(0, 0, confidence=confidence)
    missed = sum(one * note.missed for one, note in zip(weight, notes, strict=True)) / total
    holding = [one for one, number in zip(weight, spans, strict=True) if number]
    by_note = sum(holding) ** 2 / sum(one * one for one in holding)
    effective = by_note
    if 0 < missed < 1 and len(notes) > 1:
        errors = [one * (note.missed - missed * number) / total for one, note, number in zip(weight, notes, spans, strict=True)]
        variance = sum(error * error for error in errors) * len(notes) / (len(notes) - 1)
        # Misses that stand alone by chance are no proof that misses stand alone: no more than all identifiers count.
        effective = min(float(sum(spans)), missed * (1 - missed) / variance) if variance > 0 else by_note
    found = exact(missed * effective, effective, confidence=confidence)
    return Interval(1 - found.share, 1 - found.high, 1 - found.low, effective, confidence)
