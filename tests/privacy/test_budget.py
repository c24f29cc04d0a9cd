"""A budget ends a search with the best so far: it holds all that is asked, it says what it left undone, and it is the same again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.errors import PolicyError
from anonymize.policy.loader import load
from anonymize.privacy import Progress, SearchSettings, recode_locally, search, search_parts
from anonymize.privacy.models import DistinctL
from anonymize.run import Run
from tests.privacy.test_models import SICK, sick_tally
from tests.privacy.test_search import HIERARCHIES, ROWS, Row, tally
from tests.road import hospital

AT_ONCE = 1e-9


@pytest.mark.parametrize("mode", ["optimal", "local", "within"])
@settings(max_examples=30, deadline=None)
@given(rows=ROWS, k=st.integers(2, 3))
def test_what_is_found_in_no_time_holds_k(mode: str, rows: list[Row], k: int) -> None:
    told: list[Progress] = []
    wanted = SearchSettings(k=k, suppression=1.0, seconds=AT_ONCE, watch=told.append)
    if mode == "within":
        solution = search_parts(tally(rows), HIERARCHIES, wanted, "sex")
    else:
        solution = (search if mode == "optimal" else recode_locally)(tally(rows), HIERARCHIES, wanted)  # type: ignore[assignment]
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    out = solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()
    classes = Counter(tuple(row[name] for name in HIERARCHIES) for row in out if not row["__suppressed"])
    assert min(classes.values(), default=k) >= k
    assert solution.suppressed == sum(row["__suppressed"] for row in out)
    if mode == "optimal":
        best = search(tally(rows), HIERARCHIES, SearchSettings(k=k, suppression=1.0)).loss
        assert solution.loss * (1 - solution.gap) <= best + 1e-9 <= solution.loss + 2e-9  # type: ignore[union-attr]
        assert ("cut" in solution.counts()) == (solution.gap > 0)  # type: ignore[union-attr]


@settings(max_examples=20, deadline=None)
@given(rows=SICK)
def test_local_recoding_that_is_cut_holds_its_models(rows: list[tuple[Row, str]]) -> None:
    wanted = SearchSettings(k=2, suppression=1.0, seconds=AT_ONCE, models=(DistinctL("illness", 2),))
    solution = recode_locally(sick_tally(rows), HIERARCHIES, wanted)
    columns = [pa.array(values, pa.string()) for values in zip(*(row for row, _ in rows), strict=True)]
    out = solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()
    classes: dict[Row, set[str]] = {}
    for published, (_, illness) in zip(out, rows, strict=True):
        if not published["__suppressed"]:
            classes.setdefault(tuple(published[name] for name in HIERARCHIES), set()).add(illness)
    assert all(len(illnesses) >= 2 for illnesses in classes.values())


def test_a_run_says_how_far_its_search_is_and_that_it_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hospital.build(tmp_path / "hospital")
    text = hospital.POLICY.replace("suppression: 0.2}", "suppression: 0.2, time: 0.0001s}")
    monkeypatch.setattr("anonymize.progress.SECONDS", -1)
    said: list[str] = []
    outcomes = []
    for _ in range(2):
        run = Run.open(load(hospital.policy(folder, text)), fresh=True, say=said.append)
        pipeline.to_review(run)
        outcomes.append(run.record.get("generalize", "patient") or {})
        pipeline.discard(run)
    assert outcomes[0] == outcomes[1]
    assert "the budget ended the search" in outcomes[0]["cut"]
    assert any(words.startswith("generalize patient: ") and "nodes counted" in words for words in said)


@pytest.mark.parametrize("words", ["60", "'60'", "soon", "0s"])
def test_what_is_no_time(tmp_path: Path, words: str) -> None:
    folder = hospital.build(tmp_path / "hospital")
    with pytest.raises(PolicyError, match=r"privacy\.time"):
        load(hospital.policy(folder, hospital.POLICY.replace("suppression: 0.2}", f"suppression: 0.2, time: {words}}}")))
