"""Others' tools beside ours on the same Synthea export, where they do the same work; where they do not, what they do."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.scale import crate_peer, larger
from benchmarks.scale.watching import Measured, python, watched

HOME = Path(__file__).parents[2]
DATA = Path(os.environ.get("ANONYMIZE_DATA", HOME.parent / "shared" / "data"))
PEERS = HOME / "build" / "scale-peers"
KEY = {"ANONYMIZE_KEY": "benchmark-only-this-is-no-secret-0123456789"}
PATIENTS = 20_000
#: How many times the FHIR export of 13 patients is taken, under other ids, names and days.
COPIES = 10
#: Of the SQL database: each with some 22 encounters.
VISITING = 2_000
FHIR = """\
extends: fhir-r4-us-core
dataset: export
workspace: workspace
privacy: {k: 2, suppression: 1.0}
release: {store: store}
"""
CSV = """\
dataset: patients
subject: patients.Id
workspace: workspace
sources:
  files: {{type: csv, path: {source}}}
tables:
  patients:
    columns:
      Id: identifier pseudonym
      BIRTHDATE: {{role: quasi, hierarchy: "birth-year:2026", kind: date}}
      DEATHDATE: date year
      SSN: identifier drop ssn
      DRIVERS: identifier drop license
      PASSPORT: identifier drop license
      FIRST: identifier drop name
      LAST: identifier drop name
      MARITAL: sensitive
      RACE: quasi flat
      ETHNICITY: sensitive
      GENDER: quasi flat
      ADDRESS: identifier drop address
      ZIP: quasi us-zip3
      HEALTHCARE_EXPENSES: plain round -2
privacy: {{k: 5, suppression: 0.1}}
release: {{store: store}}
"""


def compare(folder: Path) -> Iterator[dict[str, Any]]:
    """Measure what is installed under build/scale-peers. folder: for what is made."""
    click.echo("\nOthers on the same Synthea export (seconds of the whole process, start-up included)")
    if not (DATA / "synthea_csv").is_dir():
        click.echo(f"  {DATA} HOLDS NO SYNTHEA EXPORT: set ANONYMIZE_DATA")
        return
    for name, run in (
        ("cumulus-etl", _cumulus),
        ("cumulus-etl", partial(_cumulus, copies=COPIES)),
        ("presidio-structured", _presidio),
        ("crate-anon", _crate),
    ):
        if not (PEERS / name / "bin" / "python").exists():
            click.echo(f"  {name:20} not installed: make build/scale-peers/installed")
            continue
        home = folder / name
        home.mkdir()
        try:
            what, theirs, ours = run(home)
        except RuntimeError as error:
            click.echo(f"  {name:20} failed: {error}")
            continue
        finally:
            shutil.rmtree(home)
        times = f"{theirs.seconds:6.1f} s ({theirs.processor:.1f} of the processor), ours {ours.seconds:.1f} s ({ours.processor:.1f})"
        click.echo(f"  {name:20} {times}: {what}")
        yield {
            "name": name,
            "what": what,
            "seconds": theirs.seconds,
            "processor": theirs.processor,
            "ours": ours.seconds,
            "ours_processor": ours.processor,
        }


def _cumulus(home: Path, copies: int = 1) -> tuple[str, Measured, Measured]:
    """FHIR resources without the notes, which it leaves out unless told otherwise."""
    export = home / "export"
    files = [file for file in sorted((DATA / "fhir_bulk_synthea_10").glob("*.ndjson")) if not file.name.startswith(("DocumentReference", "log"))]
    resources = larger.copy(files, export, copies)
    tool = str(PEERS / "cumulus-etl" / "bin" / "cumulus-etl")
    options = ["--output-format", "ndjson", "--allow-missing-resources", "--export-group", "g", "--export-timestamp", "2026-01-01T00:00:00Z"]
    theirs = watched([tool, "etl", str(export), str(home / "out"), str(home / "phi"), *options])
    policy = home / "policy.yaml"
    policy.write_text(FHIR)
    ours = python("benchmarks.scale.road", policy, env={**KEY, "FHIR_EXPORT": str(export), "FHIR_STORE": str(home / "store")})
    return (
        f"a FHIR export of {13 * copies:,} patients, {resources:,} resources without notes; it hashes ids and cuts what is not listed: no k, no "
        "search for leaks",
        theirs,
        ours,
    )


def _presidio(home: Path) -> tuple[str, Measured, Measured]:
    """The patients' table, each row as often as makes 20,000, with numbers of its own."""
    source = home / "source"
    source.mkdir()
    with (DATA / "synthea_csv" / "patients.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (source / "patients.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, rows[0].keys())
        out.writeheader()
        for number in range(PATIENTS):
            row = rows[number % len(rows)]
            out.writerow({**row, "Id": f"{row['Id']}-{number}", "SSN": f"999-{number // 10_000 + 10}-{number % 10_000:04}"})
    script = str(Path(__file__).with_name("presidio_peer.py"))
    tool = str(PEERS / "presidio-structured" / "bin" / "python")
    theirs = watched([tool, script, str(source / "patients.csv"), str(home / "out.csv")])
    policy = home / "policy.yaml"
    policy.write_text(CSV.format(source=source))
    ours = python("benchmarks.scale.road", policy, env=KEY)
    return (
        f"{PATIENTS:,} patients of the CSV export; it replaces the cells of the columns that it takes for PHI: no k, no search for leaks",
        theirs,
        ours,
    )


def _crate(home: Path) -> tuple[str, Measured, Measured]:
    """Patients and encounters in a SQL database, two columns of it scrubbed of the patient's own words and numbers."""
    encounters = crate_peer.make(home, DATA / "synthea_csv", VISITING)
    tool = str(PEERS / "crate-anon" / "bin" / "crate_anonymise")
    theirs = watched([tool, "--config", str(home / "crate.ini"), "--full", *crate_peer.STEPS])
    with closing(sqlite3.connect(home / "destination.db")) as database:
        copied = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in crate_peer.TABLES}
    if copied != {"patients": VISITING, "encounters": encounters}:
        raise RuntimeError(f"copied {copied} of {VISITING} patients and {encounters} encounters")
    policy = home / "policy.yaml"
    policy.write_text(crate_peer.POLICY.format(folder=home))
    ours = python("benchmarks.scale.road", policy, env=KEY)
    return (
        f"{VISITING:,} patients and {encounters:,} encounters from one SQLite database into another; it hashes the patients' numbers and scrubs "
        "texts of the patient's own words: no k, no search for leaks",
        theirs,
        ours,
    )
