"""The DAGs as Airflow's own parser sees them: one a policy, light to parse, and no policy in the way of another."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anonymize.errors import SourceError
from anonymize.policy.loader import load
from tests.airflow import ward
from tests.conftest import ROOT
from tests.fhir_server import FhirService

# numpy and pyarrow may be loaded: a policy's hierarchies are held against the known ones when it is read, a third of a second once.
HEAVY = "pandas duckdb spacy numba great_expectations presidio_analyzer onnxruntime faker anonymize.pipeline anonymize.engine.local"
PARSE = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
before = set(sys.modules)
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=Path(sys.argv[1]), bundle_name="dags")
found = {"errors": bag.import_errors, "heavy": sorted({m for m in sys.argv[2].split() if m in sys.modules and m not in before})}
found["dags"] = {d.dag_id: {
    "schedule": str(d.schedule), "catchup": d.catchup, "active": d.max_active_runs, "params": sorted(d.params), "doc": d.doc_md,
    "tasks": {t.task_id: {"up": sorted(t.upstream_task_ids), "class": t.task_type if not t.is_mapped else t.operator_class.__name__,
                          "mapped": t.is_mapped, "retries": t.retries, "outlets": [[a.name, a.uri] for a in t.outlets or []]}
              for t in d.tasks}} for d in bag.dags.values()}
print(json.dumps(found))
"""


def parse(policies: Path, home: Path) -> Any:
    """What Airflow's parser makes of a folder of policies, and which heavy modules it had to load for it."""
    environment = {**os.environ, "ANONYMIZE_POLICIES": str(policies), "AIRFLOW_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment |= {"ANONYMIZE_SAMPLE": str(home)}
    command = [sys.executable, "-c", PARSE, str(ROOT / "dags"), HEAVY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("policies")
    ward.write_policies(folder / "policies")
    ward_policy = (folder / "policies" / "ward.yaml").read_text()
    (folder / "policies" / "zz-twice.yaml").write_text(ward_policy)
    (folder / "policies" / "zz-when.yaml").write_text(ward_policy.replace("dataset: ward", "dataset: when\nschedule: every day"))
    nightly = ward_policy.replace("dataset: ward", "dataset: nightly\nschedule: 0 3 * * *\nreview: {required: false}")
    (folder / "policies" / "nightly.yaml").write_text(nightly)
    return parse(folder / "policies", folder)


def test_every_good_policy_is_a_dag(parsed: Any) -> None:
    assert set(parsed["dags"]) == {"ward", "shared-ward", "ehr", "spoiled", "nightly"}


def test_every_bad_policy_is_an_import_error_with_its_line(parsed: Any) -> None:
    assert list(parsed["errors"]) == ["anonymize_broken_policies.py"]
    text = parsed["errors"]["anonymize_broken_policies.py"]
    assert "wrong.yaml:17  tables.patient.columns.age: no role 'quassi'. Did you mean 'quasi'?" in text
    assert "zz-twice.yaml:1  dataset: 'ward' is another policy's dataset already" in text
    assert "zz-when.yaml:2  schedule: Airflow cannot schedule this policy" in text


def test_parsing_loads_nothing_heavy(parsed: Any) -> None:
    assert parsed["heavy"] == []


def test_the_six_steps_stand_in_their_order(parsed: Any) -> None:
    tasks = parsed["dags"]["ward"]["tasks"]
    order = ["check", "extract", "collect", "deidentify", "generalize", "validate", "review", "publish"]
    assert set(tasks) == set(order)
    for before, after in pairwise(order):
        assert before in tasks[after]["up"]
    assert [name for name in order if tasks[name]["mapped"]] == ["extract", "deidentify"]


def test_a_steward_is_asked_once_and_every_other_step_is_tried_again(parsed: Any) -> None:
    tasks = parsed["dags"]["ward"]["tasks"]
    assert (tasks["review"]["class"], tasks["review"]["retries"]) == ("ReviewOperator", 0)
    assert all(task["retries"] >= 2 for name, task in tasks.items() if name != "review")


def test_a_release_without_review_has_no_steward(parsed: Any) -> None:
    tasks = parsed["dags"]["nightly"]["tasks"]
    assert "review" not in tasks
    assert "validate" in tasks["publish"]["up"]


def test_two_stewards_are_asked_one_after_the_other(parsed: Any) -> None:
    tasks = parsed["dags"]["shared-ward"]["tasks"]
    ups = [tasks[name]["up"] for name in ("review", "countersign", "publish")]
    assert ups == [["check", "validate"], ["check", "review"], ["check", "countersign"]]
    assert (tasks["countersign"]["class"], tasks["countersign"]["retries"]) == ("ReviewOperator", 0)


def test_publishing_is_what_updates_the_dataset(parsed: Any) -> None:
    tasks = parsed["dags"]["ward"]["tasks"]
    [[name, uri]] = tasks["publish"]["outlets"]
    assert name == "ward"
    assert uri.startswith("file:///")
    assert uri.endswith("/store/ward")
    assert not any(task["outlets"] for step, task in tasks.items() if step != "publish")


def test_a_dag_runs_when_the_policy_says_one_at_a_time(parsed: Any) -> None:
    assert "0 3 * * *" in parsed["dags"]["nightly"]["schedule"]
    for dag in parsed["dags"].values():
        assert (dag["catchup"], dag["active"], dag["params"]) == (False, 1, ["dry_run", "full_refresh", "go_on"])


def test_the_dags_page_says_what_leaves(parsed: Any) -> None:
    page = parsed["dags"]["ward"]["doc"]
    assert "| patient | patient_id (identifier, pseudonym), age (quasi, generalize), zip (quasi, generalize) |" in page
    assert "mrn" not in page


def test_this_deployments_own_policies_are_dags(tmp_path: Path) -> None:
    policies = sorted((ROOT / "policies").glob("*.yaml"))
    assert policies
    found = parse(ROOT / "policies", tmp_path)
    assert found["errors"] == {}
    assert len(found["dags"]) == len(policies)


# ---------------------------------------------------------------------------------------------------------- a server that exports

FHIR_WARD = """\
dataset: fhir-ward
profile: none
subject: patient.id
workspace: ../workspace
sources:
  fhir: {type: fhir, url: "${WARD_FHIR}", absent: empty}
tables:
  patient:
    columns: {id: identifier pseudonym, family: identifier drop name, gender: quasi flat}
privacy: {k: 2, suppression: 0.5}
release: {store: ../store}
"""


@pytest.fixture
def fhir_ward(tmp_path: Path) -> Path:
    file = tmp_path / "policies" / "fhir-ward.yaml"
    file.parent.mkdir()
    file.write_text(FHIR_WARD)
    return file


def test_a_server_is_waited_for_before_anything_is_read(fhir_ward: Path) -> None:
    dag = importlib.import_module("anonymize_airflow.road").road(load(fhir_ward))
    assert dag.get_task("export-fhir").downstream_task_ids == {"check"}


def test_the_trigger_waits_and_says_once_that_the_export_is_done(fhir_ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = importlib.import_module("anonymize_airflow.waiting")
    served = tmp_path / "served"
    served.mkdir()
    people = [{"resourceType": "Patient", "id": f"p{n}", "name": [{"family": "Zorblatt"}]} for n in range(3)]
    (served / "Patient.000.ndjson").write_text("".join(json.dumps(one) + "\n" for one in people))
    with FhirService(served, polls=2, retry_after="0", faults=["429-poll"]) as service:
        monkeypatch.setenv("WARD_FHIR", service.url)
        export = waiting.export(str(fhir_ward), "run-1", "fhir")
        export.begin()
        trigger = waiting.ExportTrigger(str(fhir_ward), "run-1", "fhir")
        path, given = trigger.serialize()
        assert path == "anonymize_airflow.waiting.ExportTrigger"
        assert service.url not in json.dumps(given), "no address is stored"
        assert _events(waiting.ExportTrigger(**given)) == [{"error": None}]
        assert service.waited == 2
        again = waiting.export(str(fhir_ward), "run-1", "fhir")
        assert again.load()
        assert (again.counts()["export_files"], service.exports) == (1, 1)
        service.faults = ["501"]
        other = waiting.export(str(fhir_ward), "run-2", "fhir")
        with pytest.raises(SourceError, match="HTTP 501"):
            other.begin()


def test_the_task_asks_hands_over_to_the_trigger_and_fetches(fhir_ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowException, TaskDeferred

    served = tmp_path / "served"
    served.mkdir()
    (served / "Patient.000.ndjson").write_text('{"resourceType": "Patient", "id": "p1"}\n')
    [task] = importlib.import_module("anonymize_airflow.waiting").exports(load(fhir_ward), str(fhir_ward))
    context = {"params": {"go_on": False}, "dag_run": SimpleNamespace(run_id="manual__1")}
    with FhirService(served) as service:
        monkeypatch.setenv("WARD_FHIR", service.url)
        for _ in range(2):  # tried again, it goes on with the same export
            with pytest.raises(TaskDeferred) as deferred:
                task.execute(context)
        assert (deferred.value.method_name, deferred.value.timeout) == ("fetch", timedelta(hours=48))
        assert _events(deferred.value.trigger) == [{"error": None}]
        assert task.fetch(context, {"error": None})["export_files"] == 1
        assert (service.exports, service.removed) == (1, 1)
        with pytest.raises(AirflowException, match="in words"):
            task.fetch(context, {"error": "in words"})


def test_what_the_trigger_cannot_wait_for_is_said_without_an_address(fhir_ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = importlib.import_module("anonymize_airflow.waiting")
    with FhirService(tmp_path) as service:
        monkeypatch.setenv("WARD_FHIR", service.url)
        export = waiting.export(str(fhir_ward), "run-1", "fhir")
        export.begin()
        export.state["status"] = "https://elsewhere.example/status?secret=1"
        export._write()
        [event] = _events(waiting.ExportTrigger(str(fhir_ward), "run-1", "fhir"))
    assert "sent to another host" in event["error"]
    assert "elsewhere" not in event["error"]


def _events(trigger: Any) -> list[dict[str, Any]]:
    async def collected() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collected())
