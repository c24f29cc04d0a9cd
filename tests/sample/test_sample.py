"""The sample hospital: the same for the same seed, and what its notes look like after the road."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from pathlib import Path

import pytest

from anonymize import pipeline
from anonymize.errors import AnonymizeError
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.sample import bank, make_sample
from tests.conftest import ROOT


def content(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".db":
            with sqlite3.connect(file) as db:
                digest.update("\n".join(db.iterdump()).encode())
        elif file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_hospital(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        make_sample(tmp_path / name, patients=30, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")
    with pytest.raises(AnonymizeError, match="holds a sample hospital already"):
        make_sample(tmp_path / "a", patients=30)


def test_the_truth_is_where_it_says(tmp_path: Path) -> None:
    make_sample(tmp_path, patients=60)
    with sqlite3.connect(tmp_path / "ehr.db") as db:
        notes = dict(db.execute("SELECT note_id, note_text FROM notes"))
        names = {row[0]: row[1:] for row in db.execute("SELECT patient_id, first_name, last_name FROM patients")}
    kinds = set()
    for line in (tmp_path / "truth.jsonl").read_text().splitlines():
        truth = json.loads(line)
        text = notes[truth["note_id"]]
        spans = [(s["kind"], text[s["start"] : s["end"]]) for s in truth["spans"]]
        kinds |= {kind for kind, _ in spans}
        for kind, words in spans:
            assert words.strip() == words != ""
            if kind == "phone":
                assert len(re.sub(r"\D", "", words)) == 10
        assert names[truth["patient_id"]]
    assert kinds >= {"name", "date", "mrn", "phone", "ssn", "email", "address", "facility"}


def test_the_sample_policy_goes_down_the_road_and_keeps_the_medicine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sample(tmp_path / "sample", patients=300)
    monkeypatch.setenv("ANONYMIZE_SAMPLE", str(tmp_path / "sample"))
    policies = tmp_path / "policies"
    policies.mkdir()
    file = policies / "sample-hospital.yaml"
    file.write_text((ROOT / "policies" / "sample-hospital.yaml").read_text())
    run = Run.open(load(file))
    pipeline.to_review(run)
    kept = {row["__row"]: row["note_text"] for batch in run.engine.read(run.folder("deidentify", "note")).batches() for row in batch.to_pylist()}
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    with sqlite3.connect(tmp_path / "sample" / "ehr.db") as db:
        notes = dict(db.execute("SELECT note_id, note_text FROM notes"))
    total = left = 0
    for line in (tmp_path / "sample" / "truth.jsonl").read_text().splitlines():
        truth = json.loads(line)
        for span in truth["spans"]:
            words = notes[truth["note_id"]][span["start"] : span["end"]]
            total += 1
            left += span["kind"] != "age" and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", kept[truth["note_id"]]) is not None
    assert total > 1_500
    assert left / total < 0.002
    published = open_version(tmp_path / "build" / "store", "sample-hospital", verify=True)
    texts = "\n".join(published.dataset("note").to_table()["note_text"].to_pylist())
    assert all(words in texts for words in bank.SURVIVORS)
