"""An attacker who knows demographics and some events: nobody is singled out by any combination of them."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import pipeline
from anonymize.errors import AnonymizeError, PolicyError
from anonymize.hierarchies import build
from anonymize.hierarchies.tables import CsvHierarchy
from anonymize.judging.recount import Rows, Wanted, combinations_fail, smallest_combination
from anonymize.policy.loader import load
from anonymize.privacy import SearchSettings, search_events
from anonymize.privacy.events import DEMOGRAPHICS, About, as_one_text
from anonymize.privacy.models import BetaLikeness, CloseT, DistinctL, Model
from anonymize.run import Run
from tests.road import hospital

DIAGNOSES = {"E10": ("E10", "E", "*"), "E11": ("E11", "E", "*"), "J45": ("J45", "J", "*")}
LADDERS = {"code": CsvHierarchy(DIAGNOSES, 3, "code"), "ward": build("flat")}
EVENTS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([*DIAGNOSES, None]), st.sampled_from(["ICU", "ER"])), min_size=1, max_size=30)
Event = tuple[int, str | None, str]


def tally(events: list[Event], about: dict[int, str]) -> pa.Table:
    counts = Counter(events)
    return pa.table(
        {
            "code": pa.array([code for _, code, _ in counts], pa.string()),
            "ward": [ward for *_, ward in counts],
            DEMOGRAPHICS: [about[who] for who, *_ in counts],
            "who": [str(who) for who, *_ in counts],
            "subjects": pa.array(counts.values(), pa.int64()),
        }
    )


def supports(sets: dict[int, set[object]], about: dict[int, str], m: int) -> Counter[tuple[object, ...]]:
    """How many subjects share each combination of demographics and up to m things."""
    found: Counter[tuple[object, ...]] = Counter()
    for who, things in sets.items():
        for size in range(1, m + 1):
            found.update((about[who], *chosen) for chosen in itertools.combinations(sorted(things, key=repr), size))
    return found


@settings(max_examples=80, deadline=None)
@given(EVENTS, st.lists(st.sampled_from("ab"), min_size=10, max_size=10), st.integers(1, 3), st.integers(1, 3), st.data())
def test_no_combination_singles_anybody_out(events: list[Event], classes: list[str], k: int, m: int, data: st.DataObject) -> None:
    about = dict(enumerate(classes))
    earlier = data.draw(st.sets(st.integers(0, 9)).filter(lambda s: all(sum(about[w] == c for w in s) in (0, *range(k, 11)) for c in "ab")))
    before = pa.table({"who": [str(who) for who in sorted(earlier)], "item": ["seen before"] * len(earlier)})
    wanted = SearchSettings(k=k, suppression=1.0)
    solution = search_events(tally(events, about), LADDERS, wanted, m, subject="who", before=before)
    batch = pa.record_batch(
        {
            "code": pa.array([code for _, code, _ in events], pa.string()),
            "ward": pa.array([ward for *_, ward in events]),
            DEMOGRAPHICS: pa.array([about[who] for who, *_ in events]),
        }
    )
    out = solution.apply(batch).to_pylist()
    things: dict[int, set[object]] = defaultdict(set)
    for (who, *_), row in zip(events, out, strict=True):
        if not row["__suppressed"]:
            things[who].add((row["code"], row["ward"]))
    for who in earlier:
        things[who].add("seen before")
    found = supports(things, about, m)
    assert min(found.values(), default=k) >= k
    assert solution.suppressed == sum(row["__suppressed"] for row in out)
    mixed = [n for combination, n in found.items() if any(isinstance(thing, tuple) for thing in combination[1:])]
    assert solution.k == min(mixed, default=0)


BLOOD = st.lists(st.sampled_from(["A", "B", "O", None]), min_size=10, max_size=10)
ASKED: dict[str, tuple[Model, Callable[[Counter[str | None], Counter[str | None]], bool]]] = {
    "l": (DistinctL("blood", 2), lambda here, _: len(here) >= 2),
    "t": (
        CloseT("blood", 0.4),
        lambda here, whole: sum(abs(here[v] / here.total() - n / whole.total()) for v, n in whole.items()) / 2 <= 0.4 + 1e-9,
    ),
    "beta": (
        BetaLikeness("blood", 1.0, enhanced=False),
        lambda here, whole: all(n / here.total() <= 2 * whole[v] / whole.total() + 1e-9 for v, n in here.items()),
    ),
}


def sharing(sets: dict[int, set[object]], about: dict[int, str], m: int) -> dict[tuple[object, ...], list[int]]:
    """Who shares each combination of demographics and up to m things."""
    found: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for who, things in sets.items():
        for size in range(1, m + 1):
            for chosen in itertools.combinations(sorted(things, key=repr), size):
                found[about[who], *chosen].append(who)
    return found


@pytest.mark.parametrize("name", list(ASKED))
@settings(max_examples=40, deadline=None)
@given(events=EVENTS, classes=st.lists(st.sampled_from("ab"), min_size=10, max_size=10), blood=BLOOD, m=st.integers(1, 3))
def test_what_is_asked_of_people_holds_of_all_who_share_events(
    name: str, events: list[Event], classes: list[str], blood: list[str | None], m: int
) -> None:
    model, definition = ASKED[name]
    about, whole = dict(enumerate(classes)), Counter(blood)
    order = pa.array(list(whole), pa.string())
    values = pa.table({"who": [str(who) for who in about], "blood": pa.array(blood, pa.string())})
    asked = About(values, (model,), {"blood": np.array(list(whole.values()))}, {"blood": order})
    solution = search_events(tally(events, about), LADDERS, SearchSettings(k=2, suppression=1.0), m, subject="who", about=asked)
    columns = {"code": pa.array([code for _, code, _ in events], pa.string()), "ward": pa.array([ward for *_, ward in events])}
    out = solution.apply(pa.record_batch({**columns, DEMOGRAPHICS: pa.array([about[who] for who, *_ in events])})).to_pylist()
    things: dict[int, set[object]] = defaultdict(set)
    for (who, *_), row in zip(events, out, strict=True):
        if not row["__suppressed"]:
            things[who].add((row["code"], row["ward"]))
    for people in sharing(things, about, m).values():
        assert len(people) >= 2
        assert definition(Counter(blood[who] for who in people), whole)


@settings(max_examples=25, deadline=None)
@given(events=EVENTS, classes=st.lists(st.sampled_from("ab"), min_size=10, max_size=10), blood=BLOOD, m=st.integers(1, 3))
def test_the_gate_counts_whom_a_combination_does_not_protect(events: list[Event], classes: list[str], blood: list[str | None], m: int) -> None:
    import tempfile

    about, whole = dict(enumerate(classes)), Counter(blood)
    things: dict[int, set[object]] = defaultdict(set)
    for who, *thing in events:
        things[who].add(tuple(thing))
    wanted = Wanted(2, (("blood", "distinct", (2.0,)),), (("blood", "equal", 0.4),), {"blood": whole}, likeness=(("blood", "basic", 1.0),))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(pa.table({"class": list(about.values()), "blood": pa.array(blood, pa.string())}), folder / "p.parquet")
        pq.write_table(pa.table({"__subject": [str(who) for who in about]}), folder / "pw.parquet")
        codes = pa.array([code for _, code, _ in events], pa.string())
        pq.write_table(pa.table({"code": codes, "ward": [w for *_, w in events]}), folder / "e.parquet")
        pq.write_table(pa.table({"__subject": [str(who) for who, *_ in events]}), folder / "ew.parquet")
        people = Rows([folder / "p.parquet"], [folder / "pw.parquet"], ("class",))
        failed = combinations_fail(people, [Rows([folder / "e.parquet"], [folder / "ew.parquet"], ("code", "ward"))], m, wanted)
    shared = [Counter(blood[who] for who in group) for group in sharing(things, about, m).values()]
    expected = [sum(not definition(counts, whole) for counts in shared) for _, definition in ASKED.values()]
    assert sorted(int(words.split()[0]) for words in failed) == sorted(number for number in expected if number)


def test_more_events_known_is_more_lost() -> None:
    about = dict.fromkeys(range(10), "a")
    events: list[Event] = [(who, code, "ER") for who in range(10) for code in (["E10", "J45"] if who < 2 else ["E10"] if who < 6 else ["J45"])]
    losses = [search_events(tally(events, about), LADDERS, SearchSettings(k=3, suppression=1), m, subject="who").loss for m in (1, 2)]
    assert losses[0] == 0
    assert losses[1] > 0, "two people have both codes, and k is three"


def test_what_cannot_be_reached_says_what_to_do() -> None:
    about = {0: "a", 1: "b"}
    with pytest.raises(AnonymizeError, match="Ask for fewer events"):
        search_events(tally([(0, "E10", "ER"), (1, "E10", "ER")], about), LADDERS, SearchSettings(k=2, suppression=0.1), 1, subject="who")


@given(st.lists(st.tuples(st.sampled_from(["", "1:", "a", None]), st.sampled_from(["", "-:", "1:a", None])), min_size=2, max_size=2))
def test_one_text_is_equal_where_the_tuples_are(rows: list[tuple[str | None, str | None]]) -> None:
    texts = as_one_text([pa.array(values, pa.string()) for values in zip(*rows, strict=True)], 2).to_pylist()
    assert (texts[0] == texts[1]) == (rows[0] == rows[1])


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.lists(st.sampled_from("ab"), min_size=10, max_size=10), st.integers(1, 3))
def test_the_recount_is_by_the_definition(events: list[Event], classes: list[str], m: int) -> None:
    import tempfile

    about = dict(enumerate(classes))
    things: dict[int, set[object]] = defaultdict(set)
    for who, *thing in events:
        things[who].add(tuple(thing))
    found = supports(things, about, m)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(pa.table({"class": list(about.values())}), folder / "p.parquet")
        pq.write_table(pa.table({"__subject": [str(who) for who in about]}), folder / "pw.parquet")
        codes = pa.array([code for _, code, _ in events], pa.string())
        pq.write_table(pa.table({"code": codes, "ward": [w for *_, w in events]}), folder / "e.parquet")
        pq.write_table(pa.table({"__subject": [str(who) for who, *_ in events]}), folder / "ew.parquet")
        people = Rows([folder / "p.parquet"], [folder / "pw.parquet"], ("class",))
        rows = Rows([folder / "e.parquet"], [folder / "ew.parquet"], ("code", "ward"))
        assert smallest_combination(people, [rows], m) == (min(found.values()), len(found))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    return hospital.build(tmp_path / "hospital", people=150)


def policy(folder: Path, attacker: str, more: str = "") -> Path:
    file = hospital.policy(folder)
    text = file.read_text().replace("privacy: {k: 3, suppression: 0.2}", f"privacy: {{k: 3, suppression: 0.6, attacker: {attacker}{more}}}")
    file.write_text(
        text.replace("ward: plain", "ward: quasi flat").replace("charge: plain round -2", 'charge: "quasi ranges:0..20000:5000,10000"')
    )
    return file


@pytest.mark.parametrize("m", [1, 2])
def test_a_policy_names_the_attacker_and_the_gate_counts_for_her(folder: Path, m: int) -> None:
    run = Run.open(load(policy(folder, f"demographics + {m} events")))
    pipeline.to_review(run)
    gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
    assert "holds k = 3" in gates["events"]["words"][0]
    counts = run.record.get("generalize", "stay") or {}
    assert counts["events"] == m
    assert "__demographics" not in pq.read_schema(next(run.folder("stage", "stay").glob("*.parquet"))).names


def test_people_who_share_events_differ_in_what_is_sensitive(folder: Path) -> None:
    file = policy(folder, "demographics + 1 event", ', l: ["sex:2"]')
    file.write_text(file.read_text().replace("sex: quasi flat", "sex: sensitive"))
    run = Run.open(load(file))
    pipeline.to_review(run)
    gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
    assert gates["events"]["passed"]
    file.write_text(file.read_text().replace('l: ["sex:2"]', 'l: ["ward:2"]').replace("ward: quasi flat", "ward: sensitive"))
    with pytest.raises(PolicyError, match="a person has several"):
        pipeline.check(Run.open(load(file), fresh=True))


def test_tables_by_themselves_would_single_people_out(folder: Path) -> None:
    run = Run.open(load(policy(folder, "demographics")))
    pipeline.to_review(run)

    def rows(table: str, *columns: str) -> Rows:
        return Rows(*(sorted(run.folder(kind, table).glob("*.parquet")) for kind in ("stage", "subjects")), columns)

    smallest, _ = smallest_combination(rows("patient", "birth_date", "sex", "zip"), [rows("stay", "ward", "charge")], 1)
    assert smallest < 3


def test_an_attacker_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(PolicyError, match=r"privacy\.attacker"):
        load(policy(folder, "demographics + 9 events"))
