"""The search against brute force: the least loss, k really held, the budget kept."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.errors import AnonymizeError
from anonymize.hierarchies import Hierarchy, build
from anonymize.privacy import SearchSettings, kernels, search
from anonymize.privacy.search import outer_sum

HIERARCHIES: dict[str, Hierarchy] = {"age": build("age"), "zip": build("us-zip"), "sex": build("flat")}
ROWS = st.lists(
    st.tuples(st.sampled_from(["3", "4", "17", "90", None]), st.sampled_from(["02139", "02138", "59001"]), st.sampled_from(["F", "M", None])),
    min_size=1,
    max_size=30,
)
Row = tuple[str | None, ...]


def tally(rows: list[Row]) -> pa.Table:
    counts = Counter(rows)
    columns = list(zip(*counts, strict=True))
    arrays = {name: pa.array(values, pa.string()) for name, values in zip(HIERARCHIES, columns, strict=True)}
    return pa.table({**arrays, "subjects": pa.array(counts.values(), pa.int64())})


def at(rows: list[Row], node: tuple[int, ...]) -> tuple[list[Row], float]:
    """The rows at a node of the lattice, and their loss were none suppressed (a sum over rows and columns)."""
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    general = [h.generalize(c, level).to_pylist() for h, c, level in zip(HIERARCHIES.values(), columns, node, strict=True)]
    losses = np.stack([h.loss(c, level) for h, c, level in zip(HIERARCHIES.values(), columns, node, strict=True)], axis=1)
    return list(zip(*general, strict=True)), losses.sum(axis=1)  # type: ignore[return-value]


def brute(rows: list[Row], k: int, budget: float) -> float | None:
    """The least loss over all nodes."""
    best = None
    for node in itertools.product(*(range(len(h.levels)) for h in HIERARCHIES.values())):
        general, losses = at(rows, node)
        sizes = Counter(general)
        kept = np.array([sizes[row] >= k for row in general])
        if (~kept).sum() <= budget * len(rows) + 1e-9:
            loss = np.where(kept, losses, 3.0).sum() / len(rows) / 3
            best = loss if best is None else min(best, loss)
    return None if best is None else float(best)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 4), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_the_optimum_is_that_of_brute_force_and_holds_k(rows: list[Row], k: int, budget: float) -> None:
    expected = brute(rows, k, budget)
    if expected is None:
        with pytest.raises(AnonymizeError, match="cannot be reached"):
            search(tally(rows), HIERARCHIES, SearchSettings(k=k, suppression=budget))
        return
    solution = search(tally(rows), HIERARCHIES, SearchSettings(k=k, suppression=budget))
    assert solution.loss == pytest.approx(expected)
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    applied = solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()
    published = Counter(tuple(row[name] for name in HIERARCHIES) for row in applied if not row["__suppressed"])
    assert min(published.values(), default=k) >= k
    assert solution.suppressed == sum(row["__suppressed"] for row in applied) <= budget * len(rows) + 1e-9
    assert len(published) == solution.classes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ROWS.map(lambda rows: rows[0]), st.integers(0, 6)), min_size=1, max_size=40), st.integers(2, 3))
def test_k_counts_subjects_and_not_rows(pairs: list[tuple[Row, int]], k: int) -> None:
    counts = Counter(pairs)
    columns = list(zip(*(row for row, _ in counts), strict=True))
    table = pa.table(
        {
            **{name: pa.array(values, pa.string()) for name, values in zip(HIERARCHIES, columns, strict=True)},
            "who": [str(who) for _, who in counts],
            "subjects": pa.array(counts.values(), pa.int64()),
        }
    )
    solution = search(table, HIERARCHIES, SearchSettings(k=k, suppression=1.0), subject="who")
    batch = pa.RecordBatch.from_arrays([pa.array([row[i] for row, _ in pairs], pa.string()) for i in range(3)], names=list(HIERARCHIES))
    people: dict[Row, set[int]] = defaultdict(set)
    for (_, who), row in zip(pairs, solution.apply(batch).to_pylist(), strict=True):
        if not row["__suppressed"]:
            people[tuple(row[name] for name in HIERARCHIES)].add(who)
    assert min((len(one) for one in people.values()), default=k) >= k


def test_a_class_that_the_search_has_not_seen_is_suppressed() -> None:
    solution = search(tally([("3", "02139", "F")] * 3), HIERARCHIES, SearchSettings(k=2, suppression=0))
    strange = pa.RecordBatch.from_arrays([pa.array(["70"]), pa.array(["59001"]), pa.array(["M"])], names=list(HIERARCHIES))
    assert solution.apply(strange)["__suppressed"].to_pylist() == [True]


def test_bounds_on_levels_are_kept() -> None:
    rows: list[Row] = [("3", "02139", "F"), ("4", "02139", "F"), ("3", "02138", "F"), ("4", "02138", "F")]
    settings_ = SearchSettings(k=2, suppression=0, min_levels={"sex": 1}, max_levels={"age": 0})
    assert search(tally(rows), HIERARCHIES, settings_).levels == {"age": 0, "zip": 1, "sex": 1}


@pytest.mark.parametrize(("suppression", "reference"), [(0.0, 0.635544), (0.05, 0.270532)])
def test_arx_has_no_better_optimum_on_adult(data_dir: Path, suppression: float, reference: float) -> None:
    folder = data_dir / "tables" / "adult"
    rows = duckdb.sql(f"FROM read_csv('{folder}/adult.csv', delim=';', all_varchar=true)").to_arrow_table()
    hierarchies = {name: build(f"csv:adult_hierarchy_{name}.csv", folder) for name in rows.schema.names}
    names = ", ".join(f'"{name}"' for name in hierarchies)
    counted = duckdb.sql(f"SELECT {names}, count(*) AS subjects FROM rows GROUP BY ALL").to_arrow_table()
    assert search(counted, hierarchies, SearchSettings(k=5, suppression=suppression)).loss <= reference + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=0, max_size=4), st.integers(0, 2**32 - 1))
def test_bounds_of_a_box_are_raised_to_the_sum_over_its_columns(shape: list[int], seed: int) -> None:
    numbers, m = np.random.default_rng(seed), len(shape)
    low, kept = numbers.integers(0, 2, m), numbers.random((m, 6))
    box = np.array([numbers.integers(1, side + 1) for side in shape], np.int64)
    before = np.asarray(numbers.random(shape) * 2)
    after = before.copy()
    steps = np.array(after.strides, np.int64) // after.itemsize
    kernels.raise_bounds(after.reshape(-1), steps, box, kept, low.astype(np.int64), 0.25)
    inside = tuple(slice(0, side) for side in box)
    expected = before.copy()
    expected[inside] = np.maximum(before[inside], outer_sum([kept[c, low[c] : low[c] + box[c]] for c in range(m)]) + 0.25)
    assert np.array_equal(after, expected)
