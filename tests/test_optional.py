"""A table that a policy calls optional may be missing at the source: it is left out, and the run's record says so."""
# ruff: noqa: E501 (rows and statements stand in one line)

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from anonymize import pipeline
from anonymize.check import check
from anonymize.errors import PolicyError
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run

POLICY = """
dataset: small
profile: none
subject: person.id
workspace: workspace
sources: {{db: {{type: sql, url: "sqlite:///a.db"}}, files: {{type: csv, path: .}}}}
tables:
  person: {{source: db, columns: {{id: identifier pseudonym, sex: quasi flat, race: {{role: quasi, hierarchy: flat, optional: true}}}}, optional: {subject}}}
  death: {{source: db, columns: {{id: identifier pseudonym, cause: sensitive}}, subject: id, optional: {death}}}
  visit: {{source: db, query: "SELECT id, kind FROM visits", columns: {{id: identifier pseudonym, kind: plain}}, subject: id, optional: true}}
  note: {{source: files, columns: {{id: identifier pseudonym, body: text}}, subject: id, optional: true}}
  ward: {{source: files, subject: null, columns: {{name: plain}}, optional: true}}
privacy: {{k: 2, l: ["cause:2"]}}
review: {{required: false}}
release: {{store: store}}
"""


def written(folder: Path, **words: str) -> Path:
    engine = sa.create_engine(f"sqlite:///{folder}/a.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE person (id INTEGER PRIMARY KEY, sex TEXT)")
        connection.exec_driver_sql("INSERT INTO person VALUES (1, 'F'), (2, 'F'), (3, 'F')")
    (folder / "WARD.csv").write_text("name\nnorth\n")
    file = folder / "policy.yaml"
    file.write_text(POLICY.format(**({"subject": "false", "death": "true"} | words)).replace(', l: ["cause:2"]', ""))
    return file


def test_what_is_not_there_is_left_out_and_recorded(tmp_path: Path) -> None:
    run = Run.open(load(written(tmp_path)))
    counts = pipeline.check(run)
    assert counts["absent"] == ["person.race", "death", "visit", "note"]
    assert pipeline.extract(run, "death") == {"absent": True}
    again = Run.open(load(tmp_path / "policy.yaml"), run_id=run.id)
    assert list(again.policy.tables) == ["person", "ward"], "a step in another process knows it too"
    assert pipeline.deidentify(again, "visit") == {"absent": True}
    pipeline.to_review(again)
    pipeline.publish(again)
    version = open_version(tmp_path / "store", "small", verify=True)
    assert [table.name for table in version.manifest.tables] == ["person", "ward"]
    assert version.manifest.table("ward").rows == 1, "WARD.csv is table 'ward'"
    assert run.record.get("check")["absent"] == ["person.race", "death", "visit", "note"]  # type: ignore[index]


def test_what_is_not_optional_stops_the_run(tmp_path: Path) -> None:
    report = check(load(written(tmp_path, death="false")))
    assert [problem.path for problem in report.problems] == ["tables.death"]
    assert report.absent == ["person.race", "visit", "note"]
    assert "optional, and not at the source" in report.text()


def test_the_subject_table_is_never_optional(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="subject table cannot be optional"):
        load(written(tmp_path, subject="true"))
