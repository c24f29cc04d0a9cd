"""Risk figures by their definitions, and estimates against populations that are known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.cli import cli
from anonymize.judging.measuring import measure
from anonymize.privacy.risk import Sizes, average_class, discernibility, entropy_left, pitman, population_uniques, risk, snb, zayatz


@given(st.lists(st.integers(1, 30), min_size=1, max_size=50), st.sampled_from([0.05, 0.09, 0.2]), st.integers(1, 5))
def test_figures_are_those_of_every_person(classes: list[int], threshold: float, times: int) -> None:
    people = [size for size in classes for _ in range(size)]
    found = risk(Sizes.of(Counter(classes)), threshold=threshold, population=len(people) * times)
    assert found.subjects == len(people)
    assert found.highest == pytest.approx(1 / min(people))
    assert found.average == pytest.approx(np.mean([1 / size for size in people]))
    assert found.at_risk == pytest.approx(np.mean([1 / size > threshold + 1e-12 for size in people]))
    assert found.unique == pytest.approx(np.mean([size == 1 for size in people]))
    assert found.journalist == pytest.approx(1 / (min(people) * times))
    assert found.marketer == pytest.approx(np.mean([1 / (size * times) for size in people]))


def drawn(population: np.ndarray, share: float) -> tuple[Sizes, int, int]:
    """A sample's class sizes, the population's size, and its true uniques."""
    sample = np.random.default_rng(5).choice(population, int(len(population) * share), replace=False)
    alone = int((np.unique(population, return_counts=True)[1] == 1).sum())
    return Sizes.of(Counter(Counter(sample.tolist()).values())), len(population), alone


def seated(people: int, theta: float, alpha: float) -> np.ndarray:
    """A population of Pitman's own: each next person opens a class or joins one, likelier the larger it is."""
    rng = np.random.default_rng(3)
    classes, sizes = [0], [1]
    for n in range(1, people):
        if rng.random() < (theta + len(sizes) * alpha) / (theta + n):
            classes.append(len(sizes))
            sizes.append(1)
            continue
        other = classes[rng.integers(n)]  # the class of a random earlier person, given up with the chance that alpha takes from it
        while rng.random() < alpha / sizes[other]:
            other = classes[rng.integers(n)]
        classes.append(other)
        sizes[other] += 1
    return np.array(classes)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_pitmans_estimate_is_near_where_little_was_drawn(share: float) -> None:
    sizes, people, alone = drawn(seated(30_000, 100.0, 0.5), share)
    assert pitman(sizes, people) == pytest.approx(alone, rel=0.3)
    assert population_uniques(sizes, people)[1] == "Pitman"


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_the_smaller_of_two_estimates_is_near_where_much_was_drawn(share: float) -> None:
    rng = np.random.default_rng(4)
    population = np.repeat(np.arange(10_000), 1 + rng.negative_binomial(0.8, 0.3, 10_000))
    sizes, people, alone = drawn(population, share)
    found, model = population_uniques(sizes, people)
    assert model in ("SNB", "Zayatz")
    assert snb(sizes, people) == pytest.approx(alone, rel=0.3)
    assert found <= zayatz(sizes, people)


def test_estimates_at_the_edges() -> None:
    assert population_uniques(Sizes.of({5: 3}), 100) == (0.0, "no subject is alone")
    assert population_uniques(Sizes.of({1: 4, 2: 3}), 10) == (4.0, "everybody is in the release")
    assert risk(Sizes.of({})).subjects == 0


def test_zayatz_by_hand() -> None:
    """Two classes of one and one of two, four of eight people drawn."""
    one_of_one, one_of_two = 4 / 8, 2 * (4 / 8) * (4 / 7)
    certain = (2 / 3 * one_of_one) / (2 / 3 * one_of_one + 1 / 3 * one_of_two)
    assert zayatz(Sizes.of({1: 2, 2: 1}), 8) == pytest.approx(2 * certain / 0.5)


def test_utility_by_hand() -> None:
    sizes = Sizes.of({2: 1, 4: 1})
    assert discernibility(sizes, 2) == pytest.approx((4 + 16 + 2 * 8) / 64)
    assert average_class(sizes, 2) == pytest.approx(6 / 2 / 2)
    counts = np.array([1, 1, 1, 1])
    assert entropy_left(np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1]), counts) == pytest.approx(0.5)
    assert entropy_left(np.array([0, 1, 2, 3]), np.array([0, 0, 0, 0]), counts) == pytest.approx(0)
    assert entropy_left(np.array([0, 1, 2, 3]), np.array([3, 2, 1, 0]), counts) == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", None]), st.integers(0, 5)), min_size=1, max_size=30))
def test_a_file_is_measured_in_people(rows: list[tuple[str, str | None, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "f.parquet"
        table = pa.table({"a": [r[0] for r in rows], "b": pa.array([r[1] for r in rows], pa.string()), "who": [str(r[2]) for r in rows]})
        pq.write_table(table, file)
        found = measure([file], ["a", "b"], subjects="who")
        classes = Counter((a, b) for a, b, _ in {(a, b, who) for a, b, who in rows})
        assert found["classes"] == len(classes)
        assert found["highest"] == pytest.approx(1 / min(classes.values()), abs=1e-6)
        by_a = Counter(a for a, _ in {(a, who) for a, _, who in rows})
        assert found["drivers"]["b"] == pytest.approx(len(by_a) / sum(by_a.values()), abs=1e-6)
        assert sum(found["sizes"].values()) == pytest.approx(1, abs=1e-5)


def test_a_single_column_is_measured(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x", "x", "y"]}), tmp_path / "f.parquet")
    assert measure([tmp_path / "f.parquet"], ["a"])["drivers"] == {"a": pytest.approx(1 / 3, abs=1e-6)}


def test_what_a_class_of_one_value_tells(tmp_path: Path) -> None:
    rows = {"a": ["x", "x", "x", "y", "y", "z"], "s": ["1", "1", "1", "1", "2", None], "who": ["p", "p", "q", "r", "s", "t"]}
    pq.write_table(pa.table(rows), tmp_path / "f.parquet")
    assert measure([tmp_path / "f.parquet"], ["a"], subjects="who", sensitive=["s"])["told"] == {"s": pytest.approx(2 / 5)}


def test_the_command_tells_it(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("age;zip\n" + "20;1\n" * 9 + "21;2\n")
    done = CliRunner().invoke(cli, ["risk", str(tmp_path / "f.csv"), "--report", str(tmp_path / "r.json")], catch_exceptions=False)
    assert "10 subjects in 2 classes" in done.output
    assert "alone in their class:                 10.0%" in done.output
    assert json.loads((tmp_path / "r.json").read_text())["highest"] == 1
