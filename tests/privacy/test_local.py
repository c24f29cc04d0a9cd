"""Local recoding: k really held, nothing suppressed, the loss as counted from what is published."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.errors import AnonymizeError
from anonymize.hierarchies import build
from anonymize.policy.loader import load
from anonymize.privacy import LocalSolution, SearchSettings, local, recode_locally, search
from anonymize.privacy.models import DistinctL, Model
from anonymize.run import Run
from tests.privacy.test_search import HIERARCHIES, ROWS, Row, tally
from tests.road import hospital


def applied(solution: LocalSolution, rows: list[Row]) -> list[dict[str, object]]:
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    return solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()


def loss_of(rows: list[Row], published: list[dict[str, object]]) -> float:
    """Each cell's loss, at the finest level that gives what is published."""
    total = 0.0
    for row, out in zip(rows, published, strict=True):
        for (name, hierarchy), value in zip(HIERARCHIES.items(), row, strict=True):
            one = pa.array([value], pa.string())
            at = [level for level in range(len(hierarchy.levels)) if hierarchy.generalize(one, level).to_pylist() == [out[name]]]
            assert at, "what is published is a generalization of the record's own value"
            total += 1.0 if out["__suppressed"] else float(hierarchy.loss(one, at[0])[0])
    return total / len(rows) / len(HIERARCHIES)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(2, 4))
def test_every_class_holds_k_and_nobody_is_suppressed(rows: list[Row], k: int) -> None:
    if len(rows) < k:
        with pytest.raises(AnonymizeError, match="cannot be reached"):
            recode_locally(tally(rows), HIERARCHIES, SearchSettings(k=k, suppression=0))
        return
    solution = recode_locally(tally(rows), HIERARCHIES, SearchSettings(k=k, suppression=0))
    out = applied(solution, rows)
    classes = Counter(tuple(row[name] for name in HIERARCHIES) for row in out)
    assert not any(row["__suppressed"] for row in out)
    assert min(classes.values()) >= k
    assert solution.k >= k
    assert solution.loss == pytest.approx(loss_of(rows, out))


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 3), st.integers(0, 2), st.integers(2, 4))
def test_what_is_made_better_at_the_end_is_better_and_still_holds(rows: list[Row], k: int, low: int, high: int) -> None:
    wanted = SearchSettings(k=k, suppression=1.0, min_levels={"age": low}, max_levels={"age": high})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_VISITS", 0)
        before = recode_locally(tally(rows), HIERARCHIES, wanted)
    after = recode_locally(tally(rows), HIERARCHIES, wanted)
    assert after.loss <= before.loss + 1e-12
    out = [row for row in applied(after, rows) if not row["__suppressed"]]
    classes = Counter(tuple(row[name] for name in HIERARCHIES) for row in out)
    assert min(classes.values(), default=k) >= k
    assert after.suppressed == before.suppressed == len(rows) - len(out)
    ladders = [HIERARCHIES["age"].generalize(pa.array([row[0] for row in rows], pa.string()), level) for level in range(low, high + 1)]
    assert {row["age"] for row in out} <= set().union(*(step.to_pylist() for step in ladders))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ROWS.map(lambda rows: rows[0]), st.integers(0, 6)), min_size=1, max_size=40), st.integers(2, 3))
def test_k_counts_subjects_and_not_rows(pairs: list[tuple[Row, int]], k: int) -> None:
    counts = Counter(pairs)
    columns = list(zip(*(row for row, _ in counts), strict=True))
    named = {name: pa.array(values, pa.string()) for name, values in zip(HIERARCHIES, columns, strict=True)}
    table = pa.table({**named, "who": [str(who) for _, who in counts], "subjects": pa.array(counts.values(), pa.int64())})
    solution = recode_locally(table, HIERARCHIES, SearchSettings(k=k, suppression=1.0), subject="who")
    people: dict[Row, set[int]] = defaultdict(set)
    for (_, who), row in zip(pairs, applied(solution, [row for row, _ in pairs]), strict=True):
        if not row["__suppressed"]:
            people[tuple(row[name] for name in HIERARCHIES)].add(who)  # type: ignore[misc]
    assert min((len(one) for one in people.values()), default=k) >= k


@settings(max_examples=60, deadline=None)
@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows)))))
def test_a_model_beside_k_holds_in_every_class(drawn: tuple[list[Row], list[str]]) -> None:
    rows, values = drawn
    model: Model = DistinctL("illness", 2)
    counted = Counter(zip(rows, values, strict=True))
    columns = list(zip(*(row for row, _ in counted), strict=True))
    named = {name: pa.array(column, pa.string()) for name, column in zip(HIERARCHIES, columns, strict=True)}
    table = pa.table({**named, "illness": [value for _, value in counted], "subjects": pa.array(counted.values(), pa.int64())})
    solution = recode_locally(table, HIERARCHIES, SearchSettings(k=2, suppression=1.0, models=(model,)))
    classes: dict[Row, list[str]] = defaultdict(list)
    for row, value in zip(applied(solution, rows), values, strict=True):
        if not row["__suppressed"]:
            classes[tuple(row[name] for name in HIERARCHIES)].append(value)  # type: ignore[misc]
    assert all(len(one) >= 2 and len(set(one)) >= 2 for one in classes.values())
    assert classes or len(set(values)) < 2 or len(rows) < 2


def test_a_part_of_one_illness_alone_is_taken_in_by_the_others() -> None:
    """Those in one ZIP code all have one illness, so that no class of theirs alone has two."""
    rows: list[Row] = [(str(n % 90), "02139", "FM"[n % 2]) for n in range(400)] + [(str(n % 90), "59001", "FM"[n % 2]) for n in range(200)]
    values = ["a"] * 400 + ["a", "b", "c"] * 66 + ["b", "c"]
    counted = Counter(zip(rows, values, strict=True))
    columns = list(zip(*(row for row, _ in counted), strict=True))
    named = {name: pa.array(column, pa.string()) for name, column in zip(HIERARCHIES, columns, strict=True)}
    table = pa.table({**named, "illness": [value for _, value in counted], "subjects": pa.array(counted.values(), pa.int64())})
    solution = recode_locally(table, HIERARCHIES, SearchSettings(k=3, suppression=0, models=(DistinctL("illness", 2),)))
    classes: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for row, value in zip(applied(solution, rows), values, strict=True):
        assert not row["__suppressed"]
        classes[tuple(row[name] for name in HIERARCHIES)].add(value)
    assert all(len(illnesses) >= 2 for illnesses in classes.values())
    assert solution.loss < 0.9
    assert len(classes) > 10


def test_a_tuple_that_the_search_has_not_seen_is_suppressed() -> None:
    solution = recode_locally(tally([("3", "02139", "F")] * 3), HIERARCHIES, SearchSettings(k=2, suppression=0))
    out = applied(solution, [("70", "59001", "M"), ("3", "02139", "F")])
    assert [row["__suppressed"] for row in out] == [True, False]
    assert out[0]["age"] == out[0]["zip"] == "*"


def test_bounds_on_levels_are_kept() -> None:
    rows: list[Row] = [("3", "02139", "F"), ("4", "02139", "F"), ("3", "02138", "F"), ("4", "02138", "F")]
    settings_ = SearchSettings(k=2, suppression=0, min_levels={"sex": 1}, max_levels={"age": 0})
    out = applied(recode_locally(tally(rows), HIERARCHIES, settings_), rows)
    assert {row["sex"] for row in out} == {"*"}
    assert [row["age"] for row in out] == ["3", "4", "3", "4"]


def test_what_is_left_over_is_taken_in_where_it_costs_least() -> None:
    rows: list[Row] = [("3", "02139", "F")] * 3 + [("90", "59001", "M")] * 3 + [("91", "59001", "M")]
    out = applied(recode_locally(tally(rows), HIERARCHIES, SearchSettings(k=3, suppression=0)), rows)
    assert (out[0]["age"], out[0]["zip"], out[0]["sex"]) == ("3", "02139", "F"), "the class that is far off stays as it is"
    assert (out[-1]["zip"], out[-1]["sex"]) == ("59001", "M")


@pytest.mark.parametrize(("name", "reference", "most"), [("adult", 0.058628, 0.88), ("fars_subset", 0.084436, 0.885)])
def test_less_is_lost_than_by_arx(data_dir: Path, name: str, reference: float, most: float) -> None:
    folder = data_dir / "tables" / name
    rows = duckdb.sql(f"FROM read_csv('{folder}/{name}.csv', delim=';', all_varchar=true)").to_arrow_table()
    hierarchies = {column: build(f"csv:{name}_hierarchy_{column}.csv", folder) for column in rows.schema.names}
    names = ", ".join(f'"{column}"' for column in hierarchies)
    counted = duckdb.sql(f"SELECT {names}, count(*) AS subjects FROM rows GROUP BY ALL ORDER BY ALL").to_arrow_table()
    solution = recode_locally(counted, hierarchies, SearchSettings(k=5, suppression=0))
    assert solution.loss <= most * reference
    assert solution.loss < search(counted, hierarchies, SearchSettings(k=5, suppression=1)).loss
    classes: Counter[tuple[object, ...]] = Counter()
    for batch in rows.to_batches():
        out = solution.apply(batch)
        assert not np.asarray(out["__suppressed"]).any()
        classes.update(zip(*(out[column].to_pylist() for column in hierarchies), strict=True))
    assert min(classes.values()) >= 5


def test_a_policy_may_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    folder = hospital.build(tmp_path / "hospital")
    file = hospital.policy(folder)
    text = file.read_text()
    assert "privacy: {k: 3" in text
    file.write_text(text.replace("privacy: {k: 3", "privacy: {mode: local, k: 3"))
    run = Run.open(load(file))
    pipeline.to_review(run)
    counts = run.record.get("generalize", "patient")
    assert counts is not None
    assert counts["suppressed"] == 0
    assert all(sum(shares.values()) == pytest.approx(1, abs=1e-3) for shares in counts["levels"].values())
    validated = run.record.get("validate") or {}
    assert "holds k = 3" in str(validated)
    assert validated["risk"]["patient"]["highest"] == pytest.approx(1 / counts["k"], abs=1e-6)
    assert validated["risk"]["patient"]["at_risk"] == 0
