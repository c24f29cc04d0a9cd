"""The sample hospital's database, with what a real one has: odd rows, missing values, and tables that must not leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anonymize.sample.people import Hospital

SCHEMA = """
CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, mrn TEXT NOT NULL, first_name TEXT, last_name TEXT, sex TEXT, birth_date DATE,
  death_date DATE, race TEXT, ethnicity TEXT, marital_status TEXT, ssn TEXT, phone TEXT, email TEXT, street TEXT, city TEXT, state TEXT,
  zip TEXT, insurance_id TEXT, contact_name TEXT, contact_relation TEXT, portal_password_hash TEXT);
CREATE TABLE encounters (encounter_id INTEGER PRIMARY KEY, patient_id INTEGER REFERENCES patients, admitted_at TIMESTAMP,
  discharged_at TIMESTAMP, encounter_type TEXT, ward TEXT, room TEXT, attending_name TEXT, total_charge NUMERIC(12, 2));
CREATE TABLE diagnoses (diagnosis_id INTEGER PRIMARY KEY, encounter_id INTEGER REFERENCES encounters, patient_id INTEGER REFERENCES patients,
  icd10 TEXT, description TEXT, recorded_on TEXT);
CREATE TABLE labs (lab_id INTEGER PRIMARY KEY, encounter_id INTEGER REFERENCES encounters, patient_id INTEGER REFERENCES patients,
  loinc TEXT, test_name TEXT, value REAL, unit TEXT, value_text TEXT, taken_at TIMESTAMP);
CREATE TABLE notes (note_id INTEGER PRIMARY KEY, encounter_id INTEGER REFERENCES encounters, patient_id INTEGER REFERENCES patients,
  note_type TEXT, written_on DATE, author_name TEXT, note_text TEXT);
CREATE TABLE audit_log (audit_id INTEGER PRIMARY KEY, user_name TEXT, action TEXT, at TIMESTAMP);
"""
#: Every so many-th diagnosis has a day that is none: real data has such rows, and they go to the quarantine.
ODD_DIAGNOSIS = 1_700


def write_database(file: Path, hospital: Hospital) -> dict[str, int]:
    """Write the database in one step; returns the rows of each table."""
    fresh = file.with_suffix(".tmp")
    fresh.unlink(missing_ok=True)
    tables = {
        "patients": list(_patients(hospital)),
        "encounters": list(_encounters(hospital)),
        "diagnoses": list(_diagnoses(hospital)),
        "labs": list(_labs(hospital)),
        "notes": list(_notes(hospital)),
        "audit_log": [(1, "jdoe", "opened chart", "2026-06-01 08:00:00")],
    }
    with sqlite3.connect(fresh) as database:
        database.executescript(SCHEMA)
        for table, rows in tables.items():
            marks = ", ".join("?" * len(rows[0])) if rows else ""
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
    database.close()
    fresh.replace(file)
    return {table: len(rows) for table, rows in tables.items()}


Rows = Iterable[tuple[Any, ...]]


def _patients(hospital: Hospital) -> Rows:
    for p in hospital.patients:
        died = p.died.isoformat() if p.died else None
        identity = (p.id, p.mrn, p.given, p.family, p.sex, p.birth.isoformat(), died, p.race, p.ethnicity, p.marital)
        # Some were never asked for a phone.
        reach = (p.ssn, p.phone if p.id % 17 else None, p.email if p.id % 5 else None, p.street, p.city, p.state, p.zip)
        yield (*identity, *reach, p.plan, p.relative, p.relation, f"{hash_of(p.id):016x}")


def hash_of(number: int) -> int:
    """Something that looks like a hash, and is none."""
    return number * 0x9E3779B97F4A7C15 % 2**64


def _encounters(hospital: Hospital) -> Rows:
    for p in hospital.patients:
        for s in p.stays:
            days = (s.admitted.isoformat(" "), s.discharged.isoformat(" "))
            yield s.id, p.id, *days, s.kind, s.ward, s.room, s.provider, s.charge


def _diagnoses(hospital: Hospital) -> Rows:
    number = 0
    for p in hospital.patients:
        for s in p.stays:
            for code, description in s.diagnoses:
                number += 1
                day = "2024-02-30" if number % ODD_DIAGNOSIS == 0 else s.admitted.date().isoformat()
                yield number, s.id, p.id, code, description, day


def _labs(hospital: Hospital) -> Rows:
    number = 0
    for p in hospital.patients:
        for s in p.stays:
            for code, name, value, unit, text in s.labs:
                number += 1
                yield number, s.id, p.id, code, name, value, unit, text, s.admitted.isoformat(" ")


def _notes(hospital: Hospital) -> Rows:
    for note in hospital.notes:
        yield note.id, note.stay.id, note.person.id, note.kind, note.written.isoformat(), note.stay.provider, note.text
