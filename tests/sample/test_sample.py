"""The sample hospital: the same for the same seed, true to what it says of itself, and what its notes look like after the road."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline
from anonymize.errors import AnonymizeError
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.sample import bank, make_sample
from anonymize.sample.people import TODAY
from tests.conftest import ROOT

PHRASES: list[str] = bank.notes()["survivors"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "hospital"
    make_sample(folder, patients=400)
    return folder


def content(folder: Path) -> str:
    """A hash of all that stands in a sample; of the database as SQL, since SQLite's own bytes hold its version."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".db":
            with sqlite3.connect(file) as db:
                digest.update("\n".join(db.iterdump()).encode())
        elif file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "ehr.db") as db:
        return db.execute(query).fetchall()


def truth(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_same_seed_gives_the_same_hospital(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 8)):
        make_sample(tmp_path / name, patients=30, seed=seed)
    command = [sys.executable, "-m", "anonymize.cli", "sample", tmp_path / "c", "--patients", "30", "--seed", "7"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "12345"}, capture_output=True)
    assert content(tmp_path / "a") == content(tmp_path / "c") != content(tmp_path / "b")
    with pytest.raises(AnonymizeError, match="holds a sample hospital already"):
        make_sample(tmp_path / "a", patients=30)


def test_the_truth_is_where_it_says(sample: Path) -> None:
    texts = dict(rows(sample, "SELECT note_id, note_text FROM notes"))
    forms: Counter[tuple[str, str]] = Counter()
    for note in truth(sample):
        last = 0
        for span in note["spans"]:
            words = texts[note["note_id"]][span["start"] : span["end"]]
            assert words == span["value"]
            assert words.strip() == words != ""
            assert span["start"] >= last, "spans do not overlap"
            last = span["end"]
            forms[span["kind"], span["form"]] += 1
            if span["kind"] == "phone" and span["form"] != "pager":
                assert len(re.sub(r"\D", "", words)) == 10
    kinds = {kind for kind, _ in forms}
    assert kinds >= {"name", "date", "mrn", "phone", "fax", "ssn", "email", "address", "facility", "health-plan", "account", "age", "id"}
    awkward = {"misspelt", "initials", "relative", "signature", "nickname", "capitals", "over a line's end", "no year", "no day", "birth"}
    assert awkward <= {form for _, form in forms}


def test_its_people_are_as_people_are(sample: Path) -> None:
    births, races, zips = zip(*rows(sample, "SELECT birth_date, race, zip FROM patients"), strict=True)
    ages = [(TODAY - date.fromisoformat(birth)).days // 365.25 for birth in births]
    assert (min(ages), max(ages) > 89, max(ages) <= 100) == (0, True, True)
    assert 0.1 < sum(age < 18 for age in ages) / len(ages) < 0.25
    assert None in races
    assert {code[:3] for code in zips} >= {"021", "019", "030"}
    assert any(len(code) == 10 for code in zips)
    names = {name for (name,) in rows(sample, "SELECT trim(last_name) FROM patients")}
    assert names & {"Young", "White", "Hope", "Foot", "May", "Rose", "Brown"}
    assert any("-" in name for name in names)
    assert any(not name.isascii() for name in names)


def test_its_database_holds_what_real_ones_hold(sample: Path) -> None:
    for table in ("encounters", "diagnoses", "labs", "notes"):
        orphans = rows(sample, f"SELECT count(*) FROM {table} WHERE patient_id NOT IN (SELECT patient_id FROM patients)")
        assert orphans == [(0,)]
    assert rows(sample, "SELECT count(*) FROM labs WHERE value IS NULL AND value_text IS NOT NULL")[0][0] > 20
    assert rows(sample, "SELECT count(*) FROM patients WHERE phone IS NULL")[0][0] > 10
    assert rows(sample, "SELECT count(*) FROM encounters WHERE discharged_at IS NULL")[0][0] > 1
    assert {table for (table,) in rows(sample, "SELECT name FROM sqlite_master WHERE type = 'table'")} >= {"audit_log", "staff"}
    lengths = [len(text) for (text,) in rows(sample, "SELECT note_text FROM notes")]
    assert sum(lengths) / len(lengths) > 600
    assert len({kind for (kind,) in rows(sample, "SELECT note_type FROM notes")}) == 6
    fhir = [json.loads(line)["id"] for line in (sample / "fhir" / "Patient.000.ndjson").read_text(encoding="utf-8").splitlines()]
    assert len(fhir) == 80
    assert {int(id) for id in fhir} <= {id for (id,) in rows(sample, "SELECT patient_id FROM patients")}


#: The largest share of planted PHI that may be read after the road, by kind and form; what is not named here: none at all. Initials that are
#: abbreviations as well (MR, MD) name few people, and are what no rule can tell.
MAY_REMAIN = {
    ("name", "initials"): 0.3,
    ("name", "signature"): 0.03,
    ("name", "not on record"): 0.01,
    ("name", "relative"): 0.01,
    ("date", "no year"): 0.02,
}


def test_the_sample_policy_goes_down_the_road_and_keeps_the_medicine(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_SAMPLE", str(sample))
    policies = tmp_path / "policies"
    policies.mkdir()
    file = policies / "sample-hospital.yaml"
    file.write_text((ROOT / "policies" / "sample-hospital.yaml").read_text())
    run = Run.open(load(file))
    pipeline.to_review(run)
    scrubbed = {row["__row"]: row["note_text"] for b in run.engine.read(run.folder("deidentify", "note")).batches() for row in b.to_pylist()}
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    assert remaining(sample, scrubbed) == {}
    original = "\n".join(text for (text,) in rows(sample, "SELECT note_text FROM notes"))
    kept = "\n".join(scrubbed.values())
    assert [phrase for phrase in PHRASES if phrase not in original] == []
    assert [phrase for phrase in PHRASES if kept.count(phrase) < 0.97 * original.count(phrase)] == []
    published = open_version(tmp_path / "build" / "store", "sample-hospital", verify=True)
    texts = published.dataset("note").to_table()["note_text"].to_pylist()
    assert 0 < len(texts) <= len(scrubbed)
    assert set(texts) <= set(scrubbed.values())
    assert not {table.name for table in published.manifest.tables} & {"staff", "audit_log"}


def remaining(sample: Path, scrubbed: dict[int, str]) -> dict[tuple[str, str], str]:
    """The kinds and forms of which more is left than may be, with how many of how many. Notes are numbered as their rows."""
    planted: Counter[tuple[str, str]] = Counter()
    left: Counter[tuple[str, str]] = Counter()
    for note in truth(sample):
        for span in note["spans"]:
            form = (span["kind"], span["form"])
            planted[form] += 1
            # An age over 89 becomes `90+`; 90 itself would be found in it.
            words = rf"(?<!\w){re.escape(span['value'])}(?![\w+])"
            left[form] += form[0] != "age" and re.search(words, scrubbed[note["note_id"]]) is not None
    assert sum(planted.values()) > 4_000
    return {form: f"{left[form]} of {n}" for form, n in planted.items() if left[form] > MAY_REMAIN.get(form, 0.0) * n}
