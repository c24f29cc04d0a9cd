"""What a release leaves of the data: figures by their definitions, and what is shown of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.hierarchies import build
from anonymize.judging.comparing import Column, Sides, compare
from anonymize.policy.loader import load
from anonymize.privacy.utility import Bar, Utility, cramers_v, earth_mover, folded, mutual_information, total_variation
from anonymize.run import Run
from tests.road import hospital

WEIGHTS = st.lists(st.integers(0, 9), min_size=2, max_size=8)


@given(WEIGHTS, WEIGHTS)
def test_distances_are_the_least_work_that_turns_one_into_the_other(one: list[int], other: list[int]) -> None:
    from scipy.stats import wasserstein_distance

    size = min(len(one), len(other))
    before, after = np.array(one[:size], float), np.array(other[:size], float)
    if not before.sum() or not after.sum():
        return
    at = np.cumsum(np.arange(1, size + 1)).astype(float)
    expected = wasserstein_distance(at, at, before, after) / (at[-1] - at[0])
    assert earth_mover(before, after, at) == pytest.approx(expected)
    assert total_variation(before, after) == pytest.approx(1 - np.minimum(before / before.sum(), after / after.sum()).sum())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=60))
def test_association_by_its_definition(rows: list[tuple[int, int]]) -> None:
    table = np.zeros((3, 3))
    for one, other in rows:
        table[one, other] += 1
    n, pairs = len(rows), Counter(rows)
    left, right = Counter(one for one, _ in rows), Counter(other for _, other in rows)
    bits = sum(c / n * math.log2(c * n / left[a] / right[b]) for (a, b), c in pairs.items())
    corrected = bits + (len(left) + len(right) - len(pairs) - 1) / (2 * n * math.log(2))
    assert mutual_information(table) == pytest.approx(max(0, corrected), abs=1e-9)
    chi = sum((pairs[a, b] - left[a] * right[b] / n) ** 2 / (left[a] * right[b] / n) for a in left for b in right)
    r, c = len(left), len(right)
    phi, less = max(0, chi / n - (r - 1) * (c - 1) / (n - 1)), min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    assert cramers_v(table) == pytest.approx(min(1, math.sqrt(phi / less)) if less > 0 and r > 1 and c > 1 else 0, abs=1e-6)


def test_columns_that_tell_all_or_nothing_of_each_other() -> None:
    assert cramers_v(np.diag([50.0, 50.0])) == pytest.approx(1, abs=0.02)
    assert mutual_information(np.diag([5000.0, 5000.0])) == pytest.approx(1, abs=0.001)
    assert cramers_v(np.full((2, 2), 25.0)) == mutual_information(np.full((2, 2), 25.0)) == 0


BARS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8)


@given(BARS, st.integers(0, 9), st.integers(2, 6))
def test_no_bar_and_no_rest_is_of_fewer_than_k(counts: list[tuple[int, int]], coarse: int, k: int) -> None:
    bars = [Bar(str(number), *both) for number, both in enumerate(counts)]
    shown, rest = folded(bars, Bar(None, 0, coarse), k, most=4)
    assert len(shown) <= 4
    assert [bar for bar in bars if bar in shown] == list(shown), "the order stays"
    assert all(min(bar.before, bar.after) >= k for bar in shown)
    if rest is not None:
        assert all(number == 0 or number >= k for number in (rest.before, rest.after))
        for side in ("before", "after"):
            whole = sum(getattr(bar, side) for bar in bars) + (coarse if side == "after" else 0)
            assert sum(getattr(bar, side) for bar in shown) + getattr(rest, side) == whole


# -------------------------------------------------------------------------------------------------------------- counted from files

AGES, PLACES = build("ranges:0..40:1,5,20"), build("flat")
Row = tuple[int | None, str | None, int, int, int]  # age, place, level of age, 0 or 1: place at the top, 0: the row did not leave


def rows() -> st.SearchStrategy[list[Row]]:
    age, place = st.sampled_from([1, 3, 7, 22, 39, None]), st.sampled_from(["a", "b", None])
    return st.lists(st.tuples(age, place, st.integers(0, 3), st.integers(0, 1), st.sampled_from([1, 1, 1, 0])), min_size=1, max_size=40)


def published(hierarchy: Any, value: Any, level: int, type: pa.DataType) -> str | None:
    return hierarchy.generalize(pa.array([value], type), level)[0].as_py()  # type: ignore[no-any-return]


def finest(hierarchy: Any, value: Any, level: int, type: pa.DataType) -> int:
    """The finest level at which the same is published: a missing value is missing at all but the top."""
    return next(step for step in range(level + 1) if published(hierarchy, value, step, type) == published(hierarchy, value, level, type))


def sides(folder: Path, data: list[Row], who: list[int] | None = None, **extra: list[Any]) -> Sides:
    """The files of a table before and after, the rows in another order after."""
    subjects = [str(one) for one in who or range(len(data))]
    before = {"age": pa.array([r[0] for r in data], pa.int64()), "place": pa.array([r[1] for r in data], pa.string())}
    pq.write_table(pa.table({"__row": range(len(data)), "__subject": subjects, **before, **extra}), folder / "before.parquet")
    kept = [n for n, row in reversed(list(enumerate(data))) if row[4]]
    after = {
        "age": pa.array([published(AGES, data[n][0], data[n][2], pa.int64()) for n in kept], pa.string()),
        "place": pa.array([published(PLACES, data[n][1], data[n][3], pa.string()) for n in kept], pa.string()),
        **{name: pa.array([column[n] for n in kept], pa.array(column).type) for name, column in extra.items()},
    }
    pq.write_table(pa.table(after), folder / "after.parquet")
    rows = {"__row": pa.array(kept, pa.int64()), "__subject": pa.array([subjects[n] for n in kept], pa.string())}
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    return Sides([folder / "before.parquet"], [folder / "after.parquet"], [folder / "rows.parquet"], folder / "scratch")


def measured(folder: Path, data: list[Row], who: list[int] | None = None, k: int = 3) -> Utility:
    extra: dict[str, list[Any]] = {"value": [float(n % 7) for n in range(len(data))], "note": ["x"] * len(data)}
    columns = {"age": Column("quasi", AGES), "place": Column("quasi", PLACES), "value": Column("plain"), "note": Column("text")}
    return compare(sides(folder, data, who, **extra), columns, k)


@settings(max_examples=15, deadline=None)
@given(rows())
def test_a_table_is_measured_as_its_rows_say(data: list[Row]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), data)
    shown = [(published(AGES, r[0], r[2], pa.int64()), published(PLACES, r[1], r[3], pa.string())) for r in data]
    assert (found.rows_before, found.rows_after) == (len(data), sum(r[4] for r in data))
    for place, (column, hierarchy, type) in enumerate((("age", AGES, pa.int64()), ("place", PLACES, pa.string()))):
        lost = [hierarchy.loss(pa.array([r[place]], type), finest(hierarchy, r[place], r[2 + place], type))[0] if r[4] else 1.0 for r in data]
        assert found.columns[column].loss == pytest.approx(np.mean(lost)), column
        before, after = Counter(r[place] for r in data), defaultdict(float)
        for r, texts in zip(data, shown, strict=True):
            if r[4]:
                level = max(
                    step
                    for step in range(len(hierarchy.levels))
                    if step >= r[2 + place] and published(hierarchy, r[place], step, type) == texts[place]
                )
                leaves = [v for v in before if published(hierarchy, v, level, type) == texts[place]]
                for leaf in leaves:
                    after[leaf] += 1 / len(leaves)
        if found.rows_after:
            apart = sum(abs(before[v] / len(data) - after[v] / found.rows_after) for v in before) / 2
            assert found.columns[column].total_variation == pytest.approx(apart, abs=1e-9), column
        told = Counter((r[place], texts[place] if r[4] else "gone") for r, texts in zip(data, shown, strict=True))
        groups: dict[Any, list[int]] = defaultdict(list)
        for (_, text), number in told.items():
            groups[text].append(number)

        def bits(counts: list[int]) -> float:
            return -sum(c / sum(counts) * math.log2(c / sum(counts)) for c in counts)

        left = sum(sum(counts) / len(data) * bits(counts) for counts in groups.values())
        whole = bits(list(before.values()))
        assert found.columns[column].information == pytest.approx(1 - left / whole if whole else 1, abs=1e-9), column
    classes = Counter(texts for r, texts in zip(data, shown, strict=True) if r[4])
    gone = len(data) - found.rows_after
    same = (sum(size**2 for size in classes.values()) + gone * len(data)) / len(data) ** 2
    assert found.discernibility == pytest.approx(same)
    if classes:
        assert found.average_class == pytest.approx(np.mean(list(classes.values())) / 3)


@settings(max_examples=12, deadline=None)
@given(rows(), st.lists(st.integers(0, 6), min_size=40, max_size=40), st.integers(2, 4))
def test_every_bar_is_of_k_people_and_says_how_many(data: list[Row], who: list[int], k: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), data, who[: len(data)], k)
    assert found.subjects_before == len(set(who[: len(data)]))
    for column, hierarchy, place in (("age", AGES, 0), ("place", PLACES, 1)):
        drawn = found.columns[column].histogram
        assert drawn is not None
        level, type = hierarchy.levels.index(drawn.level), (pa.int64(), pa.string())[place]
        for bar in drawn.bars:
            people: tuple[set[int], set[int]] = (set(), set())
            for row, one in zip(data, who, strict=False):
                if (published(hierarchy, row[place], level, type) or "missing") == bar.label:
                    people[0].add(one)
                    if row[4] and finest(hierarchy, row[place], row[2 + place], type) <= level:
                        people[1].add(one)
            assert (bar.before, bar.after) == (len(people[0]), len(people[1]))
            assert min(bar.before, bar.after) >= k


def test_numbers_and_dates_are_drawn_by_round_ranges_and_texts_not_at_all(tmp_path: Path) -> None:
    found = measured(tmp_path, [(n % 40, "ab"[n % 2], 0, 0, int(n % 10 != 0)) for n in range(200)])
    assert found.left_out == ("note",)
    value = found.columns["value"]
    assert value.kind == "number"
    assert value.histogram is not None
    assert {bar.label for bar in value.histogram.bars} == {f"[{n}, {n + 1})" for n in range(7)}
    assert value.total_variation == pytest.approx(0, abs=0.05)
    assert {pair.columns for pair in found.pairs} == {("age", "place"), ("age", "value"), ("place", "value")}
    odd = next(pair for pair in found.pairs if pair.columns == ("age", "place"))
    assert odd.v_before > 0.85, "an age tells the place here"
    assert odd.v_after > 0.85, "and it is published exactly"


def test_a_run_records_what_is_left_and_no_value_of_a_record(tmp_path: Path) -> None:
    file = hospital.policy(hospital.build(tmp_path / "hospital"))
    text = file.read_text().replace("sex: quasi flat", "sex: sensitive").replace("suppression: 0.2", 'suppression: 0.2, l: ["sex:2"]')
    file.write_text(text)
    run = Run.open(load(file))
    pipeline.to_review(run)
    validated = run.record.get("validate") or {}
    attacked = validated["risk"]["patient"]["attacks"]["sex"]
    assert attacked["told"] == 0, "each class has two sexes"
    assert attacked["knowing"][1]["certain"] == 1, "who can rule out the one knows the other"
    assert 0 < attacked["minimality"]["candidates"] <= 1
    assert set(validated["utility"]) == set(run.policy.tables)
    left = validated["utility"]["patient"]
    generalized = run.record.get("generalize", "patient") or {}
    assert left["granularity"] == pytest.approx(1 - generalized["loss"], abs=1e-6)
    assert left["rows_after"] == generalized["rows"]
    k = run.policy.privacy.k
    for table, one in validated["utility"].items():
        staged = {
            v for file in run.folder("stage", table).glob("*.parquet") for c in pq.read_table(file).columns for v in c.cast("string").to_pylist()
        }
        for name, column in one["columns"].items():
            for bar in (column["histogram"] or {"bars": []})["bars"]:
                assert min(bar["before"], bar["after"]) >= k
                if column["role"] == "quasi":
                    assert bar["label"] == "missing" or bar["label"] in staged or column["histogram"]["level"] != "value", name
    run.close()
