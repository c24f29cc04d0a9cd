"""The sample hospital's database, with what a real one has: odd rows, missing values, and tables that must not leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from anonymize.sample.people import TODAY, Hospital

SCHEMA = """
CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, mrn TEXT NOT NULL UNIQUE, first_name TEXT, middle_name TEXT, last_name TEXT,
  preferred_name TEXT, sex TEXT, birth_date DATE, death_date DATE, race TEXT, ethnicity TEXT, marital_status TEXT, ssn TEXT, phone TEXT,
  email TEXT, street TEXT, city TEXT, state TEXT, zip TEXT, insurer TEXT, insurance_id TEXT, contact_name TEXT, contact_relation TEXT,
  contact_phone TEXT, portal_password_hash TEXT, updated_at TIMESTAMP);
CREATE TABLE encounters (encounter_id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients, admitted_at TIMESTAMP,
  discharged_at TIMESTAMP, encounter_type TEXT, ward TEXT, room TEXT, attending_name TEXT, total_charge NUMERIC(12, 2));
CREATE TABLE diagnoses (diagnosis_id INTEGER PRIMARY KEY, encounter_id INTEGER NOT NULL REFERENCES encounters,
  patient_id INTEGER NOT NULL REFERENCES patients, icd10 TEXT, description TEXT, recorded_on TEXT);
CREATE TABLE labs (lab_id INTEGER PRIMARY KEY, encounter_id INTEGER NOT NULL REFERENCES encounters,
  patient_id INTEGER NOT NULL REFERENCES patients, loinc TEXT, test_name TEXT, value REAL, unit TEXT, value_text TEXT, taken_at TIMESTAMP);
CREATE TABLE notes (note_id INTEGER PRIMARY KEY, encounter_id INTEGER NOT NULL REFERENCES encounters,
  patient_id INTEGER NOT NULL REFERENCES patients, note_type TEXT, written_on DATE, author_name TEXT, note_text TEXT);
CREATE TABLE staff (staff_id INTEGER PRIMARY KEY, full_name TEXT, npi TEXT);
CREATE TABLE audit_log (audit_id INTEGER PRIMARY KEY, user_name TEXT, action TEXT, patient_id INTEGER, client_ip TEXT, at TIMESTAMP);
CREATE INDEX encounters_patient ON encounters (patient_id);
"""
#: Every so many-th row is odd, as rows in real data are: a day that is none (goes to the quarantine), a stay that has not ended, a result
#: of 9999 where there was none, a name in capitals or with a blank from an older system, a ZIP code of nine digits.
ODD_DIAGNOSIS, OPEN_STAY, ODD_LAB, OLD_NAME, BLANK_NAME, LONG_ZIP = 1_700, 97, 500, 13, 41, 29


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
        "staff": [(number, name, f"1{number:03}{hash_of(number) % 10**6:06}") for number, name in enumerate(hospital.providers, start=1)],
        "audit_log": list(_audit(hospital)),
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
        family = p.family.upper() if p.id % OLD_NAME == 0 else f"{p.family} " if p.id % BLANK_NAME == 0 else p.family
        died = p.died.isoformat() if p.died else None
        identity = (p.id, p.mrn, p.given, p.middle, family, p.nick, p.sex, p.birth.isoformat(), died, p.race, p.ethnicity, p.marital)
        # Some were never asked for a phone, and some have no e-mail.
        reach = (p.ssn, p.phone if p.id % 17 else None, p.email if p.id % 5 else None, p.street, p.city, p.state)
        zip_code = f"{p.zip}-{hash_of(p.id) % 9000 + 1000}" if p.id % LONG_ZIP == 0 else p.zip
        contact = (p.insurer, None if p.insurer == "Self-pay" else p.plan, p.relative, p.relation, p.relative_phone)
        yield (*identity, *reach, zip_code, *contact, f"{hash_of(p.id):016x}", f"{TODAY} 02:00:00")


def hash_of(number: int) -> int:
    """Something that looks like a hash, and is none."""
    return number * 0x9E3779B97F4A7C15 % 2**64


def _encounters(hospital: Hospital) -> Rows:
    for p in hospital.patients:
        for s in p.stays:
            ended = None if s.id % OPEN_STAY == 0 else s.discharged.isoformat(" ")
            yield s.id, p.id, s.admitted.isoformat(" "), ended, s.kind, s.ward, s.room, s.provider, s.charge


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
            for hours, (code, name, value, unit, text) in enumerate(s.labs):
                number += 1
                taken = (s.admitted + timedelta(hours=6 * hours)).isoformat(" ")
                yield number, s.id, p.id, code, name, 9999.0 if number % ODD_LAB == 0 else value, unit, text, taken


def _notes(hospital: Hospital) -> Rows:
    for note in hospital.notes:
        yield note.id, note.stay.id, note.person.id, note.kind, note.written.isoformat(), note.stay.provider, note.text


def _audit(hospital: Hospital) -> Rows:
    """Who opened whose chart."""
    stays = [(p, s) for p in hospital.patients for s in p.stays]
    for number, (p, s) in enumerate(stays, start=1):
        user = s.provider.lower().replace(" ", ".")
        yield number, user, "opened chart", p.id, f"10.20.{s.id % 200}.{p.id % 250}", s.admitted.isoformat(" ")
