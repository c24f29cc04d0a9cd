"""A FHIR server is asked for what changed; the release is as if it had been asked for everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline
from anonymize.lasting import kept
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.fhir_server import FhirService
from tests.lasting.changing import rows

POLICY = """\
dataset: served
subject: patient.id
workspace: {workspace}
sources:
  ehr: {{type: fhir, url: "{url}", mapping: mapping.yaml, absent: empty}}
tables:
  patient:
    incremental: {{kind: since, row: id}}
    columns: {{id: identifier pseudonym, gender: quasi flat}}
  name:
    subject: patient
    incremental: {{kind: since, row: patient}}
    columns: {{patient: identifier pseudonym, family: identifier redact name}}
privacy: {{k: 2}}
release: {{store: store}}
engine: {{local: {{workers: 1}}}}
"""
MAPPING = """\
patient: {resource: Patient, columns: {id: id, gender: gender}}
name: {resource: Patient, each: name, columns: {patient: resource.id, family: family}}
"""


def person(number: int, *names: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": f"p{number}", "gender": "female", "name": [{"family": name} for name in names]}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FhirService]:
    (tmp_path / "served").mkdir()
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    with FhirService(tmp_path / "served") as service:
        yield service


def serve(service: FhirService, *people: dict[str, Any]) -> None:
    (service.folder / "Patient.000.ndjson").write_text("".join(json.dumps(one) + "\n" for one in people))


def extracted(tmp_path: Path, service: FhirService, name: str) -> Run:
    file = tmp_path / f"{name}.yaml"
    file.write_text(POLICY.format(workspace=name, url=service.url))
    run = Run.open(load(file), fresh=True)
    pipeline.check(run)
    for table in pipeline.tables(run.policy):
        pipeline.extract(run, table)
    kept.keep(run)
    return run


def test_what_changed_and_was_deleted_is_merged_resource_by_resource(tmp_path: Path, service: FhirService) -> None:
    serve(service, person(1, "Ann", "Lee"), person(2, "Bo"), person(3, "Cy"), person(4, "Di", "Du"))
    first = extracted(tmp_path, service, "inc")
    assert "_since" not in service.asked[-1]
    assert len(rows(first, "name")) == 6
    serve(service, person(1, "Ann"), person(4), person(5, "Ed"))
    service.deleted = ["Patient/p2"]
    second = extracted(tmp_path, service, "inc")
    assert service.asked[-1]["_since"] == ["2026-03-01T12:00:00Z"]
    serve(service, person(1, "Ann"), person(3, "Cy"), person(4), person(5, "Ed"))
    service.deleted = []
    whole = extracted(tmp_path, service, "whole")
    for table in ("patient", "name"):
        assert rows(second, table) == rows(whole, table)
    assert {row["id"] for row in rows(second, "patient")} == {"p1", "p3", "p4", "p5"}
    assert {row["family"] for row in rows(second, "name")} == {"Ann", "Cy", "Ed"}, "in the order of pseudonyms"
    assert (second.record.get("extract", "patient") or {})["incremental"] == {"read": 3, "deleted": 1, "after": first.id, "whole": ""}
