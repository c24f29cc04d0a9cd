"""Four real inputs, each down the whole road. What is proven here is proven by searches of its own, not by the gates."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.publish import Version, open_version
from anonymize.run import Run

POLICIES = Path(__file__).parent / "policies"
Travel = Callable[[str], Version]


@pytest.fixture(scope="module")
def travel(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Travel:
    """Take a policy's data to a published version; once a policy."""
    done: dict[str, Version] = {}

    def go(name: str) -> Version:
        if name not in done:
            road = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ROAD", str(road))
                patch.setenv("ANONYMIZE_DATA", str(data_dir))
                patch.setenv("OMOP", str(road / "omop"))
                patch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
                if name == "omop":
                    zipfile.ZipFile(data_dir / "omop_synthea27nj" / "Synthea27Nj_5.4.zip").extractall(road / "omop")
                run = Run.open(load(POLICIES / f"{name}.yaml"))
                pipeline.to_review(run)
                pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
                pipeline.publish(run)
                assert not run.workspace.exists()
                done[name] = open_version(road / "store", name, verify=True)
        return done[name]

    return go


def everything(version: Version) -> str:
    """All values of all columns of a version, as one text."""
    tables = [version.dataset(table.name).to_table().to_pylist() for table in version.manifest.tables]
    return json.dumps(tables, default=str, ensure_ascii=False)


def smallest_class(version: Version, table: str, quasi: list[str], subject: str) -> int:
    """Distinct subjects of the smallest class, counted by a query of this test's own."""
    found = version.dataset(table).to_table()  # noqa: F841 (read by the query)
    names = ", ".join(f'"{name}"' for name in quasi)
    counted = duckdb.sql(f'SELECT min(n) FROM (SELECT count(DISTINCT "{subject}") AS n FROM found GROUP BY {names})').fetchall()
    return int(counted[0][0])


def patients(data_dir: Path) -> list[dict[str, Any]]:
    lines = (data_dir / "fhir_bulk_synthea_10" / "Patient.000.ndjson").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_no_note_and_no_column_of_the_fhir_release_tells_who_it_is_about(travel: Travel, data_dir: Path) -> None:
    version = travel("synthea-fhir")
    seen = everything(version)
    words = set(re.findall(r"[\w'-]+", seen))
    for number, patient in enumerate(patients(data_dir)):
        names = {word for name in patient["name"] for part in [name["family"], *name["given"]] for word in part.split()}
        assert not names & words, f"a name of patient {number} is published"
        digits = {i["value"] for i in patient["identifier"]} | {patient["telecom"][0]["value"], patient["birthDate"]}
        address = patient["address"][0]
        digits |= set(address["line"]) | {str(one["valueDecimal"]) for one in address["extension"][0]["extension"]}
        assert not [value for value in digits if value in seen], f"an identifier of patient {number} is published"


@pytest.mark.slow
def test_every_note_of_a_published_patient_arrives_and_stays_readable(travel: Travel) -> None:
    version = travel("synthea-fhir")
    notes = version.dataset("document_reference").to_table()
    people = set(version.dataset("patient").to_table()["id"].to_pylist())
    assert set(notes["patient_id"].to_pylist()) <= people
    assert version.manifest.table("document_reference").rows > 1_000
    texts = notes["text"].to_pylist()
    assert sum("[NAME]" in text for text in texts) == len(texts)
    assert sum("Chief Complaint" in text for text in texts) == len(texts)
    assert smallest_class(version, "patient", ["birth_date", "gender", "postal_code"], "id") >= 2


@pytest.mark.slow
def test_synthea_csv_keeps_its_keys_and_holds_k(travel: Travel, data_dir: Path) -> None:
    version = travel("synthea-csv")
    assert len(version.manifest.tables) == 18
    assert smallest_class(version, "patients", ["BIRTHDATE", "GENDER", "RACE", "ZIP"], "Id") >= 2
    people = set(version.dataset("patients").to_table()["Id"].to_pylist())
    encounters = version.dataset("encounters").to_table()
    conditions = version.dataset("conditions").to_table()
    assert set(encounters["PATIENT"].to_pylist()) <= people
    assert set(conditions["ENCOUNTER"].to_pylist()) <= set(encounters["Id"].to_pylist())
    source = (data_dir / "synthea_csv" / "patients.csv").read_text().splitlines()[1:]
    seen = everything(version)
    for row in source:
        cells = row.split(",")
        assert not [cell for cell in (cells[0], cells[3], cells[4], cells[7], cells[8], cells[16]) if cell and cell in seen]


@pytest.mark.slow
def test_intervals_within_a_patient_are_those_of_the_source(travel: Travel, data_dir: Path) -> None:
    version = travel("synthea-csv")
    published = version.dataset("encounters").to_table()  # noqa: F841
    query = 'SELECT epoch("STOP"::TIMESTAMP) - epoch("START"::TIMESTAMP) AS d, count(*) FROM {} GROUP BY d ORDER BY d'
    source = dict(duckdb.sql(query.format(f"read_csv('{data_dir}/synthea_csv/encounters.csv')")).fetchall())
    after = dict(duckdb.sql(query.format("published")).fetchall())
    assert after
    assert all(source.get(gap, 0) >= number for gap, number in after.items())


def test_omop_keeps_its_types_and_counts(travel: Travel) -> None:
    version = travel("omop")
    person = version.dataset("person").to_table()
    assert str(person.schema.field("person_id").type) == "int64"
    assert smallest_class(version, "person", ["year_of_birth", "gender_concept_id", "race_concept_id"], "person_id") >= 2
    people = set(person["person_id"].to_pylist())
    for table in version.manifest.tables:
        rows = version.dataset(table.name).to_table()
        assert set(rows["person_id"].to_pylist()) <= people
        assert not set(rows["person_id"].to_pylist()) & set(range(1, 29)), "a source key is published"


@pytest.mark.slow
def test_diabetes_counts_people_and_not_rows(travel: Travel) -> None:
    version = travel("diabetes130")
    table = version.manifest.table("encounters")
    assert smallest_class(version, "encounters", ["race", "gender", "age"], "patient_nbr") >= 11
    assert table.rows + version.manifest.privacy.suppressed == 101_766
    assert table.subjects is not None
    assert table.rows > table.subjects > 60_000
    missing = version.dataset("encounters").to_table(columns=["weight"])["weight"]
    assert missing.null_count > 90_000, "`?` is a missing value, not a text"
