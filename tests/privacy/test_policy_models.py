"""What a policy asks of sensitive values: searched for, recounted at the gate, and refused before the first record where it cannot be."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from anonymize import asking, pipeline, releasing, sampling
from anonymize.errors import GateFailed, PolicyError
from anonymize.hierarchies import build
from anonymize.judging import gates
from anonymize.judging.recount import Wanted
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.road import hospital


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    return hospital.build(tmp_path / "hospital")


def policy(folder: Path, privacy: str, **columns: str) -> Path:
    file = hospital.policy(folder)
    text = file.read_text().replace("privacy: {k: 3, suppression: 0.2}", f"privacy: {{k: 3, suppression: 0.2, {privacy}}}")
    rules = {"sex": "quasi flat", "ward": "plain", "charge": "plain round -2"}
    for column, rule in columns.items():
        assert f"{column}: {rules[column]}" in text
        text = text.replace(f"{column}: {rules[column]}", f"{column}: {rule}")
    file.write_text(text)
    return file


CHARGE = "quasi ranges:0..10000:500,2000"


@pytest.mark.parametrize("mode", ["optimal", "local"])
def test_each_class_holds_what_is_asked(folder: Path, mode: str) -> None:
    asked = f'mode: {mode}, l: ["sex:2"], t: ["ward:0.45"], beta: ["sex:basic:1.2"]'
    run = Run.open(load(policy(folder, asked, sex="sensitive", ward="sensitive", charge=f'"{CHARGE}"')))
    pipeline.to_review(run)
    gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
    assert gates["sensitive values"]["passed"]
    assert len(gates["sensitive values"]["words"]) == 2
    levels = (run.record.get("generalize", "patient") or {})["levels"]
    assert set(levels) == {"birth_date", "zip"}


@pytest.mark.parametrize("asked", ["microaggregate:4", "microaggregate:4,median", "quantiles:8,4,2"])
def test_groups_that_come_from_the_data_hold_at_the_gates(folder: Path, asked: str) -> None:
    run = Run.open(load(policy(folder, "attacker: demographics", charge=f'"quasi {asked}"')))
    pipeline.to_review(run)
    staged = ds.dataset(run.folder("stage", "stay")).to_table(["charge"]).to_pylist()
    subjects = ds.dataset(run.folder("subjects", "stay")).to_table().to_pylist()
    classes: dict[str, set[str]] = defaultdict(set)
    for row, whose in zip(staged, subjects, strict=True):
        classes[row["charge"]].add(whose["__subject"])
    assert len(classes) > 1
    assert min(map(len, classes.values())) >= 3


def test_hierarchical_closeness_takes_the_hierarchy_of_the_rule(folder: Path) -> None:
    rule = '{role: sensitive, hierarchy: "ordered:ER<ICU"}'
    run = Run.open(load(policy(folder, 't: ["ward:hierarchical:0.5"]', ward=rule, charge=f'"{CHARGE}"')))
    pipeline.to_review(run)
    gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
    assert gates["sensitive values"]["passed"]


def test_a_class_that_breaks_it_stops_the_release(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(load(policy(folder, 'l: ["sex:2"]', sex="sensitive")))
    monkeypatch.setattr(gates.asking, "wanted", lambda *_: Wanted(3, diversity=(("sex", "distinct", (3.0,)),)))
    with pytest.raises(GateFailed, match="classes are not distinct 3-diverse in sex"):
        pipeline.to_review(run)


PEOPLE = ["birth,sex,plz,persons"] + [
    f"{year}-07-01,{sex},{code},{2 + year % 3}" for year in range(1930, 1980) for sex in "FM" for code in (2139, 2138, 2141, 2142, 3601)
]


def populated(folder: Path, asked: str, more: str = "") -> Run:
    (folder / "people.csv").write_text("\n".join(PEOPLE) + "\n")
    columns = "columns: {birth_date: birth, zip: plz}, count: persons"
    return Run.open(load(policy(folder, f"population: {{file: people.csv, {columns}, {asked}}}{more}")))


@pytest.mark.parametrize(
    ("asked", "more"),
    [("k-map: 40, k: 1", ""), ("k-map: 40", ", mode: local"), ("k-map: 20, k: 1", ', within: "zip"'), ("presence: [0, 0.06]", "")],
)
def test_each_class_stands_for_people_of_the_population(folder: Path, asked: str, more: str) -> None:
    run = populated(folder, asked, more)
    pipeline.to_review(run)
    gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
    assert gates["population"]["passed"]
    staged = ds.dataset(run.folder("stage", "patient")).to_table().to_pylist()
    classes = Counter((row["birth_date"], row["sex"], row["zip"]) for row in staged)
    years, places = build("birth-year:2026"), build("us-zip3")
    levels = (run.record.get("generalize", "patient") or {})["levels"]
    counted: Counter[tuple[str, str, str]] = Counter()
    for birth, sex, code, persons in (line.split(",") for line in PEOPLE[1:]):
        ladder = [
            {
                h.generalize(pa.array([v]), level)[0].as_py()
                for level, word in enumerate(h.levels)
                if word in ([at] if isinstance(at, str) else at)
            }
            for h, v, at in ((years, birth, levels["birth_date"]), (build("flat"), sex, levels["sex"]), (places, code, levels["zip"]))
        ]
        for published in itertools.product(*ladder):
            counted[published] += int(persons)
    words = asked.split()
    for published, number in classes.items():
        assert number / counted[published] <= 0.06 + 1e-9 if words[0] == "presence:" else counted[published] >= int(words[1].strip(","))
    assert min(classes.values()) < 3 or "k: 1" not in asked or more


def test_a_population_that_does_not_cover_a_class_stops_the_release(folder: Path) -> None:
    run = populated(folder, "k-map: 40, k: 1")
    for step in (pipeline.check, pipeline.collect, pipeline.generalize):
        if step is pipeline.collect:
            for table in run.policy.tables:
                pipeline.extract(run, table)
        if step is pipeline.generalize:
            for table in run.policy.tables:
                pipeline.deidentify(run, table)
        step(run)
    (folder / "people.csv").write_text("\n".join(PEOPLE[:200]) + "\n")
    with pytest.raises(GateFailed, match="classes have fewer than 40 people of the population"):
        pipeline.validate(run)


SAFE = """\
dataset: small
subject: patient.patient_id
workspace: workspace
sources: {ehr: {type: sql, url: "sqlite:///ehr.db"}}
tables:
  patient:
    from: patients
    columns:
      patient_id: identifier drop
      birth_date: {role: quasi, hierarchy: "birth-year:2026", min-level: 3, max-level: 3}
      sex: {role: quasi, hierarchy: flat, min-level: 0, max-level: 0}
privacy: {k: 2, suppression: 1.0, sampling: {share: 0.5, epsilon: 1.5, delta: 0.01}}
release: {store: store}
engine: {local: {workers: 1}}
"""


def test_a_safe_sample_is_drawn_by_the_key_and_judged_anew(folder: Path) -> None:
    hospital.build(folder / "more", people=400)
    rows = []
    for _ in range(2):
        run = Run.open(load(hospital.policy(folder / "more", SAFE)), fresh=True)
        pipeline.to_review(run)
        rows.append(ds.dataset(run.folder("stage", "patient")).to_table().to_pylist())
        asked = asking.k_of(run.policy, "patient")
        assert min(Counter(tuple(row.values()) for row in rows[-1]).values()) >= asked > 2
        gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
        assert gates["safe sampling"]["passed"]
        assert releasing.facts(run).privacy.suppressed is None
        pipeline.discard(run)
    assert rows[0] == rows[1]
    assert 120 < len(rows[0]) < 280


def test_a_sample_with_others_in_it_stops_the_release(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital.build(folder / "more", people=400)
    run = Run.open(load(hospital.policy(folder / "more", SAFE)))
    monkeypatch.setattr(sampling.Draw, "__call__", lambda self, batch: batch.append_column(sampling.DRAWN, pa.array([True] * len(batch))))
    with pytest.raises(GateFailed, match="rows are of subjects who were not drawn"):
        pipeline.to_review(run)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("suppression: 1.0", "suppression: 0.5", "suppression: 1.0"),
        (", min-level: 3, max-level: 3", "", "same min-level and max-level"),
        ("identifier drop", "identifier pseudonym", "leaves as it is"),
        ("k: 2,", "k: 2, mode: local,", "mode: local"),
        ("epsilon: 1.5", "epsilon: 0.5", "'epsilon' must be at least"),
        ("patient.patient_id", "patient_id", "names no subject table"),
    ],
)
def test_what_the_theorem_does_not_cover_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    assert old in SAFE
    with pytest.raises(PolicyError, match=said):
        pipeline.check(Run.open(load(hospital.policy(folder, SAFE.replace(old, new)))))


@pytest.mark.parametrize(
    ("privacy", "columns", "said"),
    [
        ('l: ["nosuch:2"]', {}, "no table publishes a column 'nosuch'"),
        ('l: ["sex:2"]', {}, "'sex' is a quasi-identifier"),
        ('l: ["ward:2"]', {"ward": "sensitive"}, "the table of 'ward' has no quasi-identifiers"),
        ('l: ["sex:1"]', {"sex": "sensitive"}, "no l-diversity"),
        ('t: ["sex:hierarchical:0.2"]', {"sex": "sensitive"}, "needs a hierarchy in its rule"),
        ('beta: ["sex:0"]', {"sex": "sensitive"}, "no beta-likeness"),
        ("population: {file: none.csv, k-map: 5}", {}, "no such file"),
        ("population: {file: none.csv}", {}, "asks nothing"),
        ("mode: local, population: {file: ehr.db, presence: [0, 0.2]}", {}, "do not overlap"),
        ('t: ["sex:far:0.2"]', {"sex": "sensitive"}, "privacy.t"),
    ],
)
def test_what_cannot_be_asked_stops_the_run_before_the_first_record(folder: Path, privacy: str, columns: dict[str, str], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        pipeline.check(Run.open(load(policy(folder, privacy, **columns))))
