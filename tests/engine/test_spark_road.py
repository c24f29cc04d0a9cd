"""The whole road on Spark: the release is the local engine's, byte for byte, and no key or value stands where it has no place."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.conftest import KEY
from tests.engine.cluster import standalone
from tests.engine.conftest import need_spark
from tests.road import hospital

pytestmark = pytest.mark.slow

LOCAL = "engine: {local: {workers: 1}}"
POLICY = hospital.POLICY.replace("release:", "review: {required: false}\nrelease:")
NOTES = 4
Release = tuple[dict[str, Any], dict[str, bytes]]


def build(folder: Path, engine: str) -> Path:
    """The hospital and its policy. The notes are few, for they cost the most."""
    hospital.build(folder)
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("DELETE FROM notes WHERE note_id > ?", [NOTES])
    return hospital.policy(folder, POLICY.replace(LOCAL, engine))


def released(folder: Path) -> Release:
    """The manifest of the one release, and the bytes of its data files."""
    (version,) = (file.parent for file in (folder / "store" / "small" / "versions").glob("*/manifest.json"))
    manifest = json.loads((version / "manifest.json").read_text())
    return manifest, {str(file.relative_to(version)): file.read_bytes() for file in sorted(version.rglob("*.parquet"))}


def run(folder: Path, engine: str) -> Release:
    opened = Run.open(load(build(folder, engine)))
    pipeline.to_review(opened)
    pipeline.publish(opened)
    return released(folder)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Release:
    need_spark()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", KEY)
        return run(tmp_path_factory.mktemp("local"), LOCAL)


def assert_same(one: Release, other: Release) -> None:
    """The same files, the same manifest of content, the same k."""
    (manifest, files), (others, other_files) = one, other
    assert len(files) >= 4
    assert files == other_files
    for what in ("content_sha256", "tables", "privacy"):
        assert manifest[what] == others[what]


def test_a_release_of_one_process_is_the_local_engines(local: Release, spark: Any, tmp_path: Path) -> None:
    assert_same(run(tmp_path, "engine: {spark: {}}"), local)


def test_a_release_of_a_cluster_of_processes_is_the_local_engines_and_tells_no_key(local: Release, tmp_path: Path) -> None:
    cluster, logs = tmp_path / "cluster", tmp_path / "events"
    logs.mkdir()
    with standalone(cluster, {"ANONYMIZE_KEY": KEY}) as master:
        conf = {"spark.eventLog.enabled": True, "spark.eventLog.compress": False, "spark.eventLog.dir": f"file:{logs}"}
        conf |= {"spark.executor.memory": "600m", "spark.executor.cores": 1, "spark.ui.enabled": False, "spark.driver.host": "127.0.0.1"}
        policy = build(tmp_path / "here", f"engine: {{spark: {{master: '{master}', conf: {json.dumps(conf)}}}}}")
        done = subprocess.run([sys.executable, "-m", "anonymize.cli", "run", str(policy)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert_same(released(tmp_path / "here"), local)
    executors = {file.parent.name for file in cluster.glob("work-*/app-*/*/stderr")}
    assert len(executors) >= 2  # both workers had one
    written = "\n".join(file.read_text(errors="replace") for place in (cluster, logs) for file in place.rglob("*") if file.is_file())
    assert "MapInArrow" in written  # the plans are there to be searched
    said = written + done.stdout + done.stderr
    assert KEY not in said
    found = [word for number in range(1, 61) for word in map(str, hospital.patient(number)[1:4]) if len(word) > 5 and word in said]
    assert not found
