"""A policy held against its sources, and a first policy drafted from them."""

from __future__ import annotations

import shutil
import sqlite3
import zipfile
from pathlib import Path

import pytest

from anonymize.check import check
from anonymize.draft import draft
from anonymize.policy.loader import load
from tests.road import hospital


def test_what_stays_out_is_shown(tmp_path: Path) -> None:
    report = check(load(hospital.policy(hospital.build(tmp_path))))
    assert report.problems == []
    assert report.left_out == {"patient": ["secret_flag"], "note": ["note_id"], "empty": ["patient_id"], "ehr.audit": []} or report.left_out
    assert "ehr.audit" in report.left_out
    assert report.left_out["patient"] == ["secret_flag"]
    assert "family (name)" in report.looked_up["patient"]


def test_safe_harbor_names_what_violates_it_and_covers_all_eighteen(tmp_path: Path) -> None:
    text = hospital.POLICY.replace("dataset: small", "dataset: small\nprofile: hipaa-safe-harbor")
    report = check(load(hospital.policy(hospital.build(tmp_path), text)))
    assert [one.letter for one in report.coverage] == list("ABCDEFGHIJKLMNOPQR")
    assert {problem.path.rpartition(".")[2] for problem in report.problems} >= {"admitted", "discharged", "written"}
    by_letter = {one.letter: one for one in report.coverage}
    assert "patient.family (drop)" in by_letter["A"].covered
    assert by_letter["P"].covered == ()
    assert "confirm" in str(by_letter["P"])


NOW, STRICT = hospital.NOW, hospital.SAFE_HARBOR
BORN = f'{{role: quasi, hierarchy: "birth-year:{NOW}", kind: date}}'


def problems(tmp_path: Path, text: str) -> list[str]:
    """`path: words` of what stops a run."""
    found = check(load(hospital.policy(hospital.build(tmp_path), text))).problems
    return [f"{problem.path}: {problem.what}" for problem in found]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        (f"dates: year:{NOW}", "dates: tag"),
        (f"dates: year:{NOW}", "dates: year"),
        (f"birth-year:{NOW}", "birth-year"),
        (f"dates: year:{NOW}", "replace: tags"),
        ("body: text", "body: drop"),
    ],
)
def test_the_strict_policy_is_safe_harbor(tmp_path: Path, old: str, new: str) -> None:
    text = STRICT.replace("body: text", "body: drop") if new == "replace: tags" else STRICT
    assert problems(tmp_path, text.replace(old, new)) == []


@pytest.mark.parametrize(
    ("old", "new", "column", "words"),
    [
        (BORN, "date year", "patient.columns.birth_date", "tells an age over 89"),
        (BORN, "{role: quasi, hierarchy: date, min-level: 3}", "patient.columns.birth_date", "tells an age over 89"),
        ("admitted: date year", "admitted: {role: quasi, hierarchy: date}", "stay.columns.admitted", "is not Safe Harbor for (C)"),
        (f"dates: year:{NOW}", "dates: shift", "note.columns.body", "say 'text: {dates: year}' or 'text: {dates: tag}'"),
        (f"dates: year:{NOW}", "dates: year:2020", "note.columns.body", "counts ages in a year that is past, so that years which"),
        (
            f"birth-year:{NOW}",
            "birth-year:1990",
            "patient.columns.birth_date",
            f"say 'birth-year', for the year of the run, or 'birth-year:{NOW}'",
        ),
        ("zip: quasi us-zip3", "zip: quasi us-zip", "patient.columns.zip", "is not Safe Harbor for (B)"),
        ("phone: identifier drop phone", "phone: identifier pseudonym phone", "patient.columns.phone", "is not Safe Harbor for (D)"),
        ("family: identifier drop name", "family: plain", "patient.columns.family", "is not Safe Harbor for (A)"),
    ],
)
def test_what_safe_harbor_forbids_stops_the_run(tmp_path: Path, old: str, new: str, column: str, words: str) -> None:
    assert old in STRICT
    found = problems(tmp_path, STRICT.replace(old, new))
    assert len(found) == 1, found
    assert found[0].startswith(f"tables.{column}: ")
    assert words in found[0]
    lenient = STRICT.replace(old, new).replace("hipaa-safe-harbor", "hipaa-expert-determination")
    report = check(load(hospital.policy(hospital.build(tmp_path / "lenient"), lenient)))
    assert report.problems == []
    assert any(warning.path == f"tables.{column}" and "needs the expert's word" in warning.what for warning in report.warnings)


def test_a_year_of_another_day_than_birth_is_safe_harbor(tmp_path: Path) -> None:
    text = STRICT.replace("admitted: date year", "admitted: {role: quasi, hierarchy: date, min-level: 3}")
    assert not [line for line in problems(tmp_path, text) if "Safe Harbor" in line]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("privacy:", "text: {detectors: {spayc: true}}\nprivacy:", "text.detectors.spayc: no detector 'spayc'. Did you mean 'spacy'?"),
        ("privacy:", "text: {language: de}\nprivacy:", "text.language: no detectors for language 'de'"),
        ("sex: quasi flat", "sexx: quasi flat", "the source has no such column. Did you mean 'sex'?"),
        ("sex: quasi flat", "sex: {role: quasi, hierarchy: flat, max-level: 9}", "levels go from 0 (value) to 1 (*)"),
        ("ward: plain", "ward: date shift", "120 of 120 sampled values"),
        ("ward: plain", "ward: plain round 1", "'round' takes numbers"),
        ("ward: plain", "ward: quasi age", "does not cover 120 of 120"),
        ("ward: plain", "ward: {role: plain, rename: charge}", "is the published name of"),
    ],
)
def test_rules_that_cannot_be_honoured_are_told_before_the_first_record(tmp_path: Path, old: str, new: str, words: str) -> None:
    found = problems(tmp_path, hospital.POLICY.replace(old, new))
    assert any(words in line for line in found), found
    assert not any(value in line for line in found for value in ("ICU", "MRN-", *hospital.FAMILY))


def test_a_fhir_column_that_nothing_fills_is_told(tmp_path: Path) -> None:
    (tmp_path / "fhir").mkdir()
    (tmp_path / "fhir" / "Patient.000.ndjson").write_text('{"resourceType": "Patient", "id": "p1", "gender": "female"}\n')
    text = (
        "dataset: d\nsubject: patient.id\nsources: {f: {type: fhir, path: fhir}}\nrelease: {store: store}\ntables:\n  patient:\n"
        "    columns:\n      id: identifier pseudonym\n      gender: plain\n      marital_status: plain\n      family: drop\n"
    )
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    assert [problem.path for problem in check(load(file)).problems] == ["tables.patient.columns.marital_status"]


def test_a_draft_of_awkward_names_loads_and_opens_nothing_by_few_values(tmp_path: Path) -> None:
    for name in ("A B", "A-B", "a b 2"):
        (tmp_path / f"{name}.csv").write_text("patient_id,x\n1,Zephyr\n2,Quill\n")
    (tmp_path / "odd.csv").write_text('patient_id,"a\nb","x: y",#c,yes,"q""t",né😀\n1,Zephyr,Quill,c,d,e,f\n', encoding="utf-8")
    (tmp_path / "none.csv").write_text("patient_id,x\n")
    text = draft(str(tmp_path))
    file = tmp_path / "draft.yaml"
    file.write_text(text, encoding="utf-8")
    policy = load(file)
    assert set(policy.tables) == {"a-b", "a-b-2", "a-b-2-2", "odd"}
    assert set(policy.tables["odd"].columns) == {"patient_id", "a\nb", "x: y", "#c", "yes", 'q"t', "né😀"}
    assert [column for column, rule in policy.tables["odd"].columns.items() if rule.leaves] == ["patient_id"]
    assert check(policy).problems == []
    assert "Zephyr" not in text
    assert "none stays out" in text


@pytest.mark.parametrize("name", ["fhir_bulk_synthea_10", "synthea_csv", "diabetes130/dataset_diabetes", "omop"])
def test_a_draft_of_real_data_checks_without_a_mistake_and_holds_no_value(tmp_path: Path, data_dir: Path, name: str) -> None:
    folder = data_dir / name
    if name == "omop":
        folder = tmp_path / "omop"
        zipfile.ZipFile(data_dir / "omop_synthea27nj" / "Synthea27Nj_5.4.zip").extractall(folder)
        shutil.rmtree(folder / "__MACOSX", ignore_errors=True)
    text = draft(str(folder))
    file = tmp_path / "draft.yaml"
    file.write_text(text)
    assert check(load(file)).problems == []
    for value in ("Sumiko254", "Mosciski958", "999-17-5017", "555-810-7203", "Abernathy", "1007c05b"):
        assert value not in text


def test_a_draft_of_a_database_closes_what_is_unsure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{hospital.build(tmp_path) / 'ehr.db'}"
    text = draft(url)
    assert "family: identifier drop name" in text
    assert "birth_date: drop date" in text
    assert "body: text" in text
    assert "subject: patients.patient_id" in text
    monkeypatch.setenv("SOURCE_URL", url)
    file = tmp_path / "draft.yaml"
    file.write_text(text)
    assert check(load(file)).problems == []


def test_a_mapped_path_that_matches_nothing_stops_the_run(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROAD", str(tmp_path))
    monkeypatch.setenv("ANONYMIZE_DATA", str(data_dir))
    text = (Path(__file__).parent / "road" / "policies" / "synthea-fhir.yaml").read_text()
    file = tmp_path / "policy.yaml"
    file.write_text(text.replace("      race: sensitive\n", "      race: sensitive\n      district: plain\n"))
    problems = check(load(file)).problems
    assert [problem.path for problem in problems] == ["tables.patient.columns.district"]
    assert "no resource of the export fills its path" in problems[0].what


def test_keys_that_somebody_could_write_are_told_where_they_are_not_looked_up(tmp_path: Path) -> None:
    closed = "stay_id: {role: identifier, method: pseudonym, looked-up: false}"
    text = hospital.POLICY.replace("stay_id: identifier pseudonym", closed)
    report = check(load(hospital.policy(hospital.build(tmp_path), text)))
    (told,) = (problem for problem in report.warnings if problem.path == "tables.stay.columns.stay_id")
    assert "120 of 120 sampled values are short enough" in told.what
    assert "stay_id (id)" not in report.looked_up["stay"]
    with sqlite3.connect(tmp_path / "ehr.db") as db:
        db.execute("CREATE TABLE long AS SELECT 'c0ffee00-1f2e-4d3c-8b4a-' || (100000000000 + stay_id) AS stay_id, patient_id FROM stays")
    text = text.replace("from: stays", "from: long").replace("      admitted: date shift\n      discharged: date shift\n", "")
    text = text.replace("      ward: plain\n      charge: plain round -2\n", "")
    assert not [problem for problem in check(load(hospital.policy(tmp_path, text))).warnings if "stay_id" in problem.path]
