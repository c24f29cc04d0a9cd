"""The whole road on Spark: the release is the local engine's, byte for byte."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.road import hospital

LOCAL = "engine: {local: {workers: 1}}"


def release(folder: Path, text: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Run a policy to its published release; returns its manifest, and the bytes of its data files."""
    folder.mkdir(exist_ok=True)
    run = Run.open(load(hospital.policy(folder, text)))
    pipeline.to_review(run)
    pipeline.decide(run, approve=True, steward="A. Steward", reason="Made-up records")
    pipeline.publish(run)
    version = next(file.parent for file in (folder / "store" / "small").glob("2*/manifest.json"))
    manifest = json.loads((version / "manifest.json").read_text())
    return manifest, {str(file.relative_to(version)): file.read_bytes() for file in sorted(version.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def both(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """The same small hospital, released by one engine and by the other. Its notes are few, for they cost the most."""
    made = []
    for name, engine in (("local", LOCAL), ("spark", "engine: {spark: {}}")):
        folder = hospital.build(tmp_path_factory.mktemp(name))
        with sqlite3.connect(folder / "ehr.db") as db:
            db.execute("DELETE FROM notes WHERE note_id > 12")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
            made.append(release(folder, hospital.POLICY.replace(LOCAL, engine)))
    return made


def test_the_files_of_one_engine_are_the_others(both: list[tuple[dict[str, Any], dict[str, bytes]]]) -> None:
    (_, local), (_, spark) = both
    assert len(local) >= 4
    assert spark == local


def test_the_manifests_tell_the_same_content_and_k(both: list[tuple[dict[str, Any], dict[str, bytes]]]) -> None:
    (local, _), (spark, _) = both
    assert spark["content_sha256"] == local["content_sha256"]
    assert spark["privacy"] == local["privacy"]
    assert spark["tables"] == local["tables"]
