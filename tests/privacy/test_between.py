"""One precision throughout each part of a table."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.errors import AnonymizeError, PolicyError
from anonymize.policy.loader import load
from anonymize.privacy import PartsSolution, SearchSettings, search, search_parts
from anonymize.privacy.models import BetaLikeness, CloseT, Model
from anonymize.run import Run
from tests.privacy.test_models import SICK, sick_tally
from tests.privacy.test_search import HIERARCHIES, ROWS, Row, tally
from tests.road import hospital


def applied(solution: PartsSolution, rows: list[Row]) -> list[dict[str, object]]:
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    return solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 3), st.integers(0, 2), st.sampled_from([0.0, 0.3, 1.0]))
def test_each_part_has_its_own_levels_and_every_class_holds_k(rows: list[Row], k: int, level: int, budget: float) -> None:
    wanted = SearchSettings(k=k, suppression=budget)
    try:
        solution = search_parts(tally(rows), HIERARCHIES, wanted, "zip", level)
    except AnonymizeError:
        assert budget < 1
        return
    out = applied(solution, rows)
    kept = [row for row in out if not row["__suppressed"]]
    classes = Counter(tuple(row[name] for name in HIERARCHIES) for row in kept)
    assert min(classes.values(), default=k) >= k
    assert solution.suppressed == len(rows) - len(kept) <= budget * len(rows) + 1e-9
    for row, published in zip(rows, out, strict=True):
        label = HIERARCHIES["zip"].generalize(pa.array([row[1]], pa.string()), level)[0].as_py()
        if not published["__suppressed"]:
            levels = solution.parts[label].levels
            for (name, hierarchy), value in zip(HIERARCHIES.items(), row, strict=True):
                assert hierarchy.generalize(pa.array([value], pa.string()), levels[name])[0].as_py() == published[name]
    assert solution.k <= min(classes.values(), default=0)


@settings(max_examples=40, deadline=None)
@given(SICK, st.sampled_from([CloseT("illness", 0.3), BetaLikeness("illness", 1.0)]), st.sampled_from([0.3, 1.0]))
def test_classes_of_parts_are_compared_with_the_whole_table(rows: list[tuple[Row, str]], model: Model, budget: float) -> None:
    wanted = SearchSettings(k=2, suppression=budget, models=(model,))
    try:
        solution = search_parts(sick_tally(rows), HIERARCHIES, wanted, "zip", 1)
    except AnonymizeError:
        assert budget < 1
        return
    out = applied(solution, [row for row, _ in rows])
    classes: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for published, (_, illness) in zip(out, rows, strict=True):
        if not published["__suppressed"]:
            classes[tuple(published[name] for name in HIERARCHIES)][illness] += 1
    whole = Counter(illness for _, illness in rows)
    for counts in classes.values():
        apart = {value: counts[value] / counts.total() - whole[value] / whole.total() for value in whole}
        if isinstance(model, CloseT):
            assert sum(map(abs, apart.values())) / 2 <= 0.3 + 1e-9
        else:
            p = {value: whole[value] / whole.total() for value in whole}
            assert all(more / p[value] <= min(1.0, -math.log(p[value])) + 1e-9 for value, more in apart.items() if more > 0)


def test_a_part_that_is_crowded_stays_finer() -> None:
    rows: list[Row] = [("3", "02139", "F")] * 5 + [("4", "02139", "M")] * 5 + [("17", "59001", "F"), ("90", "59001", "M"), ("3", "59001", "F")]
    wanted = SearchSettings(k=3, suppression=0)
    solution = search_parts(tally(rows), HIERARCHIES, wanted, "zip")
    assert solution.parts["02139"].levels["age"] == 0
    assert solution.parts["59001"].levels["age"] > 0
    assert solution.loss < search(tally(rows), HIERARCHIES, wanted).loss


def test_a_part_that_was_not_seen_is_suppressed() -> None:
    solution = search_parts(tally([("3", "02139", "F")] * 3), HIERARCHIES, SearchSettings(k=3, suppression=0), "zip")
    out = applied(solution, [("3", "59001", "F"), ("3", "02139", "F")])
    assert [row["__suppressed"] for row in out] == [True, False]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    return hospital.build(tmp_path / "hospital")


def policy(folder: Path, privacy: str) -> Path:
    file = hospital.policy(folder)
    file.write_text(file.read_text().replace("privacy: {k: 3, suppression: 0.2}", f"privacy: {{k: 3, suppression: 0.6, {privacy}}}"))
    return file


def test_a_policy_may_ask_for_it(folder: Path) -> None:
    run = Run.open(load(policy(folder, 'within: "sex"')))
    pipeline.to_review(run)
    levels = (run.record.get("generalize", "patient") or {})["levels"]
    assert levels["sex"] == {"value": 1.0}
    assert "holds k = 3" in str(run.record.get("validate"))


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        ('within: "nosuch"', "no table has a quasi-identifier 'nosuch'"),
        ('within: "sex:1"', "levels 0 (value) to 0 (value)"),
        ('within: "sex", mode: local', "is finer than any parting"),
    ],
)
def test_what_cannot_be_parted_is_said(folder: Path, privacy: str, said: str) -> None:
    with pytest.raises(PolicyError) as found:
        pipeline.check(Run.open(load(policy(folder, privacy))))
    assert said in str(found.value)
