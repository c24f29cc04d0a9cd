"""Attacks that the models do not see, against attackers who do it by hand."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.judging.comparing import Column
from anonymize.judging.measuring import measure
from anonymize.judging.minimality import Known, minimality
from anonymize.privacy.models import DistinctL
from tests.judging.test_comparing import AGES, PLACES, finest, published, sides
from tests.judging.test_comparing import Row as Cells
from tests.judging.test_comparing import rows as cells

ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "2", "3", "4", None])), min_size=1, max_size=25)


def seen(rows: list[tuple[Any, ...]], names: str, subject: str | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "f.parquet"
        pq.write_table(pa.table({name: pa.array([row[n] for row in rows], pa.string()) for n, name in enumerate(names.split())}), file)
        figures = measure([file], ["class"], subjects=subject, sensitive=["ill"])
        return dict(figures["attacks"]["ill"], told_of=figures["told"]["ill"])


def best_guess(values: list[str | None], ruled_out: int) -> tuple[float, bool]:
    """The best chance over all choices of what he can rule out, and whether one choice leaves him sure of somebody."""
    best, kinds = 0.0, sorted({value for value in values if value is not None})
    for gone in itertools.combinations(kinds, min(ruled_out, max(len(kinds) - 1, 0))):
        left = [value for value in values if value not in gone]
        best = max(best, max((left.count(value) / len(left) for value in left if value is not None), default=0.0))
    return best, best == 1.0


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_an_attacker_who_tries_all_that_he_may_know_does_no_better(rows: list[tuple[str, str | None]]) -> None:
    found = seen(rows, "class ill")
    classes: dict[str, list[str | None]] = defaultdict(list)
    for key, value in rows:
        classes[key].append(value)
    assert found["told"] == found["told_of"]
    for one in found["knowing"]:
        guesses = [best_guess(classes[key], one["ruled_out"]) for key, _ in rows]
        assert one["average"] == pytest.approx(np.mean([chance for chance, _ in guesses]), abs=1e-6)
        assert one["highest"] == pytest.approx(max(chance for chance, _ in guesses), abs=1e-6)
        assert one["certain"] == pytest.approx(np.mean([sure for _, sure in guesses]), abs=1e-6)
    assert found["values"] == pytest.approx(np.mean([len(set(classes[key]) - {None}) for key, _ in rows]), abs=1e-6)
    known = Counter(value for _, value in rows if value is not None)
    assert found["baseline"] == pytest.approx(max(known.values(), default=0) / len(rows), abs=1e-6)


def test_people_are_counted_and_not_their_rows() -> None:
    rows = [("a", "flu", "ann")] * 5 + [("a", "flu", "bob"), ("a", "cold", "cid"), ("b", "flu", "dan"), ("b", "flu", "dan")]
    found = seen(rows, "class ill who", "who")
    assert found["told"] == pytest.approx(1 / 4), "of four people one is alone with his value"
    assert found["commonest"] == pytest.approx((3 * 2 / 3 + 1) / 4)
    assert found["baseline"] == pytest.approx(3 / 4)


@settings(max_examples=20, deadline=None)
@given(cells(), st.lists(st.sampled_from(["flu", "cold"]), min_size=40, max_size=40), st.integers(1, 3))
def test_what_the_search_tells_by_what_it_did_not_publish(data: list[Cells], ill: list[str], k: int) -> None:
    """An attacker who looks, in each column, at every group of k that is a part of a class and one step finer."""
    columns = {"age": Column("quasi", AGES), "place": Column("quasi", PLACES)}
    model, known = DistinctL("ill", 2), {"ill": Known(["cold", "flu"], np.array([ill.count("cold"), ill.count("flu")]))}
    with tempfile.TemporaryDirectory() as name:
        found = minimality(sides(Path(name), data, ill=ill[: len(data)]), columns, [model], known, k)["ill"]
    kinds = ((AGES, 0, pa.int64()), (PLACES, 1, pa.string()))
    out = [n for n, row in enumerate(data) if row[4]]
    as_published = {n: tuple(published(h, data[n][c], data[n][2 + c], type) for h, c, type in kinds) for n in out}
    candidates, failing, in_class, in_group = 0, 0, 0.0, 0.0
    for hierarchy, c, type in kinds:
        groups, classes = defaultdict(list), defaultdict(list)
        for n in out:
            level = finest(hierarchy, data[n][c], data[n][2 + c], type)
            if level:
                classes[as_published[n]].append(ill[n])
                groups[as_published[n], published(hierarchy, data[n][c], level - 1, type)].append(ill[n])
        for (key, _), values in groups.items():
            if k <= len(values) < len(classes[key]):
                candidates += len(values)
                if len(set(values)) < 2:
                    failing += len(values)
                    in_class += len(values) * max(Counter(classes[key]).values()) / len(classes[key])
                    in_group += len(values)
    assert found.candidates == pytest.approx(candidates / max(len(out), 1) / 2)
    assert found.confidence == pytest.approx(failing / max(candidates, 1))
    assert (found.in_class, found.in_group) == pytest.approx((in_class / max(failing, 1), in_group / max(failing, 1)))
