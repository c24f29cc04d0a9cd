"""One subject in several systems is one person: one pseudonym, one shift, wherever a record is from."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from anonymize import pipeline
from anonymize.errors import AnonymizeError, SourceError
from anonymize.lasting import linkage
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.taking_back import retracting
from tests.road import hospital

POLICY = """\
dataset: linked
subject: patient.patient_id
workspace: workspace
sources:
  ehr: {type: sql, url: "sqlite:///ehr.db"}
  lab: {type: csv, path: .}
linkage: {file: map.csv, systems: {ehr: EHR, lab: LIS}, unmatched: quarantine}
tables:
  patient:
    source: ehr
    from: patients
    columns:
      patient_id: identifier pseudonym mrn
      family: identifier drop name
      birth_date: {role: quasi, hierarchy: birth-year, kind: date}
      sex: quasi flat
  stay:
    source: ehr
    from: stays
    columns: {patient_id: identifier pseudonym, admitted: date shift, ward: plain}
  result:
    source: lab
    from: results.csv
    subject: lab_id
    columns: {lab_id: identifier pseudonym mrn, taken: date shift, value: plain, comment: text}
privacy: {k: 2, suppression: 0.9}
checks: {quarantine: 0.5}
review: {required: false}
release: {store: store}
engine: {local: {workers: 1}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Patients 1 to 20 of the hospital; the laboratory calls 1 `L-0100001`. Patient 19 and 20 are one person; L-0100013 is in no map."""
    hospital.build(tmp_path, people=20)
    with sqlite3.connect(tmp_path / "ehr.db") as db:
        db.execute("UPDATE patients SET birth_date='1950-03-04'")
    lab = [f"L-0{100000 + number}" for number in range(1, 19)]
    lines = [f"EHR,{number},P{number}" for number in range(1, 20)] + ["EHR,20,P19"]
    lines += [f"LIS,{key},P{number}" for number, key in enumerate(lab, 1) if number != 13]
    (tmp_path / "map.csv").write_text("system,key,person\n" + "\n".join(lines) + "\n")
    rows = [f"{key},2024-01-1{number % 9},7.{number},Seen as {key} before" for number, key in enumerate(lab, 1)]
    (tmp_path / "results.csv").write_text("lab_id,taken,value,comment\n" + "\n".join(rows) + "\n")
    return tmp_path


def travel(folder: Path, text: str = POLICY, *, fresh: bool = True) -> Run:
    (folder / "policy.yaml").write_text(text)
    run = Run.open(load(folder / "policy.yaml"), fresh=fresh)
    pipeline.to_review(run)
    pipeline.publish(run)
    return run


def published(folder: Path, table: str) -> list[dict[str, object]]:
    return open_version(folder / "store", "linked").dataset(table).to_table().to_pylist()


def test_a_person_has_one_pseudonym_and_one_shift_in_all_systems(folder: Path) -> None:
    run = travel(folder)
    patients, stays, results = (published(folder, table) for table in ("patient", "stay", "result"))
    people = {row["patient_id"] for row in patients}
    assert len(people) == len(patients) == 19
    assert {row["lab_id"] for row in results} <= people
    assert {row["patient_id"] for row in stays} <= people
    assert len(results) == 17
    assert run.record.get("linkage") == {"keys": 37, "persons": 19, "persons_with_several_keys": 1, "incomplete": 0}
    assert (run.record.get("extract", "result") or {})["reasons"] == {"no-person (lab_id)": 1}
    assert (run.record.get("generalize", "patient") or {})["merged"] == 1
    assert not [row for row in results if "L-0" in str(row["comment"])]
    by_value = {row["value"]: row for row in results}
    with sqlite3.connect(folder / "ehr.db") as db:
        first = {row[0]: row[1] for row in db.execute("SELECT patient_id, admitted FROM stays WHERE stay_id % 10 = 2")}
    from datetime import date

    def days(later: object, earlier: object) -> int:
        return (date.fromisoformat(str(later)) - date.fromisoformat(str(earlier))).days

    for number in (1, 2, 3, 4):
        result = by_value[float(f"7.{number}")]
        gaps = {days(row["admitted"], result["taken"]) for row in stays if row["patient_id"] == result["lab_id"]}
        assert days(first[number], f"2024-01-1{number % 9}") in gaps


def test_a_key_that_the_map_does_not_have_can_be_a_person_of_its_own(folder: Path) -> None:
    run = travel(folder, POLICY.replace("unmatched: quarantine", "unmatched: own").replace("patient.patient_id", "patient_id"))
    assert len(published(folder, "result")) == 18
    assert (run.record.get("extract", "result") or {})["quarantined"] == 0


def test_a_map_that_contradicts_itself_is_refused_by_counts(folder: Path) -> None:
    with (folder / "map.csv").open("a") as file:
        file.write("EHR,3,P4\nEHR,5,P6\nLIS,L-0100001,P9\n,8,P8\n")
    with pytest.raises(SourceError, match=r"3 keys are of two persons or more \(2 of system 1, 1 of system 2") as raised:
        travel(folder)
    assert "P4" not in str(raised.value)
    assert "L-0100001" not in str(raised.value)


def test_who_opted_out_in_one_system_is_out_of_all(folder: Path) -> None:
    (folder / "out.csv").write_text("patient_id\n3\n")
    run = travel(folder, POLICY + "optout: {file: out.csv, column: patient_id}\n")
    assert len(published(folder, "patient")) == 18
    assert len(published(folder, "result")) == 16
    assert (run.record.get("extract", "result") or {})["withheld"] == 1


def test_a_retraction_finds_the_person_by_any_systems_key(folder: Path) -> None:
    travel(folder)
    policy = load(folder / "policy.yaml")
    before = len(published(folder, "result"))
    retracting.retract(policy, ["L-0100002"], reason="asked to be erased", by="A. Steward", withdraw=True)
    assert len(published(folder, "patient")) == 18
    assert len(published(folder, "result")) == before - 1


def test_a_key_of_several_persons_is_not_guessed() -> None:
    people = linkage.People({("A", "7"): "P1", ("B", "7"): "P2", ("A", "8"): "P3"}, {"a": "A", "b": "B"}, own=False)
    assert people.anywhere(["8"]) == ["P3"]
    with pytest.raises(AnonymizeError, match="1 of 2 keys are of several persons"):
        people.anywhere(["7", "8"])


def test_a_cohort_of_persons_holds_in_every_system(folder: Path) -> None:
    (folder / "icu.csv").write_text("patient_id\n1\n2\n3\n4\n555\n")
    text = POLICY + "cohort: {file: icu.csv, source: ehr, column: patient_id}\n"
    run = travel(folder, text.replace("unmatched: quarantine", "unmatched: own"))
    assert len(published(folder, "patient")) == 4
    assert len(published(folder, "result")) == 4
    collected = run.record.get("collect") or {}
    assert (collected["cohort"], collected["cohort_in_no_table"]) == (5, 1)
    assert (run.record.get("extract", "result") or {})["not_in_cohort"] == 14
