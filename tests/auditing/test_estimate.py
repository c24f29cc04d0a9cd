"""Intervals: known values, the rule of three, weights of strata, and that the true share lies in them as often as they say."""

from __future__ import annotations

import random

import pytest

from anonymize.auditing.estimate import Judged, exact, notes_with_misses, recall, weights


@pytest.mark.parametrize(
    ("hits", "size", "low", "high"),
    [(0, 100, 0, 0.0362167), (5, 100, 0.0164319, 0.1128349), (1, 10, 0.0025286, 0.4450161), (100, 100, 0.9637833, 1), (0, 0, 0, 1)],
)
def test_exact_intervals_are_clopper_and_pearsons(hits: int, size: int, low: float, high: float) -> None:
    found = exact(hits, size)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_nothing_missed_is_the_rule_of_three() -> None:
    notes = [Judged("note.body", 9, 0)] * 200
    leaky, caught = notes_with_misses(notes, {"note.body": 10_000}), recall(notes, {"note.body": 10_000})
    assert (leaky.share, caught.share) == (0, 1)
    assert leaky.high == pytest.approx(1 - 0.025 ** (1 / 200))
    assert caught.low == pytest.approx(1 - leaky.high), (
        "1,800 identifiers in 200 notes are 200 trials, as long as nobody knows how misses cluster"
    )
    assert exact(0, 200, confidence=0.9).high == pytest.approx(3 / 200, rel=0.01)


def test_a_note_counts_for_those_of_its_column() -> None:
    notes = [Judged("a.x", 1, 0)] * 90 + [Judged("b.y", 0, 1)] * 10
    sizes = {"a.x": 90, "b.y": 910}
    assert set(weights(notes, sizes)) == {1.0, 91.0}
    assert notes_with_misses(notes, sizes).share == pytest.approx(0.91)
    assert recall(notes, sizes).share == pytest.approx(0.09)
    assert notes_with_misses(notes, sizes).effective < 15, "ten notes that stand for most are worth little more than ten"


def test_misses_that_stand_together_widen_the_interval() -> None:
    apart = [Judged("a.x", 9, 1)] * 20 + [Judged("a.x", 10, 0)] * 80
    together = [Judged("a.x", 0, 10)] * 2 + [Judged("a.x", 10, 0)] * 98
    one, other = recall(apart, {"a.x": 100}), recall(together, {"a.x": 100})
    assert one.share == other.share == 0.98
    assert other.low < one.low < 0.98 < one.high < other.high


def test_a_sample_without_identifiers_says_nothing_of_recall() -> None:
    found = recall([Judged("a.x", 0, 0)] * 50, {"a.x": 50})
    assert (found.low, found.high, found.effective) == (0, 1, 0)


@pytest.mark.parametrize(("leaky", "miss"), [(0.1, 0.15), (0.5, 0.05), (0.03, 0.5)])
def test_the_truth_lies_in_the_interval_as_often_as_it_says(leaky: float, miss: float) -> None:
    draw = random.Random(11)
    tries, held, held_notes = 300, 0, 0
    mean_missed = leaky * miss
    for _ in range(tries):
        notes = []
        for _ in range(150):
            number = draw.randint(3, 25)
            bad = draw.random() < leaky
            missed = sum(bad and draw.random() < miss for _ in range(number))
            notes.append(Judged("a.x", number - missed, missed))
        found = recall(notes, {"a.x": 10_000})
        held += found.low <= 1 - mean_missed <= found.high
        truth = leaky * sum(1 - (1 - miss) ** number for number in range(3, 26)) / 23
        found = notes_with_misses(notes, {"a.x": 10_000})
        held_notes += found.low <= truth <= found.high
    assert held >= 0.91 * tries
    assert held_notes >= 0.94 * tries
