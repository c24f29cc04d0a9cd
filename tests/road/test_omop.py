"""OMOP CDM 5.4 by the ready-made policies, down the whole road: from CSV, Parquet, and a real PostgreSQL; the same release."""
# ruff: noqa: E501 (rows and statements stand in one line)

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.policy.overlay import READY
from anonymize.publish import Version, open_version
from anonymize.run import Run
from tests.conftest import KEY
from tests.road.ready import laid_on, printed
from tests.servers import postgres

pytestmark = pytest.mark.slow

#: A note with its NLP terms, a cost, an address and an episode, which the data do not have.
MORE = {
    "LOCATION": ["1,12 Larkspur Lane,,Ludlow,MA,01056,Hampden,L1,,,,"],
    "NOTE": [
        '1,1,2015-03-04,,44814645,0,Visit of J. Doe,"Seen at 12 Larkspur Lane, Ludlow on 2015-03-04; call (413) 555-0142. Has asthma.",0,0,1,,,,,'
    ],
    "NOTE_NLP": ["1,1,0,at 12 Larkspur Lane,8,asthma,0,0,ours,2015-03-05,,Y,,"],
    "COST": ["1,1,Visit,0,0,10.5,,,,,,,,,,,,,,,,"],
    "EPISODE": ["1,1,32533,2015-03-04,,,,,1,32533,32545,,0"],
    "EPISODE_EVENT": ["1,1,1147127"],
}
#: As the DDL of CDM 5.4 has them.
TYPES = [(r"(domain|vocabulary|relationship|class|source|device|production)_id$", "text")]
TYPES += [(r"_concept_id(_\d)?$|_id(_\d)?$|year_of_birth|month_of_birth|day_of_birth|refills|days_supply|episode_number", "bigint")]
TYPES += [
    (r"_date$", "date"),
    (r"_datetime$", "timestamp"),
    (r"value_as_number|quantity|range_|total_|paid_|amount_allowed|dose_value", "numeric"),
]


@pytest.fixture(scope="module")
def tables(data_dir: Path) -> dict[str, str]:
    """The CDM's tables as CSV."""
    with zipfile.ZipFile(data_dir / "omop_synthea27nj" / "Synthea27Nj_5.4.zip") as archive:
        found = {
            Path(name).stem: archive.read(name).decode() for name in archive.namelist() if not name.startswith("__") and name.endswith(".csv")
        }
    kept = {name: text for name, text in found.items() if not name.startswith("CONCEPT_")}
    # Every person lives somewhere.
    people = list(csv.reader(io.StringIO(kept["PERSON"])))
    place = people[0].index("location_id")
    for row in people[1:]:
        row[place] = "1"
    kept["PERSON"] = "".join(",".join(row) + "\n" for row in people)
    kept = {name: "".join(text.splitlines(keepends=True)[:500]) for name, text in kept.items()}  # of 28 people enough
    return {name: text.rstrip("\n") + "\n" + "".join(line + "\n" for line in MORE.get(name, ())) for name, text in kept.items()}


@pytest.fixture(scope="module")
def database(tables: dict[str, str]) -> Iterator[str]:
    with postgres() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE SCHEMA cdm; SET search_path TO cdm")
            for name, text in tables.items():
                header = text.splitlines()[0].split(",")
                columns = ", ".join(f'"{column}" {next((t for words, t in TYPES if re.search(words, column)), "text")}' for column in header)
                key = f', PRIMARY KEY ("{header[0]}")' if header[0] == f"{name.lower()}_id" else ""
                connection.execute(f"CREATE TABLE {name} ({columns}{key})")
                with connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT csv, HEADER)") as copy:
                    copy.write(text)
            connection.execute(
                "CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT USAGE ON SCHEMA cdm TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA cdm TO reader"
            )
        yield url


def travelled(text: str, overlay: dict[str, Any], road: Path, place: str) -> Version:
    """The release of a policy that the page prints. place: of the CDM, a URL or a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMOP_URL", place)
        patch.setenv("OMOP_FOLDER", place)
        patch.setenv("OMOP_STORE", str(road / "store"))
        patch.setenv("ANONYMIZE_KEY", KEY)
        run = Run.open(load(laid_on(text, {"privacy": {"k": 2, "suppression": 0.5}} | overlay, road)))
        pipeline.to_review(run)
        assert sum(counts["quarantined"] for counts in run.record.tables("extract").values()) == 0
        pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
        pipeline.publish(run)
        return open_version(road / "store", run.policy.dataset, verify=True)


@pytest.fixture(scope="module")
def from_postgres(database: str, tmp_path_factory: pytest.TempPathFactory) -> Version:
    return travelled(printed("omop"), {}, tmp_path_factory.mktemp("postgres"), database)


@pytest.fixture(scope="module")
def from_files(tables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Version:
    folder = tmp_path_factory.mktemp("csv")
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    return travelled(printed("omop", 1), {}, tmp_path_factory.mktemp("road"), str(folder))


def everything(version: Version) -> str:
    return json.dumps([version.dataset(table.name).to_table().to_pylist() for table in version.manifest.tables], default=str)


def test_every_column_of_the_cdm_has_a_decision(tables: dict[str, str]) -> None:
    policy = load(READY / "omop-5.4.yaml").tables
    vocabulary = {"CONCEPT", "VOCABULARY", "DOMAIN", "RELATIONSHIP", "DRUG_STRENGTH", "SOURCE_TO_CONCEPT_MAP"}
    said = {"LOCATION", "FACT_RELATIONSHIP", "METADATA", "COHORT_DEFINITION"}
    head = (READY / "omop-5.4.yaml").read_text().partition("\ndataset:")[0]
    assert all(name.lower() in head for name in said)
    for name, text in tables.items():
        if name not in vocabulary | said:
            assert not set(text.splitlines()[0].split(",")) - set(policy[name.lower()].columns) - {"lot_number"}, name


def test_from_a_real_postgresql_with_all_that_hangs_on_a_person(from_postgres: Version) -> None:
    rows = {table.name: table.rows for table in from_postgres.manifest.tables}
    assert len(rows) == 25
    assert all(rows[name] == 1 for name in ("note", "note_nlp", "cost", "episode", "episode_event")), "their person is found by a join"
    seen = everything(from_postgres)
    assert not re.search(r"Larkspur|Ludlow|\b01056\b|Hampden|555-0142|2015-03-04|Synthea27|J\. Doe", seen)
    assert "asthma" in seen
    people = set(from_postgres.dataset("person").to_table()["person_id"].to_pylist())
    for name in rows:
        data = from_postgres.dataset(name).to_table()
        if "person_id" in data.column_names:
            assert set(data["person_id"].to_pylist()) <= people
            assert not set(data["person_id"].to_pylist()) & set(range(1, 29)), "a source key is published"
    assert not re.search(r"\d{4}-\d\d-\d\d", seen), "the year alone"


def test_files_and_database_give_the_same(from_postgres: Version, from_files: Version) -> None:
    absent = {"note_nlp", "cost", "episode_event"}
    assert {t.name for t in from_postgres.manifest.tables} - {t.name for t in from_files.manifest.tables} == absent
    for table in from_files.manifest.tables:
        here, there = from_files.dataset(table.name).to_table(), from_postgres.dataset(table.name).to_table()
        names = sorted(set(here.column_names) & set(there.column_names) - {"zip"})
        # A file's rows are in its own order, a database's in that of the key.
        rows = [sorted(map(str, zip(*(data[name].cast("string").to_pylist() for name in names), strict=True))) for data in (here, there)]
        assert rows[0] == rows[1], table.name


def test_parquet_gives_what_csv_gives(from_files: Version, tables: dict[str, str], tmp_path: Path) -> None:
    """The folder as a lake has it: a folder a table."""
    import pyarrow.csv

    for name, text in tables.items():
        (tmp_path / "lake" / name.lower()).mkdir(parents=True)
        pq.write_table(pyarrow.csv.read_csv(io.BytesIO(text.encode())), tmp_path / "lake" / name.lower() / "part-0.parquet")
    text = printed("omop", 1).replace("type: csv", "type: parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMOP_FOLDER", str(tmp_path / "lake"))
        patch.setenv("OMOP_STORE", str(tmp_path / "store"))
        run = Run.open(load(laid_on(text, {}, tmp_path / "road")))
        pipeline.check(run)
        rows = {table: pipeline.extract(run, table) for table in run.policy.tables}
    assert {table: counts["quarantined"] for table, counts in rows.items()} == dict.fromkeys(rows, 0)
    assert set(rows) == {table.name for table in from_files.manifest.tables}
    assert rows["person"]["rows"] == 28
    assert rows["measurement"]["rows"] == tables["MEASUREMENT"].count("\n") - 1


def test_as_a_limited_data_set_days_and_zip_leave(database: str, tmp_path: Path) -> None:
    few = dict.fromkeys(
        ("condition_occurrence", "drug_exposure", "observation", "note_nlp", "episode", "episode_event")
    )  # the others are enough
    text = printed("omop").replace("extends: omop-5.4", "extends: omop-5.4-limited").replace("dataset: omop", "dataset: omop-limited")
    version = travelled(text, {"tables": few}, tmp_path, database)
    seen = everything(version)
    assert '"01056"' in seen
    assert not re.search(r"Larkspur|Ludlow|555-0142|J\. Doe", seen)
    visit = version.dataset("visit_occurrence").to_table()["visit_start_date"].to_pylist()
    assert visit
    assert all(len(str(day)) == 10 for day in visit)
