"""Who opted out is in no table of the next release, and the gate proves it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from anonymize import pipeline
from anonymize.errors import AnonymizeError, GateFailed, PolicyError, SourceError
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.taking_back import withheld
from anonymize.taking_back.subjects import KeyedIds, namespaces, no_value_in, read_file
from tests.road import hospital

SMALL = hospital.POLICY.replace("body: text", "body: drop")
OPTOUT = "optout: {source: ehr, table: consent, column: patient_id}\n"
OUT = [3, 17, 42]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = hospital.build(tmp_path / "hospital")
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("CREATE TABLE consent (patient_id INTEGER PRIMARY KEY, since TEXT)")
        db.executemany("INSERT INTO consent VALUES (?, '2026-01-01')", [(number,) for number in OUT])
    return folder


def run_of(folder: Path, text: str) -> Run:
    return Run.open(load(hospital.policy(folder, text)))


def everywhere(folder: Path, run: Run) -> dict[str, int]:
    """Rows of theirs in each column of what was published."""
    ids = KeyedIds.of([str(number) for number in OUT], run.key, run.policy)
    version = open_version(folder / "store", "small", verify=True)
    found = {}
    for table in ("patient", "stay", "note"):
        files = [Path(version.uri) / file.path for file in version.manifest.table(table).files]
        found |= {f"{table}.{column}": rows for column, rows in withheld.found_in(files, ids).items()}
    return found


def publish(run: Run) -> None:
    pipeline.decide(run, approve=True, steward="Ada Steward", reason="fine")
    pipeline.publish(run)


def test_who_opted_out_is_in_no_table_of_the_next_release(folder: Path) -> None:
    before = run_of(folder, SMALL)
    pipeline.to_review(before)
    publish(before)
    assert everywhere(folder, before)["patient.patient_id"] == 3
    assert everywhere(folder, before)["stay.patient_id"] == 6

    run = Run.open(load(hospital.policy(folder, SMALL + OPTOUT)), run_id="second")
    pipeline.to_review(run)
    gate = next(gate for gate in run.record.get("validate")["gates"] if gate["gate"] == "opt-out")  # type: ignore[index]
    assert gate["passed"]
    assert gate["words"] == ["no pseudonym of 3 subjects who opted out and 0 who were taken back stands in any column"]
    assert run.record.get("withheld") == {"opted_out": 3, "taken_back": 0}
    assert (run.record.get("extract", "patient") or {})["withheld"] == 3
    assert (run.record.get("extract", "stay") or {})["withheld"] == 6
    names = json.dumps([row for batch in run.engine.read(run.folder("identifiers")).batches() for row in batch.to_pylist()])
    for number in OUT:
        assert str(hospital.patient(number)[1]) not in names, "nor is anything of theirs looked up"
    publish(run)
    manifest = open_version(folder / "store", "small").manifest
    assert manifest.run == "second"
    assert manifest.held_back["subjects opted out or taken back"] == 3
    assert set(everywhere(folder, run).values()) == {0}
    records = "".join(file.read_text() for file in run.record.folder.glob("*.json"))
    assert not set(KeyedIds.of([str(number) for number in OUT], run.key, run.policy).texts()) & set(records.split('"'))


def test_who_opts_out_while_a_release_waits_is_not_published(folder: Path) -> None:
    run = run_of(folder, SMALL + OPTOUT)
    pipeline.to_review(run)
    pipeline.decide(run, approve=True, steward="Ada Steward", reason="fine")
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("INSERT INTO consent VALUES (5, '2026-11-21')")
    with pytest.raises(GateFailed, match=r"opt-out: patient: 1 rows in '__subject' are of subjects who must stay out"):
        pipeline.publish(run)
    assert not (folder / "store").exists()


@pytest.mark.parametrize("when", ["before the first record", "at the gate"])
def test_a_list_that_cannot_be_read_stops_the_run(folder: Path, when: str) -> None:
    run = run_of(folder, SMALL + OPTOUT)
    if when == "at the gate":
        pipeline.check(run)
        for table in pipeline.tables(run.policy):
            pipeline.extract(run, table)
        pipeline.collect(run)
        for table in pipeline.tables(run.policy):
            pipeline.deidentify(run, table)
        pipeline.generalize(run)
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("DROP TABLE consent")
    if when == "at the gate":
        with pytest.raises(GateFailed, match=r"opt-out: could not be judged \(NoSuchTable\), so it counts as failed"):
            pipeline.validate(run)
    else:
        with pytest.raises(SourceError):
            pipeline.check(run)
        assert not run.folder("extract").exists()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("optout: {source: her, table: consent, column: patient_id}", "no source 'her'. Did you mean 'ehr'?"),
        ("optout: {column: patient_id}", "give either 'file', or the 'table' of a source"),
        ("optout: {table: consent}", "'column' is missing"),
    ],
)
def test_a_wrong_word_is_told_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    with pytest.raises(PolicyError) as error:
        load(hospital.policy(tmp_path, SMALL + line + "\n"))
    assert what in str(error.value)


def bundle(*urls: str) -> str:
    entries = [{"request": {"method": "DELETE", "url": url}} for url in urls]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "column", "keys"),
    [
        ("ids.txt", "17\n 3 \n\n17\n", None, ["17", "3"]),
        ("ids.csv", "patient_id\n17\n3\n", "patient_id", ["17", "3"]),
        ("ids.csv", "since,patient_id\n2026,17\n2025,3\n", "patient_id", ["17", "3"]),
        ("gone.ndjson", bundle("Patient/17", "Observation/9") + bundle("https://h/fhir/Patient/3/_history/2"), None, ["17", "3"]),
        ("manifest.json", json.dumps({"output": [], "deleted": [{"type": "Bundle", "url": "https://h/x/gone.ndjson?s=1"}]}), None, ["17"]),
        ("manifest.json", json.dumps({"output": [], "deleted": []}), None, []),
    ],
)
def test_files_that_name_subjects(tmp_path: Path, name: str, text: str, column: str | None, keys: list[str]) -> None:
    (tmp_path / "gone.ndjson").write_text(bundle("Patient/17"))
    (tmp_path / name).write_text(text)
    assert read_file(tmp_path / name, column) == keys


@pytest.mark.parametrize(
    ("name", "text", "column", "what"),
    [
        ("ids.txt", "\n\n", None, "names no subject"),
        ("ids.csv", "a,b\nsecret,1\n", None, "which holds the subject key"),
        ("ids.csv", "a,b\nsecret,1\n", "c", "'c' is none of them"),
        ("ids.csv", "a,b\nsecret\n", "b", "ids.csv:2: the line has too few columns"),
        ("gone.ndjson", '{"resourceType": "Patient", "id": "secret"}\n', None, "gone.ndjson:1: is no FHIR Bundle"),
        ("gone.ndjson", '{"resourceType": "Bundle", "entry": [{"secret": 1}]}\n', None, "lacks its 'request'"),
        ("manifest.json", json.dumps({"deleted": [{"url": "https://h/absent.ndjson"}]}), None, "does not stand beside it: absent.ndjson"),
    ],
)
def test_files_that_cannot_be_taken_for_subjects_say_why_without_a_value(
    tmp_path: Path, name: str, text: str, column: str | None, what: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError) as error:
        read_file(tmp_path / name, column)
    assert what in str(error.value)
    assert "secret" not in str(error.value)


def test_a_reason_says_why_and_not_who() -> None:
    no_value_in("erasure under GDPR Art. 17", ["17", "MRN-700001"])
    with pytest.raises(AnonymizeError, match="names a subject's key"):
        no_value_in("asked for by (MRN-700001).", ["MRN-700001"])


def test_who_was_taken_back_is_known_again_under_the_same_key_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(folder, SMALL)
    assert namespaces(run.policy) == ["subject"]
    withheld.remember(run.policy, run.key, KeyedIds.of(["3"], run.key, run.policy))
    withheld.remember(run.policy, run.key, KeyedIds.of(["17"], run.key, run.policy))
    assert len(withheld.retracted(run.policy, run.key)) == 2
    pipeline.check(run)
    assert run.record.get("withheld") == {"opted_out": 0, "taken_back": 2}
    pipeline.extract(run, "patient")
    assert (run.record.get("extract", "patient") or {})["withheld"] == 2
    monkeypatch.setenv("ANONYMIZE_KEY", "another-key-that-is-long-enough-0123456789")
    other = Run.open(run.policy, run_id="other")
    with pytest.raises(AnonymizeError, match="who was taken back is not known again under it"):
        pipeline.check(other)
