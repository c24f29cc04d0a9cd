"""A policy held against its sources, and a first policy drafted from them."""

from __future__ import annotations

import shutil
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
    mended = text.replace("admitted: date shift", "admitted: date year").replace("discharged: date shift", "discharged: date year")
    mended = mended.replace("written: date shift", "written: date year").replace("ward: plain", "ward: drop")
    assert check(load(hospital.policy(tmp_path, mended))).problems == []


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
