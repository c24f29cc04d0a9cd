"""A small hospital for the tests of the road: SQLite, made in a moment, with awkward names and a note for everybody."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

FAMILY = ["Young", "O'Brien", "García-Lopez", "Nguyen", "Hope", "Smythe", "Kowalczyk", "Foot", "Abernathy", "White"]
GIVEN = ["Mary", "José", "Anne-Marie", "Xiuying", "Will", "Thaddeus", "Zofia", "Rose", "Wilhelmina", "Ivan"]
SEXES, ZIPS = ["F", "M"], ["02139", "02138", "02141", "02142", "03601"]


def build(folder: Path, people: int = 60) -> Path:
    """Write `ehr.db`; returns the folder. Two of the stays have a date that is none."""
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "ehr.db") as db:
        db.executescript(
            """
            CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, mrn TEXT, family TEXT, given TEXT, birth_date DATE, sex TEXT, zip TEXT,
                                   phone TEXT, secret_flag TEXT);
            CREATE TABLE stays (stay_id INTEGER PRIMARY KEY, patient_id INTEGER, admitted TEXT, discharged TEXT, ward TEXT, charge NUMERIC);
            CREATE TABLE notes (note_id INTEGER PRIMARY KEY, patient_id INTEGER, written DATE, body TEXT);
            CREATE TABLE empty (id INTEGER PRIMARY KEY, patient_id INTEGER, value TEXT);
            CREATE TABLE audit (id INTEGER PRIMARY KEY, who TEXT);
            """
        )
        for number in range(1, people + 1):
            db.execute("INSERT INTO patients VALUES (?,?,?,?,?,?,?,?,?)", patient(number))
            db.execute("INSERT INTO notes VALUES (?,?,?,?)", (number, number, "2024-05-06", note(number)))
            for stay in (1, 2):
                day = "2024-02-30" if number == 7 and stay == 1 else f"2024-0{stay}-1{number % 9}"
                row = (number * 10 + stay, number, day, f"2024-0{stay}-2{number % 8}", "ICU" if number % 3 else "ER", 100.5 * number)
                db.execute("INSERT INTO stays VALUES (?,?,?,?,?,?)", row)
    return folder


def patient(number: int) -> tuple[object, ...]:
    """One row of patients."""
    family, given = FAMILY[number % 10], GIVEN[(number // 10 + number) % 10]
    birth = f"{1930 + number % 50}-03-{10 + number % 18}"
    phone = f"617-555-{1000 + number:04}"
    return (number, f"MRN-{700000 + number}", family, given, birth, SEXES[number % 2], ZIPS[number % 5], phone, "x")


def note(number: int) -> str:
    """One note, full of its patient."""
    _, mrn, family, given, birth, _, _, phone, _ = patient(number)
    return (
        f"Patient Name: {family}, {given}   MRN: {str(mrn).replace('-', ' ')}\nDOB {birth}\n\n"
        f"{given} {family} was seen on March 4, 2024 for Parkinson's disease. A Foley catheter was placed, metoprolol 25 mg given.\n"
        f"Call {str(phone)[:8]}\n{str(phone)[8:]} with questions. {str(family).upper()} agreed. Mrs. {family} will return on 5/6/2024.\n"
    )


POLICY = """\
dataset: small
description: A small hospital.
subject: patient.patient_id
workspace: workspace
sources:
  ehr: {type: sql, url: "sqlite:///ehr.db"}
tables:
  patient:
    from: patients
    columns:
      patient_id: identifier pseudonym
      mrn: identifier drop mrn
      family: identifier drop name
      given: identifier drop name
      birth_date: {role: quasi, hierarchy: "birth-year:2026", kind: date}
      sex: quasi flat
      zip: quasi us-zip3
      phone: identifier drop phone
  stay:
    from: stays
    columns:
      stay_id: identifier pseudonym
      patient_id: identifier pseudonym
      admitted: date shift
      discharged: date shift
      ward: plain
      charge: plain round -2
  note:
    from: notes
    columns:
      patient_id: identifier pseudonym
      written: date shift
      body: text
  empty:
    columns:
      id: identifier pseudonym
      value: plain
privacy: {k: 3, suppression: 0.2}
checks: {quarantine: 0.05}
release: {store: store, title: Small}
engine: {local: {workers: 1}}
"""

NOW = datetime.now(UTC).year
SAFE_HARBOR = (
    POLICY.replace("dataset: small", f"dataset: small\nprofile: hipaa-safe-harbor\ntext: {{dates: year:{NOW}}}")
    .replace("date shift", "date year")
    .replace("ward: plain", "ward: drop")
    .replace("birth-year:2026", f"birth-year:{NOW}")
)


def policy(folder: Path, text: str = POLICY) -> Path:
    """Write the policy beside the database."""
    file = folder / "policy.yaml"
    file.write_text(text)
    return file
