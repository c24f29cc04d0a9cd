"""A model trained on a release against one trained on the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from anonymize.errors import AnonymizeError
from anonymize.exploring import Learner, explore, picture, text
from anonymize.hierarchies import build
from anonymize.privacy import SearchSettings
from anonymize.privacy.learning import Task
from tests.privacy.test_explore import ET

N = 1_500
RNG = np.random.default_rng(2)
AGE = RNG.integers(0, 80, N)
NOISE = RNG.integers(0, 4, N)
SUBJECTS = pa.array([f"s{n}" for n in range(N)])
#: Ill where an age is odd, so that only exact ages tell it; a colour that tells nothing.
ROWS = pa.table({"age": AGE, "colour": pa.array([f"c{n}" for n in NOISE]), "ill": pa.array(np.where(AGE % 2, "yes", "no"))})


def task() -> Task:
    return Task.of(ROWS, "ill", ["age", "colour", "ill"], SUBJECTS)


def test_what_is_published_exactly_is_told_as_well_as_by_the_source() -> None:
    source = task().source()
    assert source.accuracy > 0.95
    assert source.auc > 0.98
    assert source.rows + source.asked == N
    assert task().release(ROWS, np.zeros(N, bool)) == source


def test_what_is_coarse_is_told_no_better_than_by_chance() -> None:
    coarse = ROWS.set_column(0, "age", build("age").generalize(ROWS["age"].combine_chunks(), 2))
    found = task().release(coarse, np.zeros(N, bool))
    assert found is not None
    assert found.accuracy < 0.65
    assert task().baseline == pytest.approx(0.5, abs=0.08)
    gone = AGE < 40
    fewer = task().release(coarse, gone)
    assert fewer is not None
    assert fewer.rows == int((~gone & ~task().asked).sum()), "a suppressed row is not learned from"
    assert fewer.asked == found.asked, "and still asked of"


def test_a_subject_is_learned_from_or_asked_of_and_never_both() -> None:
    twice = pa.concat_tables([ROWS, ROWS])
    both = Task.of(twice, "ill", ["age"], pa.concat_arrays([SUBJECTS, SUBJECTS]))
    assert (both.asked[:N] == both.asked[N:]).all()
    assert (both.asked[:N] == task().asked).all(), "the same in every run"


@pytest.mark.parametrize(("target", "words"), [("none", "no column 'none'"), ("age", "a number or a date"), ("same", "no two values")])
def test_what_cannot_be_told_is_said(target: str, words: str) -> None:
    with pytest.raises(AnonymizeError, match=words):
        Task.of(ROWS.append_column("same", pa.array(["x"] * N)), target, ["age"], SUBJECTS)


def test_rare_classes_are_one_and_missing_ones_are_left_out() -> None:
    values = [None if n % 10 == 0 else f"v{n % 13:02}" for n in range(N)]
    many = Task.of(ROWS.append_column("many", pa.array(values)), "many", ["age"], SUBJECTS)
    assert many.classes == 10
    assert (many.target == -1).sum() == N // 10


def test_the_frontier_shows_what_a_model_learns() -> None:
    tally = ROWS.select(["age", "colour"]).append_column("subjects", pa.array(np.ones(N, np.int64)))
    learner = Learner(ROWS, "ill", SUBJECTS)
    hierarchies = {"age": build("age"), "colour": build("flat")}
    points = explore("people", tally, hierarchies, SearchSettings(k=3), ks=(2, 50), suppressions=(0.05,), learn=learner)
    reached = [point for point in points if point.reached]
    assert all(point.accuracy is not None and point.source_accuracy == reached[0].source_accuracy for point in reached)
    by_k = {point.k: point.accuracy for point in reached if point.mode == "optimal" and not point.exact}
    assert by_k[2] is not None
    assert by_k[50] is not None
    assert by_k[2] > by_k[50] + 0.2
    assert "a model of the source tells" in text(points)
    drawn = ET.fromstring(picture(points, "people"))
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * sum(not point.exact for point in reached), "each point stands in both pictures"


def test_scikit_learn_is_not_on_the_way_of_a_run() -> None:
    """Neither the pipeline nor the command line imports it before it is used."""
    code = "import sys, anonymize.cli, anonymize.pipeline, anonymize.exploring; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=120).returncode == 0
