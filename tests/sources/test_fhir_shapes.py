"""FHIR in all the shapes that systems write it in: Bundles, references, codings, attachments, R5, and what nobody has seen before."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.sources.base import Malformed
from anonymize.sources.fhir.codings import known_systems
from anonymize.sources.fhir.folder import FhirFolder
from anonymize.sources.fhir.seen import elements

LOINC, SNOMED, LOCAL = "http://loinc.org", "http://snomed.info/sct", "https://hospital.example/codes"
PATIENT = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:mrn", "value": "M-1"}], "name": [{"family": "Planted"}]}


def folder(at: Path, room: Path | None = None, mapping: str = "us-core", **files: Any) -> FhirFolder:
    """A folder of files: `name_json=value`, `name_ndjson=[values]`."""
    at.mkdir(exist_ok=True)
    for name, value in files.items():
        stem, _, ending = name.rpartition("_")
        text = "".join(json.dumps(one) + "\n" for one in value) if ending == "ndjson" else json.dumps(value, indent=1)
        (at / f"{stem}.{ending}").write_text(text)
    return FhirFolder("fhir", at, mapping=mapping, policy_folder=at, room=room)


def rows(source: FhirFolder, table: str, *columns: str) -> list[dict[str, Any]]:
    items = source.read(table, columns or source.schema(table).names)
    return [row for item in items if isinstance(item, pa.RecordBatch) for row in item.drop_columns("__row").to_pylist()]


def fallen(source: FhirFolder, table: str) -> Counter[str]:
    return Counter(item.reason for item in source.read(table, ["id"]) if isinstance(item, Malformed))


def condition(id: str = "c1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"}, **more}


def bundle(*resources: dict[str, Any], type: str = "collection", urls: tuple[str, ...] = ()) -> dict[str, Any]:
    addresses = [*urls, *[None] * len(resources)]
    entries = [{"resource": one, **({"fullUrl": url} if url else {})} for one, url in zip(resources, addresses, strict=False)]
    return {"resourceType": "Bundle", "type": type, "entry": entries}


# ---------------------------------------------------------------------------------------------------------------------- Bundles


@pytest.mark.parametrize("roomy", [True, False])
def test_a_folder_of_bundles_is_parted_by_type(tmp_path: Path, roomy: bool) -> None:
    doctor = {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Doctor"}]}
    other = {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Another"}]}
    nameless = {"resourceType": "Patient", "name": [{"family": "Second"}]}
    about = {"resourceType": "Condition", "id": "c9", "subject": {"reference": "urn:uuid:77"}, "encounter": {"reference": "urn:uuid:78"}}
    visit = {"resourceType": "Encounter", "id": "e1"}
    at = tmp_path / "export"
    at.mkdir()
    (at / "packed.json.gz").write_bytes(gzip.compress(json.dumps(bundle(PATIENT, doctor, condition(), type="searchset")).encode()))
    (at / "lines.ndjson").write_text(json.dumps(bundle(doctor, condition("c2"))) + "\n")
    room = tmp_path / "room" if roomy else None
    source = folder(
        at,
        room,
        second_json=bundle(nameless, about, visit, other, type="transaction", urls=("urn:uuid:77", "urn:uuid:c9", "urn:uuid:78")),
        single_json=condition("c3"),
        list_json=[condition("c4"), "nothing"],
        Condition_ndjson=[condition("c5")],
        history_json={"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": "Patient/x"}}, {}, {"response": {}}]},
        notes_json={"no": "resource"},
    )
    (at / "broken.json").write_text('{"resourceType": "Bundle", "entry": [')
    (at / "readme.txt").write_text("nothing")
    assert sorted(row["id"] for row in rows(source, "patient", "id")) == ["77", "p1"]
    found = {row["id"]: (row["patient_id"], row["encounter_id"]) for row in rows(source, "condition", "id", "patient_id", "encounter_id")}
    assert found == {**{f"c{n}": ("p1", None) for n in range(1, 6)}, "c9": ("77", "e1")}
    assert len(rows(source, "practitioner", "id")) == 1
    assert fallen(source, "patient") == Counter({"not-json": 1, "no-resource": 2, "deleted": 1, "not-object": 1, "other-version": 1})
    assert fallen(source, "condition") == Counter(), "what is of no kind is told once"
    assert source.told("patient") == {"files_without_resources": 1}
    rows(source, "practitioner", "id")
    assert source.told("practitioner")["duplicates"] == 1
    if room is not None:
        parted = {file.name: file.stat().st_mtime_ns for file in (room / "by-type").iterdir()}
        again = FhirFolder("fhir", at, mapping="us-core", policy_folder=at, room=room)
        assert len(rows(again, "condition", "id")) == 6
        assert {file.name: file.stat().st_mtime_ns for file in (room / "by-type").iterdir()} == parted, "it is parted once a run"


def test_decimals_of_a_bundle_stay_as_they_are_written(tmp_path: Path) -> None:
    value = '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Condition","id":"c1","onsetString":1.10}}]}'
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "b.json").write_text(value)
    for room in (None, tmp_path / "room"):
        assert rows(folder(tmp_path / "x", room), "condition", "onset_text") == [{"onset_text": "1.10"}]


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    at = tmp_path / "x"
    at.mkdir()
    packed = gzip.compress("".join(json.dumps(condition(f"c{n}")) + "\n" for n in range(20_000)).encode())
    (at / "Condition.000.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    (at / "Condition.001.ndjson.gz").write_bytes(b"no gzip")
    source = folder(at, Condition_002_ndjson=[])
    (at / "Condition.003.ndjson").write_text(json.dumps(condition()) + "\n")
    source = folder(at)
    assert 1_000 < len(rows(source, "condition", "id")) < 20_000
    assert fallen(source, "condition")["cut-off"] == 2


# ------------------------------------------------------------------------------------------------------------------- references


@pytest.mark.parametrize(
    ("subject", "id"),
    [
        ({"reference": "Patient/p1"}, "p1"),
        ({"reference": "https://ehr.example/fhir/Patient/p1"}, "p1"),
        ({"reference": "https://ehr.example/fhir/Patient/p1/_history/3"}, "p1"),
        ({"reference": "urn:uuid:p1"}, "p1"),
        ({"reference": "Patient?identifier=urn:mrn|M-1"}, "p1"),
        ({"reference": "Patient?_id=p1"}, "p1"),
        ({"identifier": {"system": "urn:mrn", "value": "M-1"}}, "p1"),
        ({"type": "Patient", "identifier": {"value": "M-1"}}, "p1"),
        ({"identifier": {"system": "urn:other", "value": "M-1"}}, "M-1"),
        ({"reference": "#me"}, "p1"),
        ({"reference": "#stranger"}, "c1#stranger"),
        ({"reference": "Group/p1"}, None),
        ({"reference": "https://ehr.example/fhir/Device/p1"}, None),
        ({"type": "Group", "identifier": {"value": "M-1"}}, None),
        ({"display": "Planted"}, None),
        ({"reference": ["Patient/p1"]}, None),
        ("Patient/p1", "p1"),
        (17, None),
    ],
)
def test_a_person_is_one_however_a_resource_refers_to_them(tmp_path: Path, subject: Any, id: str | None) -> None:
    contained = [
        {"resourceType": "Patient", "id": "me", "identifier": [{"system": "urn:mrn", "value": "M-1"}]},
        {"resourceType": "Patient", "id": "stranger"},
    ]
    source = folder(tmp_path / "x", Patient_ndjson=[PATIENT], Condition_ndjson=[condition(subject=subject, contained=contained)])
    assert rows(source, "condition", "patient_id") == [{"patient_id": id}]


def test_an_identifier_that_two_people_have_is_nobodys(tmp_path: Path) -> None:
    people = [PATIENT, {**PATIENT, "id": "p2"}]
    source = folder(tmp_path / "x", Patient_ndjson=people, Condition_ndjson=[condition(subject={"identifier": {"value": "M-1"}})])
    assert rows(source, "condition", "patient_id") == [{"patient_id": "M-1"}]


# ---------------------------------------------------------------------------------------------------------------------- codings


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        ({"coding": [{"system": SNOMED, "code": "44054006", "display": "Diabetes"}]}, (SNOMED, "44054006", "Diabetes")),
        ({"coding": [{"system": LOCAL, "code": "PLANTED", "display": "Planted"}, {"system": LOINC, "code": "8480-6"}]}, (LOINC, "8480-6", None)),
        ({"coding": [{"system": LOCAL, "code": "PLANTED", "display": "Planted"}]}, (None, None, None)),
        ({"coding": [{"system": SNOMED, "code": "Planted, Ann", "display": "Planted"}]}, (None, None, None)),
        ({"coding": [{"code": "44054006", "display": "Planted"}]}, (None, None, None)),
        ({"coding": [{"system": "http://hl7.org/fhir/sid/us-ssn", "code": "999-12-3456"}]}, (None, None, None)),
        ({"coding": {"system": SNOMED}, "text": "Planted"}, (None, None, None)),
        ("Planted", (None, None, None)),
        ([{"coding": [None, 3, {"system": [SNOMED], "code": {"x": 1}}]}], (None, None, None)),
    ],
)
def test_codes_and_displays_are_those_of_known_systems(tmp_path: Path, code: Any, taken: tuple[str | None, ...]) -> None:
    [row] = rows(folder(tmp_path / "x", Condition_ndjson=[condition(code=code)]), "condition", "system", "code", "display")
    assert tuple(row.values()) == taken


def test_a_site_adds_a_system_of_its_own(tmp_path: Path) -> None:
    at = tmp_path / "x"
    at.mkdir()
    head = f'systems: {{"{LOCAL}": "[A-Z]{{2}}"}}\n'
    (at / "m.yaml").write_text(head + "t: {resource: Condition, columns: {id: id, code: {path: code, take: code}}}\n")
    codes = [condition(code={"coding": [{"system": LOCAL, "code": code}]}) for code in ("AB", "Planted")]
    assert [row["code"] for row in rows(folder(at, mapping="m.yaml", Condition_ndjson=codes), "t", "code")] == ["AB", None]


def test_an_object_where_a_value_should_be_gives_nothing(tmp_path: Path) -> None:
    broken = condition(clinicalStatus="Planted", recordedDate={"name": "Planted"}, note=[{"text": {"x": "Planted"}}, "Planted", None])
    [row] = rows(folder(tmp_path / "x", Condition_ndjson=[broken]), "condition")
    assert "Planted" not in str(row)


@pytest.mark.parametrize("code", ["Ann Planted", "Planted, Ann", "planted@example.org", "(555) 123-4567", ""])
def test_no_system_takes_a_name_or_an_address_for_a_code(code: str) -> None:
    systems = known_systems()
    assert not [system for system in systems.exact if systems.known({"system": system, "code": code})]


# ------------------------------------------------------------------------------------------------------------------ attachments


def note(**attachment: Any) -> dict[str, Any]:
    return {"resourceType": "DocumentReference", "id": "d1", "subject": {"reference": "Patient/p1"}, "content": [{"attachment": attachment}]}


@pytest.mark.parametrize("packed", [False, True])
def test_attachments_are_text_a_binary_of_the_export_or_a_tag(tmp_path: Path, packed: bool) -> None:
    text, pdf = base64.b64encode("Größe".encode()).decode(), base64.b64encode(b"%PDF-1.4 x").decode()
    latin, thai = base64.b64encode("Größe".encode("cp1252")).decode(), base64.b64encode("ไข้".encode("tis-620")).decode()
    two = note(contentType="application/pdf", data=pdf)
    two["content"].append({"attachment": {"contentType": "text/plain", "data": text}})
    notes = [
        note(contentType="text/plain", data=text),
        note(contentType="text/plain; charset=iso-8859-1", data=latin),
        note(contentType="text/plain; charset=tis-620", data=thai),
        note(contentType="application/pdf", data=pdf),
        two,
        note(url="Binary/b1"),
        note(url="https://ehr.example/fhir/Binary/b1"),
        note(url="https://elsewhere.example/x.txt", title="Planted"),
        note(title="nothing"),
        note(data="***"),
    ]
    at = tmp_path / "x"
    at.mkdir()
    binary = json.dumps({"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": text}) + "\n"
    (at / f"Binary.ndjson{'.gz' if packed else ''}").write_bytes(gzip.compress(binary.encode()) if packed else binary.encode())
    source = folder(at, tmp_path / "room", DocumentReference_ndjson=notes)
    told = [row["text"] for row in rows(source, "document_reference", "text")]
    here, away = "[UNREADABLE: pdf]", "[UNREADABLE: attachment]"
    assert told == ["Größe", "Größe", "ไข้", here, "Größe", "Größe", "Größe", away, None, "[UNREADABLE: base64]"]
    assert "binary" not in source.tables()


# --------------------------------------------------------------------------------------------------------------------- versions


def test_r5_is_read_by_the_same_columns(tmp_path: Path) -> None:
    act, concept = "http://terminology.hl7.org/CodeSystem/v3-ActCode", {"coding": [{"system": SNOMED, "code": "44054006"}]}
    source = folder(
        tmp_path / "x",
        Encounter_ndjson=[
            {"resourceType": "Encounter", "id": "e4", "class": {"system": act, "code": "AMB"}, "period": {"start": "2020"}},
            {
                **{"resourceType": "Encounter", "id": "e5", "class": [{"coding": [{"system": act, "code": "AMB"}]}]},
                **{"actualPeriod": {"start": "2020"}, "reason": [{"value": [{"concept": concept}]}]},
                "participant": [{"actor": {"reference": "Practitioner/d1"}}],
            },
        ],
        MedicationRequest_ndjson=[
            {"resourceType": "MedicationRequest", "id": "m5", "medication": {"concept": {"coding": [{"system": SNOMED, "code": "387207008"}]}}},
            {
                **{"resourceType": "MedicationRequest", "id": "m4", "medicationReference": {"reference": "#med"}},
                "contained": [{"resourceType": "Medication", "id": "med", "code": {"coding": [{"system": SNOMED, "code": "387207008"}]}}],
            },
        ],
        Procedure_ndjson=[
            {"resourceType": "Procedure", "id": "r", "occurrencePeriod": {"start": "2020-01-01"}, "reason": [{"concept": concept}]}
        ],
        DocumentReference_ndjson=[{"resourceType": "DocumentReference", "id": "d", "context": [{"reference": "Encounter/e5"}]}],
    )
    visits = rows(source, "encounter", "class", "start", "provider_id", "reason_code")
    assert visits[0] == {"class": "AMB", "start": "2020", "provider_id": None, "reason_code": None}
    assert visits[1] == {"class": "AMB", "start": "2020", "provider_id": "d1", "reason_code": "44054006"}
    drugs = rows(source, "medication_request", "code", "medication_id")
    assert drugs == [{"code": "387207008", "medication_id": None}, {"code": "387207008", "medication_id": "m4#med"}]
    assert rows(source, "procedure", "start", "reason_code") == [{"start": "2020-01-01", "reason_code": "44054006"}]
    assert rows(source, "document_reference", "encounter_id") == [{"encounter_id": "e5"}]


# ------------------------------------------------------------------------------------------------------------ not seen before


def test_what_was_not_seen_before_is_counted_by_its_path_and_stays_out(tmp_path: Path) -> None:
    odd = {
        **PATIENT,
        "flavour": "Planted",
        "_birthDate": {"extension": [{"url": "http://hospital.example/fhir/born-at", "valueString": "Planted"}]},
        "extension": [
            {"url": "http://hospital.example/fhir/vip", "valueString": "Planted"},
            {"url": "http://hospital.example/people/Ann-Planted@1950", "valueString": "Planted"},
            {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex", "valueCode": "F"},
        ],
        "maritalStatus": {"coding": [{"system": LOCAL, "code": "Planted"}]},
        "Planted, Ann": 1,
    }
    source = folder(tmp_path / "x", Patient_ndjson=[odd, odd])
    assert "Planted" not in str(rows(source, "patient", "id", "marital_status", "birth_sex"))
    assert source.told("patient")["unseen"] == {
        "Patient.flavour": 2,
        "Patient.…": 2,
        "Patient._birthDate.extension[url=http://hospital.example/fhir/born-at]": 2,
        "Patient.extension[url=http://hospital.example/fhir/vip]": 2,
        "Patient.extension[url=…]": 2,
        f"Patient.maritalStatus.coding[system={LOCAL}]": 2,
    }


def test_an_absent_type_is_refused_or_an_empty_table(tmp_path: Path) -> None:
    from anonymize.errors import SourceError

    source = folder(tmp_path / "x", Patient_ndjson=[PATIENT])
    with pytest.raises(SourceError, match="it has no Media records"):
        source.schema("media")
    source.lenient = True
    assert rows(source, "media", "id") == []


# --------------------------------------------------------------------------------------------------------------- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["reference", "coding", "value", "url", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from(sorted(elements()["DocumentReference"] - {"resourceType"})), JSON, max_size=6), max_size=4))
def test_whatever_stands_in_a_resource_each_gives_a_row_or_falls_out(tmp_path: Path, bodies: list[dict[str, Any]]) -> None:
    at = tmp_path / "x"
    source = folder(at, DocumentReference_ndjson=[{"resourceType": "DocumentReference", **body} for body in bodies])
    if bodies:
        items = list(source.read("document_reference", source.schema("document_reference").names))
        whole = sum(item.num_rows if isinstance(item, pa.RecordBatch) else 1 for item in items)
        assert whole == len(bodies)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=3), st.integers(0, 400), st.booleans())
def test_a_file_that_was_damaged_loses_no_record_in_silence(tmp_path: Path, put: bytes, at: int, cut: bool) -> None:
    lines = [json.dumps(condition(f"c{n}")).encode() + b"\n" for n in range(5)]
    data = b"".join(lines)
    at %= len(data)
    damaged = data[:at] + (b"" if cut else put + data[at + len(put) :])
    place = tmp_path / "x"
    place.mkdir(exist_ok=True)
    (place / "Condition.ndjson").write_bytes(damaged)
    expected = sum(1 for line in damaged.split(b"\n") if line.strip())
    if expected:
        items = list(folder(place).read("condition", ["id"]))
        assert sum(item.num_rows if isinstance(item, pa.RecordBatch) else 1 for item in items) == expected
