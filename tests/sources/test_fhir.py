"""FHIR bulk folders by a mapping in data."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from anonymize.errors import SourceError
from anonymize.sources.base import Malformed
from anonymize.sources.fhir.folder import FhirFolder
from anonymize.sources.mapping import reference_id

MAPPING = """\
patient:
  resource: Patient
  columns:
    id: id
    mrn: identifier[type.coding.code=MR].value
    official: name[use=official].family
    given: {path: name.given, take: all}
    lat: {path: "extension[url=http://x.org/geo].extension[url=lat].valueDecimal", type: float64}
name:
  resource: Patient
  each: name
  columns: {patient: resource.id, family: family}
note:
  resource: DocumentReference
  columns:
    who: {path: subject.reference, take: reference}
    text: {path: content.attachment.data, take: base64}
"""
PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"value": "0"}, {"type": {"coding": [{"code": "MR"}]}, "value": "17"}],
    "name": [{"use": "maiden", "family": "Old"}, {"use": "official", "family": "New", "given": ["Ann", "Bea"]}],
    "extension": [{"url": "http://x.org/geo", "extension": [{"url": "lat", "valueDecimal": 1.25}]}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MAPPING)
    export = tmp_path / "export"
    export.mkdir()
    lines = [
        json.dumps(PATIENT),
        "no json",
        json.dumps({"resourceType": "Group", "id": "g"}),
        json.dumps({"resourceType": "Patient", "id": "p2"}),
    ]
    (export / "Patient.000.ndjson").write_text("\n".join(lines) + "\n")
    note = {"resourceType": "DocumentReference", "subject": {"reference": "Patient/p1"}}
    good = {**note, "content": [{"attachment": {"data": base64.b64encode("Grüße".encode()).decode()}}]}
    binary = {**note, "content": [{"attachment": {"data": base64.b64encode(b"%PDF\xff\xfe").decode()}}]}
    with gzip.open(export / "DocumentReference.000.ndjson.gz", "wt") as out:
        out.write(json.dumps(good) + "\n" + json.dumps(binary) + "\n")
    return tmp_path


def opened(folder: Path) -> FhirFolder:
    return FhirFolder("fhir", folder / "export", mapping="m.yaml", policy_folder=folder)


def rows(source: FhirFolder, table: str) -> list[dict[str, object]]:
    items = source.read(table, source.schema(table).names)
    return [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]


def test_paths(folder: Path) -> None:
    first, second = rows(opened(folder), "patient")
    assert first == {"__row": 1, "id": "p1", "mrn": "17", "official": "New", "given": "Ann Bea", "lat": 1.25}
    assert second == {"__row": 4, "id": "p2", "mrn": None, "official": None, "given": None, "lat": None}
    assert [row["family"] for row in rows(opened(folder), "name")] == ["Old", "New"]


def test_what_is_no_resource_is_quarantined(folder: Path) -> None:
    bad = [item for item in opened(folder).read("patient", ["id"]) if isinstance(item, Malformed)]
    assert [(item.row, item.reason) for item in bad] == [(2, "not-json"), (3, "other-resource-type")]


def test_attachments_are_text_or_do_not_leave(folder: Path) -> None:
    assert [row["text"] for row in rows(opened(folder), "note")] == ["Grüße", "[UNREADABLE: pdf]"]


def test_a_path_that_matches_nothing_is_found(folder: Path) -> None:
    assert opened(folder).unmatched("patient", ["id", "lat"]) == []
    (folder / "m.yaml").write_text(MAPPING.replace("identifier[type.coding.code=MR]", "identifier[type.coding.code=XX]"))
    assert opened(folder).unmatched("patient", ["id", "mrn"]) == ["mrn"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id: id", "id: 'id..x'", "is no step of a path"),
        ("id: id", "id: 'name[use]'", "is no condition"),
        ("take: all", "take: some", "needs a 'path', a 'take'"),
        ("resource: DocumentReference", "res: X", "needs 'record'"),
    ],
)
def test_a_mistake_in_a_mapping_is_named(folder: Path, old: str, new: str, words: str) -> None:
    (folder / "m.yaml").write_text(MAPPING.replace(old, new))
    with pytest.raises(SourceError, match=words):
        opened(folder)


@pytest.mark.parametrize(
    ("reference", "bare"),
    [
        ("Patient/17", "17"),
        ("urn:uuid:17", "17"),
        ("https://h/fhir/Patient/17/_history/2", "17"),
        ("Practitioner?identifier=http://x|99", "99"),
    ],
)
def test_references(reference: str, bare: str) -> None:
    assert reference_id(reference) == bare


def test_the_real_export_with_its_notes(data_dir: Path) -> None:
    source = FhirFolder("fhir", data_dir / "fhir_bulk_synthea_10", mapping="us-core", policy_folder=Path("."))
    notes = rows(source, "document_reference")
    assert len(notes) == 1_215
    assert all("Chief Complaint" in str(note["text"]) for note in notes)
    assert source.unmatched("patient", ["mrn", "ssn", "driver_license", "passport", "latitude", "maiden", "birth_place_city"]) == []
