"""The whole road on a real Airflow: scheduler, worker processes, REST API, a steward's answer, and what is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anonymize.publish import open_version
from anonymize.trail import Trail, verify
from anonymize.trail.lines import parse
from tests.airflow.conftest import AIRFLOW_KEY, Airflow
from tests.airflow.ward import PLANTED
from tests.conftest import KEY

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(1800)]


def test_each_policy_is_a_dag_and_a_wrong_one_is_shown_with_its_line(airflow: Airflow) -> None:
    dags = {dag["dag_id"]: dag for dag in airflow.call("GET", "dags")["dags"]}
    assert set(dags) == {"ward", "shared-ward", "ehr", "spoiled"}
    errors = airflow.call("GET", "importErrors")["import_errors"]
    assert [Path(error["filename"]).name for error in errors] == ["anonymize_broken_policies.py"]
    assert "wrong.yaml:17  tables.patient.columns.age: no role 'quassi'. Did you mean 'quasi'?" in errors[0]["stack_trace"]


def test_an_approved_release_is_published(airflow: Airflow) -> None:
    run = airflow.trigger("ward")
    asked = airflow.asked("ward", run)
    assert asked["subject"] == "A made-up ward: may this release leave?"
    for words in ("| k-anonymity | passed |", "| leaks | passed |", "| patient | 12 |", "| note/part-00000.parquet |"):
        assert words in asked["body"]

    airflow.answer("ward", run, "Approve", "k and the leak gate hold")
    state, states = airflow.end("ward", run)
    assert state == "success", states
    tables = [f"{step}[{table}]" for step in ("extract", "deidentify") for table in ("patient", "note")]
    assert states == dict.fromkeys(["check", "collect", "generalize", "validate", "review", "publish", *tables], "success")

    version = open_version(airflow.folder / "store", "ward", verify=True)
    decision = version.manifest.decision
    assert decision is not None
    assert (decision.steward, decision.reason) == ("steward", "k and the leak gate hold")
    assert version.dataset("patient").count_rows() > 0
    [event] = [e for e in airflow.call("GET", "assets/events")["asset_events"] if e["source_dag_id"] == "ward"]
    assert (event["name"], event["extra"]["version"]) == ("ward", version.manifest.version)
    assert event["uri"] == f"file://{airflow.folder}/store/ward"
    assert not list((airflow.folder / "workspace" / "runs").glob("ward-*")), "the workspace holds PHI and goes when the run ends well"

    body = {"dry_run": False, "dag_run_id": run, "task_ids": ["publish"], "only_failed": False, "reset_dag_runs": True}
    airflow.call("POST", "dags/ward/clearTaskInstances", body)
    assert airflow.end("ward", run)[0] == "success"
    assert open_version(airflow.folder / "store", "ward").manifest.version == version.manifest.version


def test_a_dry_run_stops_after_the_gates_with_key_and_connection_from_airflow(airflow: Airflow) -> None:
    airflow.call("POST", "variables", {"key": "ward_key", "value": AIRFLOW_KEY})
    airflow.call("POST", "connections", {"connection_id": "ward_ehr", "conn_type": "sqlite", "host": str(airflow.folder / "ehr.db")})
    state, states = airflow.end("ehr", airflow.trigger("ehr", dry_run=True))
    assert (state, states["validate"], states["review"], states["publish"]) == ("success", "success", "skipped", "skipped")


def test_what_a_dry_run_left_goes_on_and_a_rejected_release_is_not_published(airflow: Airflow) -> None:
    [kept] = (airflow.folder / "workspace" / "runs").glob("ehr-*")
    run = airflow.trigger("ehr", go_on=True)
    asked = airflow.asked("ehr", run)
    assert f"Run `{kept.name}` waits" in asked["body"]
    assert "| note | 12 |" in asked["body"]

    airflow.answer("ehr", run, "Reject", "not needed any more")
    state, states = airflow.end("ehr", run)
    assert (state, states["review"], states["publish"]) == ("success", "success", "skipped")
    assert not (airflow.folder / "store" / "ehr").exists()
    assert not kept.exists()
    [record] = (airflow.folder / "workspace" / "records").glob("ehr-*")
    decided = json.loads((record / "review.json").read_text())
    assert (decided["approved"], decided["steward"], decided["reason"]) == (False, "steward", "not needed any more")


def test_malformed_records_end_the_run_at_once_and_keep_the_workspace(airflow: Airflow) -> None:
    run = airflow.trigger("spoiled")
    state, states = airflow.end("spoiled", run)
    extract = next(state for task, state in states.items() if task.startswith("extract"))
    assert (state, extract, states["publish"]) == ("failed", "failed", "upstream_failed"), states
    assert "quarantine" in airflow.log("spoiled", run, "extract", 0).lower()
    [kept] = (airflow.folder / "workspace" / "runs").glob("spoiled-*")
    assert (kept / "quarantine" / "spoiled.parquet").exists()


def test_what_was_read_and_written_is_told_to_openlineage(airflow: Airflow) -> None:
    """By the file transport of this Airflow's settings; that no value stands in it is held by the last test, which searches its file too."""
    events = [json.loads(line) for line in (airflow.home / "lineage.jsonl").read_text().splitlines()]
    ways: dict[str, tuple[set[str], set[str]]] = {}
    for event in events:
        came, left = ways.setdefault(event["job"]["name"], (set(), set()))
        came |= {f"{one['namespace']} {one['name']}" for one in event.get("inputs", [])}
        left |= {f"{one['namespace']} {one['name']}" for one in event.get("outputs", [])}
    assert ways["ward.extract"] == (
        {"file ../source/patient", "file ../source/note"},
        {"anonymize ward.extract.patient", "anonymize ward.extract.note"},
    )
    assert ways["ward.generalize"][1] == {"anonymize ward.stage.patient", "anonymize ward.stage.note"}
    assert ways["ward.publish"][1] == {f"file {airflow.folder}/store/ward"}
    assert ways["ehr.extract"][0] == {"connection://ward_ehr patient", "connection://ward_ehr note"}
    schema = next(out["facets"]["schema"] for e in events for out in e.get("outputs", []) if out["name"].endswith("/store/ward"))
    assert {"patient.age", "patient.zip", "note.text"} <= {field["name"] for field in schema["fields"]}
    assert not any("name" in field["name"] for field in schema["fields"]), "columns that stay out are not told"
    assert b"def extract(" not in (airflow.home / "lineage.jsonl").read_bytes(), "nor is the tasks' code"


def test_the_audit_trail_has_who_asked_and_who_decided(airflow: Airflow) -> None:
    there = Trail(airflow.folder / "workspace" / "trail")
    assert verify(there).findings == ()
    lines = [line.said for data in there.lines() if (line := parse(data)) is not None]
    ward = [(line["action"], line["who"]) for line in lines if line["dataset"] == "ward" and line["action"] not in ("looked", "labelled")]
    assert ward[0] == ("asked", "admin")
    assert ("approved", "steward") in ward
    assert ("published", "admin") in ward
    assert ("rejected", "steward") in [(line["action"], line["who"]) for line in lines if line["dataset"] == "ehr"]


def test_no_value_of_a_record_and_no_key_stands_in_anything_of_airflow(airflow: Airflow) -> None:
    """Every file of Airflow's home: the metadata database with its XComs, rendered fields, questions and errors, each task's log, and the
    log of every part."""
    assert any(PLANTED[0].encode() in file.read_bytes() for file in (airflow.folder / "source").iterdir()), "the search would prove nothing"
    held = {file.relative_to(airflow.home): file.read_bytes() for file in airflow.home.rglob("*") if file.is_file()}
    logs = [name for name in held if name.suffix == ".log" and "task_id=extract" in str(name)]
    assert len(logs) >= 5, "the tasks' logs are searched"
    assert b'"quarantined"' in held[Path("airflow.db")] + held.get(Path("airflow.db-wal"), b""), "the XComs are searched"

    for secret in (*PLANTED, KEY, AIRFLOW_KEY):
        assert [str(name) for name, data in held.items() if secret.encode() in data] == []
    assert not any(secret in airflow.said.read_text() for secret in (*PLANTED, KEY))
