"""The Synthea export's patients and encounters as one SQL database (SQLite), and what CRATE needs to copy it into another without names.

CRATE 0.20.9 on SQLite: dates must be texts, for it writes a `DATE` as the text that SQLite gave it, which SQLAlchemy refuses; and its last step,
the indexes, hands `autocommit` to a driver that knows none, so that step is left out.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path

#: Each column at the source, in the export, its flags (K: the row's key, P: the patient's number, *: defines it, H: its changes are told by a
#: hash), what is done to it.
Column = tuple[str, str, str, str]
PATIENTS: tuple[Column, ...] = (
    ("patient_id", "Id", "KHP*", "number"),
    ("birthdate", "BIRTHDATE", "", "truncate_date"),
    ("ssn", "SSN", "", "number"),
    ("first", "FIRST", "", "words"),
    ("last", "LAST", "", "words"),
    ("address", "ADDRESS", "", "words"),
    ("zip", "ZIP", "", ""),
    ("gender", "GENDER", "", ""),
    ("race", "RACE", "", ""),
    ("expenses", "HEALTHCARE_EXPENSES", "", ""),
)
ENCOUNTERS: tuple[Column, ...] = (
    ("encounter_id", "Id", "KH", ""),
    ("patient_id", "PATIENT", "P", ""),
    ("start", "START", "", ""),
    ("class", "ENCOUNTERCLASS", "", ""),
    ("description", "DESCRIPTION", "", "scrub"),
    ("reason", "REASONDESCRIPTION", "", "scrub"),
    ("cost", "TOTAL_CLAIM_COST", "", ""),
)
TABLES = {"patients": PATIENTS, "encounters": ENCOUNTERS}
STEPS = ("--dropremake", "--optout", "--nonpatienttables", "--patienttables")
CONFIG = """\
[main]
data_dictionary_filename = {folder}/dictionary.tsv
sqlatype_pid = String(250)
hash_method = HMAC_SHA256
per_table_patient_id_encryption_phrase = no secret
master_patient_id_encryption_phrase = no secret either
change_detection_encryption_phrase = nor this
timefield_name = _when_processed_utc
research_id_fieldname = rid
trid_fieldname = trid
master_research_id_fieldname = mrid
source_hash_fieldname = _src_hash
temporary_tablename = _crate_temp_table
source_databases = source
destination_database = destination
admin_database = admin
[extra_regexes]
[source]
url = sqlite:///{folder}/source.db
[destination]
url = sqlite:///{folder}/destination.db
[admin]
url = sqlite:///{folder}/admin.db
"""
DICTIONARY = (
    "src_db src_table src_field src_datatype src_flags scrub_src scrub_method decision inclusion_values exclusion_values alter_method "
    "dest_table dest_field dest_datatype index indexlen comment"
).split()
POLICY = """\
dataset: visits
subject: patients.patient_id
workspace: workspace
sources:
  ehr: {{type: sql, url: "sqlite:///{folder}/source.db"}}
tables:
  patients:
    columns:
      patient_id: identifier pseudonym
      birthdate: {{role: quasi, hierarchy: "birth-year:2026", kind: date}}
      ssn: identifier drop ssn
      first: identifier drop name
      last: identifier drop name
      address: identifier drop address
      zip: quasi us-zip3
      gender: quasi flat
      race: quasi flat
      expenses: plain round -2
  encounters:
    columns:
      encounter_id: identifier pseudonym
      patient_id: identifier pseudonym
      start: date shift
      class: plain
      description: text
      reason: text
      cost: plain
privacy: {{k: 5, suppression: 0.1}}
release: {{store: store}}
"""


def make(folder: Path, export: Path, patients: int) -> int:
    """Write `source.db`, each patient of the export as often as makes so many, with numbers of its own; and CRATE's `crate.ini` and
    `dictionary.tsv`. Returns the number of encounters."""
    people, visits = _rows(export / "patients.csv"), _rows(export / "encounters.csv")
    by_person: dict[str, list[dict[str, str]]] = {}
    for visit in visits:
        by_person.setdefault(visit["PATIENT"], []).append(visit)
    database = sqlite3.connect(folder / "source.db")
    for table, columns in TABLES.items():
        types = ", ".join(f"{name} {'FLOAT' if name in ('cost', 'expenses') else 'VARCHAR(250)'}" for name, *_ in columns)
        database.execute(f"CREATE TABLE {table} ({types}, PRIMARY KEY ({columns[0][0]}))")
    database.execute("CREATE INDEX of_patient ON encounters (patient_id)")
    encounters = 0
    for number in range(patients):
        person = people[number % len(people)]
        ssn = f"999-{number // 10_000 + 10}-{number % 10_000:04}"
        _insert(database, "patients", [{**person, "Id": f"{person['Id']}-{number}", "SSN": ssn}])
        own = [{**one, "Id": f"{one['Id']}-{number}", "PATIENT": f"{one['PATIENT']}-{number}"} for one in by_person.get(person["Id"], [])]
        _insert(database, "encounters", [{**one, "START": one["START"][:10]} for one in own])
        encounters += len(own)
    database.commit()
    database.close()
    (folder / "crate.ini").write_text(CONFIG.format(folder=folder))
    with (folder / "dictionary.tsv").open("w", newline="") as file:
        out = csv.DictWriter(file, DICTIONARY, delimiter="\t", restval="")
        out.writeheader()
        out.writerows(_dictionary())
    return encounters


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _insert(database: sqlite3.Connection, table: str, rows: list[dict[str, str]]) -> None:
    columns = TABLES[table]
    marks = ", ".join("?" for _ in columns)
    database.executemany(f"INSERT INTO {table} VALUES ({marks})", [[row[at] or None for _, at, _, _ in columns] for row in rows])


def _dictionary() -> Iterator[dict[str, str]]:
    """What is searched for in texts does not leave, but for the patient's number, which leaves as a hash."""
    for table, columns in TABLES.items():
        for name, _, flags, how in columns:
            searched, patient = how in ("words", "number"), "P" in flags
            yield {
                "src_db": "source",
                "src_table": table,
                "src_field": name,
                "src_datatype": "FLOAT" if name in ("cost", "expenses") else "VARCHAR(250)",
                "src_flags": flags,
                "scrub_src": "patient" if searched else "",
                "scrub_method": how if searched else "",
                "decision": "OMIT" if searched and not patient else "include",
                "alter_method": how if how in ("scrub", "truncate_date") else "",
                "dest_table": table,
                "dest_field": "rid" if patient else name,
                "index": "U" if "K" in flags else "I" if patient else "",
                "dest_datatype": "VARCHAR(64)" if patient else "DATE" if how == "truncate_date" else "",
            }
