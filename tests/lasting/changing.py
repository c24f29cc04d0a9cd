"""A hospital whose records change: rows come, change, come late and go, between the runs of one policy."""

from __future__ import annotations

import random
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

from anonymize import pipeline
from anonymize.lasting import kept
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.road import hospital

POLICY = """\
dataset: changing
subject: patient.patient_id
workspace: "{workspace}"
sources:
  ehr: {{type: sql, url: "sqlite:///ehr.db"}}
tables:
  patient:
    from: patients
    columns:
      patient_id: identifier pseudonym
      mrn: identifier drop mrn
      family: identifier drop name
      birth_date: {{role: quasi, hierarchy: birth-year, kind: date}}
      sex: quasi flat
  stay:
    from: stays
    incremental: {{cursor: updated_at, row: stay_id, lateness: 2d{more}}}
    columns:
      stay_id: identifier pseudonym
      patient_id: identifier pseudonym
      admitted: date shift
      ward: plain
privacy: {{k: 3, suppression: 0.5}}
checks: {{quarantine: 0.9, row-change: 1.0}}
review: {{required: false}}
release: {{store: "{store}"}}
engine: {{local: {{workers: 1}}}}
{end}"""
START = datetime(2026, 1, 10)


class Changing:
    """The hospital; `now` moves on a day with each `day`."""

    def __init__(self, folder: Path, seed: int = 1, people: int = 40) -> None:
        self.folder, self.rnd, self.now = folder, random.Random(seed), START
        folder.mkdir(parents=True, exist_ok=True)
        with self.db() as db:
            db.execute("CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, mrn TEXT, family TEXT, birth_date DATE, sex TEXT)")
            db.execute(
                "CREATE TABLE stays (stay_id INTEGER PRIMARY KEY, patient_id INTEGER, admitted TEXT, ward TEXT, updated_at TIMESTAMP,"
                " voided INTEGER DEFAULT 0)"
            )
            db.execute("CREATE TABLE gone (stay_id INTEGER, at TIMESTAMP)")
            for number in range(1, people + 1):
                _, mrn, family, _, _, sex, _, _, _ = hospital.patient(number)
                db.execute("INSERT INTO patients VALUES (?,?,?,?,?)", (number, mrn, family, f"{1950 + number % 3 * 5}-03-04", sex))
            for _ in range(80):
                self.insert(db)

    def db(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "ehr.db")

    def insert(self, db: sqlite3.Connection, *, late: timedelta = timedelta(0)) -> int:
        """A new stay; one in ten has a day that is none, one in twenty no patient."""
        day = "2024-02-30" if self.rnd.random() < 0.1 else f"2024-01-{self.rnd.randint(10, 28)}"
        patient = None if self.rnd.random() < 0.05 else self.rnd.randint(1, 40)
        values = (patient, day, self.rnd.choice(["ICU", "ER", "ward"]), self.at(late))
        return int(db.execute("INSERT INTO stays (patient_id, admitted, ward, updated_at) VALUES (?,?,?,?)", values).lastrowid or 0)

    def at(self, late: timedelta = timedelta(0)) -> str:
        return str(self.now + timedelta(seconds=self.rnd.randint(0, 86_000)) - late)

    def day(self, *, deletes: str = "sweep", latest: float = 1.5) -> None:
        """A day's work: rows come (some late), change, are mended or spoiled, and go."""
        self.now += timedelta(days=1)
        with self.db() as db:
            for _ in range(self.rnd.randint(0, 8)):
                self.insert(db, late=timedelta(days=self.rnd.choice([0, 0, latest])))
            ids = [row[0] for row in db.execute("SELECT stay_id FROM stays")]
            for stay in self.rnd.sample(ids, 6):
                day = "2024-02-30" if self.rnd.random() < 0.3 else f"2024-01-{self.rnd.randint(10, 28)}"
                db.execute("UPDATE stays SET admitted=?, updated_at=? WHERE stay_id=?", (day, self.at(), stay))
            for stay in self.rnd.sample(ids, self.rnd.randint(0, 5)):
                if deletes == "flag":
                    db.execute("UPDATE stays SET voided=1, updated_at=? WHERE stay_id=?", (self.at(), stay))
                elif deletes != "never":
                    db.execute("DELETE FROM stays WHERE stay_id=?", (stay,))
                    db.execute("INSERT INTO gone VALUES (?,?)", (stay, self.at()))

    def policy(self, name: str = "inc", more: str = "", end: str = "") -> Path:
        file = self.folder / "policy.yaml"  # one file, so one policy: workspaces differ by their environment
        file.write_text(POLICY.format(workspace="${CHANGING}/" + "workspace", store="${CHANGING}/store", more=more, end=end))
        return file

    def run(self, monkeypatch: object, name: str, *, full: bool = False, more: str = "", end: str = "", whole_road: bool = False) -> Run:
        """A run in the workspace `name`; its base is kept as if it had been published, or by publishing it."""
        monkeypatch.setenv("CHANGING", str(self.folder / name))  # type: ignore[attr-defined]
        run = Run.open(load(self.policy(name, more, end)), fresh=True)
        kept.ask(run, full_refresh=full)
        if whole_road:
            pipeline.to_review(run)
            pipeline.publish(run)
            return run
        pipeline.check(run)
        for table in pipeline.tables(run.policy):
            pipeline.extract(run, table)
        kept.keep(run)
        return run


def rows(run: Run, table: str = "stay") -> list[dict[str, object]]:
    """What was extracted, all of it."""
    return [row for batch in run.engine.read(run.folder("extract", table)).batches() for row in batch.to_pylist()]
