"""A published dataset small enough to be taken back from many times: no hospital, no detectors, only the store's own doors."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.keys import Key
from anonymize.policy.loader import load
from anonymize.policy.model import Policy
from anonymize.publish import GateFact, PrivacyFact, prepare, publish, published_schema, release_facts, review, sealing, table_facts
from anonymize.transform.pseudonym import pseudonymize
from tests.publish.conftest import s3_server, s3_uri, store_uri

__all__ = ["s3_server", "s3_uri", "store_uri"]

START = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
POLICY = """\
dataset: icu
description: Stays on the ICU.
subject: patient.patient_id
workspace: workspace
sources: {{ehr: {{type: csv, path: .}}}}
tables:
  patient:
    columns:
      patient_id: identifier pseudonym
      zip: {{role: quasi, hierarchy: us-zip3}}
      race: sensitive
  stay:
    columns:
      patient_id: identifier pseudonym
      ward: quasi flat
      charge: plain
  note:
    columns:
      patient_id: {note}
      body: text
  ward:
    subject: null
    columns: {{name: plain}}
privacy: {{k: 3, suppression: 0.5{privacy}}}
release: {{store: "{store}", title: ICU stays, contact: data@example.org{release}}}
{more}"""


def make_policy(folder: Path, store: str, *, privacy: str = "", note: str = "identifier pseudonym", more: str = "", release: str = "") -> Policy:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "icu.yaml"
    file.write_text(POLICY.format(store=store, privacy=privacy, note=note, more=more, release=release))
    return load(file)


def rows(people: Iterable[int], policy: Policy) -> dict[str, pa.Table]:
    """Ten classes of zip, some of them of three people; two stays each; a note each. Integer keys in one table, text in another."""
    people = list(people)
    key = Key(policy.key, policy.project_name)

    def ids(numbers: list[int], type: pa.DataType) -> pa.Array:
        return pseudonymize(pa.array(numbers, pa.int64()).cast(type), key, namespace="subject")

    twice = [number for number in people for _ in range(2)]
    patient = {
        "patient_id": ids(people, pa.int64()),
        "zip": [f"{10 + number // 6:03}**" for number in people],
        "race": [("White", "Black", "Asian")[number % 3] for number in people],
    }
    stay = {
        "patient_id": ids(twice, pa.string()),
        "ward": [("ICU" if n % 4 else f"ward {number // 12}") for n, number in enumerate(twice)],
        "charge": [100.0 * n for n in range(len(twice))],
    }
    note = {"patient_id": ids(people, pa.string()), "body": ["[NAME] is well"] * len(people)}
    tables = {"patient": patient, "stay": stay, "note": note, "ward": {"name": ["ICU", "ER"]}}
    drop = [name for name, rule in policy.tables["note"].columns.items() if not rule.leaves]
    tables["note"] = {name: column for name, column in note.items() if name not in drop}
    return {name: pa.table(columns) for name, columns in tables.items()}


def make_version(policy: Policy, root: Path, people: Iterable[int], *, hours: int = 0, store: str | None = None) -> str:
    """Publish a version of these people; returns its name."""
    people = list(people)
    stage = root / f"made-{hours}" / "stage"
    for name, table in rows(people, policy).items():
        schema = published_schema(policy, name, table.schema)
        for folder, part in ((stage / name, table.cast(schema)), (stage.parent / "subjects" / name, whose(name, people, table))):
            folder.mkdir(parents=True)
            half = len(part) // 2
            for number, piece in enumerate((part.slice(0, half), part.slice(half))):
                pq.write_table(piece, folder / f"part-0000{number}.parquet", compression="zstd")
    started = START + timedelta(hours=hours)
    facts = release_facts(
        policy,
        run=f"icu-{hours}",
        started=started,
        code_version="0.1.0",
        key_id=Key(policy.key, policy.project_name).id,
        privacy=PrivacyFact(k=policy.privacy.k, reached=3, suppressed=2),
        tables=[table_facts(policy, name, stage / name, stage.parent / "subjects" / name) for name in policy.tables],
        gates=(GateFact(gate="leaks", passed=True, words="No identifier was found."),),
        held_back={"quarantined": 1, "suppressed": 2},
    )
    leaving, encryption = stage, policy.release.encryption
    if encryption.columns:
        leaving = stage.parent / "sealed"
        sealing.seal(stage, leaving, {name: encryption.of_table(name) for name in policy.tables}, encryption.footer or "")
    prepare(leaving, facts, plain=stage, subjects=stage.parent / "subjects")
    decision = review.decide(
        review.request(leaving, at=started), stage.parent / "review", approve=True, steward="A. Steward", reason="Looked at it", at=started
    )
    return publish(leaving, store or policy.release.store, facts, decision).version


def whose(name: str, people: list[int], table: pa.Table) -> pa.Table:
    numbers = {"stay": [n for n in people for _ in range(2)], "ward": [None, None]}.get(name, people)
    return pa.table({"__subject": pa.array([None if n is None else str(n) for n in numbers], pa.string())})


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A store in a folder."""
    return str(tmp_path / "store")


@pytest.fixture
def policy(tmp_path: Path, folder: str) -> Policy:
    return make_policy(tmp_path, folder)
