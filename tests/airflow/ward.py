"""A made-up ward: twelve patients, their stays and their notes, with values planted that must be met nowhere but at the source."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

#: Values of records that no log, XCom, message or table of Airflow's may hold.
PLANTED = ("Zorblatt", "Quixelheim", "MRN-7730194", "zq.zorblatt@example.org", "41st of Nevermonth")
NAMES = ("Ada", "Ben", "Cara", "Dov", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kit", "Lea")


def patients() -> list[tuple[str, ...]]:
    """patient_id, name, mrn, email, birth_date, age, zip"""
    rows = []
    for number, first in enumerate(NAMES):
        mrn = PLANTED[2] if number == 0 else f"MRN-77{number:05d}"
        name = f"{first} {PLANTED[0]}-{PLANTED[1]}" if number == 0 else f"{first} Muster{number}"
        email = PLANTED[3] if number == 0 else f"{first.lower()}{number}@example.org"
        rows.append(
            (f"P{number:03d}", name, mrn, email, f"19{60 + number}-0{1 + number % 9}-1{number % 9}", str(40 + number), f"100{number % 3}1")
        )
    return rows


def notes() -> list[tuple[str, ...]]:
    """patient_id, written, text"""
    rows = []
    for patient, name, mrn, email, *_ in patients():
        text = f"{name} ({mrn}) was seen on the ward. Mail to {email}. No fever, eating well. Discharge tomorrow."
        rows.append((patient, "2024-03-05", text))
    return rows


TABLES = {
    "patient": (("patient_id", "name", "mrn", "email", "birth_date", "age", "zip"), patients),
    "note": (("patient_id", "written", "text"), notes),
}


def write_files(folder: Path) -> None:
    """The ward as CSV, and a table with a date that is none."""
    folder.mkdir(parents=True)
    for name, (columns, rows) in TABLES.items():
        _write(folder / f"{name}.csv", columns, rows())
    dates = [(row[0], PLANTED[4] if number == 7 else row[1]) for number, row in enumerate(notes())]
    _write(folder / "spoiled.csv", ("patient_id", "written"), dates)


def write_database(file: Path) -> None:
    """The ward as SQLite."""
    with sqlite3.connect(file) as database:
        for name, (columns, rows) in TABLES.items():
            database.execute(f"CREATE TABLE {name} ({', '.join(f'{column} TEXT' for column in columns)})")
            database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' for _ in columns)})", rows())


def write_policies(folder: Path) -> None:
    """Four: one by files, one that two stewards sign, one by an Airflow connection with its key in an Airflow Variable, and one with a
    malformed record."""
    folder.mkdir(parents=True)
    files = "files: {type: csv, path: ../source}"
    database = "ehr: {type: sql, connection: ward_ehr}"
    (folder / "ward.yaml").write_text(POLICY.format(dataset="ward", key="env:ANONYMIZE_KEY", source=files))
    two = POLICY.format(dataset="shared-ward", key="env:ANONYMIZE_KEY", source=files) + "review: {stewards: 2}\n"
    (folder / "shared-ward.yaml").write_text(two)
    (folder / "ehr.yaml").write_text(POLICY.format(dataset="ehr", key="airflow:ward_key", source=database))
    (folder / "spoiled.yaml").write_text(SPOILED)
    (folder / "wrong.yaml").write_text(POLICY.format(dataset="wrong", key="env:ANONYMIZE_KEY", source=files).replace("quasi age", "quassi age"))


def _write(file: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([columns, *rows])


POLICY = """\
dataset: {dataset}
description: A made-up ward.
profile: none
key: {key}
subject: patient.patient_id
workspace: ../workspace
sources:
  {source}
tables:
  patient:
    columns:
      patient_id: identifier pseudonym
      name: drop name
      mrn: drop mrn
      email: drop email
      birth_date: drop date
      age: quasi age
      zip: quasi us-zip3
  note:
    columns:
      patient_id: identifier pseudonym
      written: date shift
      text: text
privacy: {{k: 2, suppression: 0.5}}
engine: {{local: {{workers: 2}}}}
release: {{store: ../store, title: A made-up ward}}
"""

SPOILED = """\
dataset: spoiled
profile: none
subject: patient_id
workspace: ../workspace
sources:
  files: {type: csv, path: ../source}
tables:
  spoiled:
    columns:
      written: date shift
release: {store: ../store}
"""
