"""A FHIR R4 bulk export of every fifth patient of the sample hospital."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anonymize.sample.notes import Note
from anonymize.sample.people import Hospital, Person, Stay

EVERY = 5


def write_fhir(folder: Path, hospital: Hospital) -> None:
    """`Patient`, `Encounter`, `Condition` and `DocumentReference`, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    people = hospital.patients[::EVERY]
    chosen = {person.id for person in people}
    _write(folder, "Patient", (_patient(person) for person in people))
    _write(folder, "Encounter", (_encounter(person, stay) for person in people for stay in person.stays))
    _write(folder, "Condition", (c for person in people for stay in person.stays for c in _conditions(person, stay)))
    _write(folder, "DocumentReference", (_document(note) for note in hospital.notes if note.person.id in chosen))


def _write(folder: Path, resource: str, resources: Iterator[dict[str, Any]]) -> None:
    with (folder / f"{resource}.000.ndjson").open("w", encoding="utf-8") as out:
        for one in resources:
            out.write(json.dumps({"resourceType": resource, **one}, ensure_ascii=False) + "\n")


def _patient(person: Person) -> dict[str, Any]:
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    return {
        "id": str(person.id),
        "identifier": [{"type": kind, "value": person.mrn}],
        "name": [{"use": "official", "family": person.family, "given": [name for name in (person.given, person.middle) if name]}],
        "telecom": [{"system": "phone", "value": person.phone}, {"system": "email", "value": person.email}],
        "gender": "female" if person.sex == "F" else "male",
        "birthDate": person.birth.isoformat(),
        "address": [{"line": [person.street], "city": person.city, "state": person.state, "postalCode": person.zip}],
    }


def _encounter(person: Person, stay: Stay) -> dict[str, Any]:
    return {
        "id": str(stay.id),
        "status": "finished",
        "class": {"code": {"inpatient": "IMP", "emergency": "EMER"}.get(stay.kind, "AMB")},
        "subject": {"reference": f"Patient/{person.id}", "display": f"{person.given} {person.family}"},
        "period": {"start": f"{stay.admitted.isoformat()}-05:00", "end": f"{stay.discharged.isoformat()}-05:00"},
    }


def _conditions(person: Person, stay: Stay) -> Iterator[dict[str, Any]]:
    for number, (code, display) in enumerate(stay.diagnoses):
        yield {
            "id": f"{stay.id}-{number}",
            "subject": {"reference": f"Patient/{person.id}"},
            "encounter": {"reference": f"Encounter/{stay.id}"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code, "display": display}]},
            "onsetDateTime": stay.admitted.date().isoformat(),
        }


def _document(note: Note) -> dict[str, Any]:
    return {
        "id": f"note-{note.id}",
        "status": "current",
        "subject": {"reference": f"Patient/{note.person.id}"},
        "date": f"{note.written.isoformat()}T12:00:00-05:00",
        "author": [{"display": f"Dr. {note.stay.provider}"}],
        "content": [{"attachment": {"contentType": "text/plain", "data": base64.b64encode(note.text.encode()).decode()}}],
        "context": {"encounter": [{"reference": f"Encounter/{note.stay.id}"}]},
    }
