"""What releases tell together."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.errors import GateFailed
from anonymize.judging.differencing import Differences, Seen, differences
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.road import hospital

#: Never made: nothing here is too large for memory.
SCRATCH = Path("scratch")
PEOPLE = st.dictionaries(st.integers(0, 8), st.sampled_from(["x", "y", None]), min_size=1, max_size=9)


def seen(people: dict[int, str | None]) -> Seen:
    table = pa.table({"id": [str(who) for who in people], "class": pa.array(people.values(), pa.string())})
    return Seen(ds.dataset(table), "id", ("class",))


@settings(max_examples=60, deadline=None)
@given(st.lists(PEOPLE, min_size=2, max_size=3), st.integers(2, 3))
def test_a_person_is_as_hidden_as_her_path_through_the_versions(versions: list[dict[int, str | None]], k: int) -> None:
    *earlier, now = versions
    found = differences(seen(now), [seen(one) for one in earlier], k, SCRATCH)
    if not set(now) & set(earlier[-1]):
        assert found == Differences(linked=False)
        return
    absent = object()
    paths = {who: tuple(one.get(who, absent) for one in versions) for who in set().union(*versions)}  # type: ignore[arg-type]
    sizes = Counter(paths.values())
    assert found.smallest == min(sizes.values())
    assert found.short == sum(sizes[path] < k for path in paths.values())
    assert found.added == len(set(now) - set(earlier[-1]))
    assert found.removed == len(set(earlier[-1]) - set(now))
    assert found.changed == sum(earlier[-1][who] != now[who] for who in set(now) & set(earlier[-1]))


def test_people_of_several_rows_are_counted_once() -> None:
    rows: dict[str, list[str]] = defaultdict(list)
    for who in "abc":
        for value in ("x", "y"):
            rows["id"].append(who)
            rows["class"].append(value)
    both = Seen(ds.dataset(pa.table(dict(rows))), "id", ("class",))
    assert differences(both, [both], 3, SCRATCH) == Differences(True, 0, 0, 0, 3, 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    return hospital.build(tmp_path / "hospital")


def travel(file: Path, run_id: str) -> Run:
    run = Run.open(load(file), run_id=run_id)
    pipeline.to_review(run)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    return run


def one_more(folder: Path) -> None:
    """One patient is admitted between the releases, and is like many others."""
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute(
            "INSERT INTO patients SELECT 999, 'MRN-999999', family, given, birth_date, sex, zip, '617-555-9999', 'x' FROM patients LIMIT 1"
        )


def gates(run: Run) -> dict[str, dict[str, object]]:
    return {gate["gate"]: gate for gate in (run.record.get("validate") or run.record.get("judged") or {})["gates"]}


def test_the_only_one_who_was_added_is_told_to_the_steward(folder: Path) -> None:
    file = hospital.policy(folder)
    assert "differences" not in gates(travel(file, "first"))
    same = gates(travel(file, "second"))["differences"]
    assert same["passed"]
    assert "0 subjects added, 0 gone, 0 changed" in str(same["words"])
    one_more(folder)
    told = gates(travel(file, "third"))["differences"]
    assert told["passed"]
    assert "1 subjects added" in str(told["words"])
    assert " 0 stand out" not in str(told["words"])


def test_a_policy_may_hold_her_back(folder: Path) -> None:
    file = hospital.policy(folder)
    file.write_text(file.read_text().replace("privacy: {k: 3", "privacy: {differences: hold, k: 3"))
    travel(file, "first")
    travel(file, "second")
    one_more(folder)
    with pytest.raises(GateFailed, match="1 subjects added"):
        travel(file, "third")


def test_another_pseudonym_joins_the_versions_where_the_subjects_own_does_not_leave(folder: Path) -> None:
    file = hospital.policy(folder)
    text = file.read_text().replace("patient_id: identifier pseudonym\n      mrn: identifier drop mrn", "mrn: identifier pseudonym mrn")
    assert "mrn: identifier pseudonym mrn" in text
    file.write_text(text)
    travel(file, "first")
    one_more(folder)
    told = gates(travel(file, "second"))["differences"]
    assert "1 subjects added" in str(told["words"])
