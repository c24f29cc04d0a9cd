"""OpenMRS on a real MariaDB, with the project's own test data, down the whole road. What is proven is proven by searches of this test's own."""
# ruff: noqa: E501 (rows and statements stand in one line)

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.publish import Version, open_version
from anonymize.run import Run
from tests.conftest import KEY
from tests.road.ready import laid_on, printed
from tests.servers import mariadb

pytestmark = pytest.mark.slow

#: What the project's data does not have: answers that tell who somebody is, a name that was taken back, an age over 89, a broken date.
MORE = """
INSERT INTO concept (concept_id, datatype_id, class_id, creator, date_created, uuid) VALUES
 (9001, 3, 1, 1, '2020-01-01', 'c9001'), (9002, 1, 1, 1, '2020-01-01', 'c9002'), (9003, 3, 1, 1, '2020-01-01', 'c9003'), (9004, 8, 1, 1, '2020-01-01', 'c9004');
INSERT INTO concept_name (concept_id, name, locale, creator, date_created, concept_name_type, uuid) VALUES
 (9001, 'Telephone number of next of kin', 'en', 1, '2020-01-01', 'FULLY_SPECIFIED', 'n9001'), (9002, 'AGE (YEARS)', 'en', 1, '2020-01-01', 'FULLY_SPECIFIED', 'n9002'),
 (9003, 'Clinical note', 'en', 1, '2020-01-01', 'FULLY_SPECIFIED', 'n9003'), (9004, 'Date of birth', 'en', 1, '2020-01-01', 'FULLY_SPECIFIED', 'n9004');
INSERT INTO obs (obs_id, person_id, concept_id, obs_datetime, value_text, value_numeric, value_datetime, creator, date_created, voided, uuid) VALUES
 (9001, 7, 9001, '2020-01-01', 'Zuleika +254 722 555 014', NULL, NULL, 1, '2020-01-01', 0, 'o9001'),
 (9002, 7, 9002, '2020-01-01', NULL, 97, NULL, 1, '2020-01-01', 0, 'o9002'),
 (9003, 7, 9003, '2020-01-01', 'Collet Chebaskwony, once Quillfeather, came with Zuleika. Call +254 722 555 014. Weight 61 kg.', NULL, NULL, 1, '2020-01-01', 0, 'o9003'),
 (9004, 7, 9004, '2020-01-01', NULL, NULL, '1976-08-25', 1, '2020-01-01', 0, 'o9004'),
 (9005, 7, 9003, '2020-01-01', 'taken back: Gallimaufry', NULL, NULL, 1, '2020-01-01', 1, 'o9005'),
 (9006, 7, 5089, '0000-00-00', NULL, 50, NULL, 1, '2020-01-01', 0, 'o9006'),
 (9007, 7, 5089, '2020-01-01', 'a text where a number belongs: Brobdingnag', 51, NULL, 1, '2020-01-01', 0, 'o9007');
INSERT INTO person_name (person_name_id, person_id, given_name, family_name, creator, date_created, voided, uuid) VALUES
 (9001, 7, 'Collet', 'Quillfeather', 1, '2020-01-01', 1, 'pn9001');
INSERT INTO person (person_id, gender, birthdate, creator, date_created, uuid) SELECT 9100 + seq, 'F', '1976-03-01', 1, '2020-01-01', CONCAT('p', seq) FROM seq_1_to_4;
INSERT INTO patient (patient_id, creator, date_created) SELECT 9100 + seq, 1, '2020-01-01' FROM seq_1_to_4;
INSERT INTO person_attribute (person_attribute_id, person_id, value, person_attribute_type_id, creator, date_created, voided, uuid) VALUES
 (9001, 7, 'Ostrobothnia', 2, 1, '2020-01-01', 0, 'pa9001');
"""


@pytest.fixture(scope="module")
def openmrs(data_dir: Path) -> Iterator[str]:
    folder = data_dir / "openmrs_core"
    with mariadb() as url:
        address = sa.engine.make_url(url).set(database="openmrs")
        client = ["mariadb", "--no-defaults", "--user=root", f"--socket={address.query['unix_socket']}"]
        schema = "CREATE DATABASE openmrs CHARACTER SET utf8mb4; USE openmrs;\n" + (folder / "initial_test_db.sql").read_text()
        subprocess.run(client, input=schema.encode(), check=True, timeout=120)
        lax = "USE openmrs; SET SESSION sql_mode = ''; SET FOREIGN_KEY_CHECKS = 0;\n"
        # The data are of a later release than the schema: a table that came with it is not there.
        data = (lax + rows(folder / "standardTestDataset.xml")).encode()
        subprocess.run([*client, "--force"], input=data, stderr=subprocess.DEVNULL, timeout=120)
        reader = "CREATE USER reader@localhost IDENTIFIED BY 'reader'; GRANT SELECT ON openmrs.* TO reader@localhost;"
        subprocess.run(client, input=(lax + MORE + reader).encode(), check=True, timeout=120)
        yield address.set(username="reader", password="reader").render_as_string(hide_password=False)


def rows(file: Path) -> str:
    """DBUnit's flat XML as statements: an element a row."""
    words = {"[NULL]": "NULL", "true": "1", "false": "0"}
    statements = []
    for row in ElementTree.parse(file).getroot():
        names = ", ".join(f"`{name}`" for name in row.attrib)
        values = ", ".join(words.get(value) or "'" + value.replace("\\", "\\\\").replace("'", "''") + "'" for value in row.attrib.values())
        statements.append(f"REPLACE INTO `{row.tag}` ({names}) VALUES ({values});\n")
    return "".join(statements)


@pytest.fixture(scope="module")
def secrets(openmrs: str) -> dict[str, set[str]]:
    """What nobody may find: names, numbers and addresses of patients, asked from the database itself."""
    engine = sa.create_engine(openmrs, poolclass=sa.NullPool)
    asked = {
        "names": "SELECT given_name FROM person_name WHERE LENGTH(given_name) > 3 UNION SELECT middle_name FROM person_name WHERE LENGTH(middle_name) > 4 "
        "UNION SELECT family_name FROM person_name WHERE LENGTH(family_name) > 3",
        "numbers": "SELECT identifier FROM patient_identifier WHERE LENGTH(identifier) > 3",
        "addresses": "SELECT address1 FROM person_address WHERE address1 != '' UNION SELECT city_village FROM person_address WHERE city_village != ''",
        "uuids": "SELECT uuid FROM person UNION SELECT uuid FROM obs",
    }
    with engine.connect() as connection:
        return {what: {str(row[0]) for row in connection.exec_driver_sql(query) if row[0]} for what, query in asked.items()}


@pytest.fixture(scope="module", params=["openmrs", "openmrs-limited"])
def version(request: pytest.FixtureRequest, openmrs: str, tmp_path_factory: pytest.TempPathFactory) -> Version:
    road = tmp_path_factory.mktemp(request.param)
    text = printed("openmrs")
    if request.param.endswith("-limited"):
        text = text.replace("extends: openmrs-2", "extends: openmrs-2-limited").replace("dataset: openmrs", "dataset: openmrs-limited")
    overlay: dict[str, Any] = {"privacy": {"k": 2, "suppression": 1.0}, "checks": {"quarantine": 0.2}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENMRS_URL", openmrs.replace("mysql+pymysql://", "mysql://"))
        patch.setenv("OPENMRS_STORE", str(road / "store"))
        patch.setenv("ANONYMIZE_KEY", KEY)
        run = Run.open(load(laid_on(text, overlay, road)))
        pipeline.to_review(run)
        reasons = {table: counts["reasons"] for table, counts in run.record.tables("extract").items() if counts["reasons"]}
        assert reasons == {"obs": {"not-timestamp (obs_datetime)": 1}}, "the day 0000-00-00 makes its own record fall out"
        assert "obs.interpretation" not in (run.record.get("check") or {})["absent"]
        pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
        pipeline.publish(run)
        return open_version(road / "store", run.policy.dataset, verify=True)


#: What a limited data set may tell of where somebody lives, in columns of their own: 45 CFR 164.514(e)(2)(ii).
TOWNS = ("city_village", "state_province", "postal_code")


def everything(version: Version, *but: str) -> str:
    """All values of all columns but some, as one text."""
    found = []
    for table in version.manifest.tables:
        data = version.dataset(table.name).to_table()
        found.append(data.drop_columns([name for name in data.column_names if name in but]).to_pylist())
    return json.dumps(found, default=str, ensure_ascii=False)


def test_nobody_is_named_and_nothing_that_was_taken_back_leaves(version: Version, secrets: dict[str, set[str]]) -> None:
    seen, limited = everything(version), version.manifest.dataset.endswith("-limited")
    assert min(len(found) for found in secrets.values()) > 3
    for what, found in secrets.items():
        told = everything(version, *TOWNS) if limited and what == "addresses" else seen
        for number, secret in enumerate(sorted(found)):
            assert not re.search(rf"(?i)(?<!\w){re.escape(secret)}(?!\w)", told), f"{what}: the {number}th is published"
    for word in ("Quillfeather", "Zuleika", "722 555 014", "Ostrobothnia", "Gallimaufry", "Brobdingnag", "1976-08-25"):
        assert word not in seen


def test_the_dictionary_decides_what_an_observation_holds(version: Version) -> None:
    found = version.dataset("obs").to_table().to_pylist()
    assert found
    for row in found:
        values = {name for name in ("number", "age", "moment", "words", "value_coded", "value_drug") if row[name] is not None}
        allowed = {
            "Numeric": {"number", "age"},
            "Coded": {"value_coded"},
            "Text": {"words"},
            "Datetime": {"moment"},
            "Date": {"moment"},
            "Boolean": {"value_coded"},
        }
        assert values <= allowed.get(row["datatype"], set()), row["datatype"]
    by_concept = {row["concept_id"]: row for row in found}
    assert by_concept[9002]["age"] == 90
    assert by_concept[9002]["number"] is None
    assert by_concept[9001]["words"] is None
    assert "Weight 61 kg" in by_concept[9003]["words"]
    assert {row["number"] for row in found if row["concept_id"] == 5089} >= {50.0, 51.0, 55.0, 61.0}


def test_only_patients_who_are_there_and_nobody_alone(version: Version, openmrs: str) -> None:
    published = version.dataset("patient").to_table().to_pylist()
    people = {row["patient_id"] for row in published}
    with sa.create_engine(openmrs, poolclass=sa.NullPool).connect() as connection:
        asked = "SELECT COUNT(*) FROM patient JOIN person ON person_id = patient_id WHERE patient.voided = 0 AND person.voided = 0"
        there = connection.exec_driver_sql(asked).scalar_one()
    assert 5 <= len(people) == len(published) <= there
    assert min(Counter((row["gender"], row["birthdate"]) for row in published).values()) >= 2
    for table in version.manifest.tables:
        data = version.dataset(table.name).to_table()
        key = next((name for name in ("patient_id", "person_id") if name in data.column_names), None)
        assert key is None or set(data[key].to_pylist()) <= people
    dates = [str(value) for value in version.dataset("obs").to_table()["obs_datetime"].to_pylist()]
    assert all(len(value) == 4 for value in dates) != version.manifest.dataset.endswith("-limited")
