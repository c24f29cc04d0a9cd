"""The whole road on a small hospital: what arrives, what does not, and that a run ends the same however often it is killed."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from anonymize import pipeline
from anonymize.errors import AnonymizeError, GateFailed, KeyMissing, PolicyError, QuarantineBudgetExceeded, ReviewMissing, WorkspaceBusy
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run, exclusive
from tests.road import hospital

STEPS = [
    pytest.param("check", marks=pytest.mark.slow),
    "extract.note",
    "collect",
    pytest.param("deidentify.stay", marks=pytest.mark.slow),
    "generalize.patient",
    pytest.param("stage.note", marks=pytest.mark.slow),
    "validate",
    pytest.param("request", marks=pytest.mark.slow),
    pytest.param("review", marks=pytest.mark.slow),
    "publish",
]
"""Where a run is killed; half of them wait for `make test-roads`, since each is a run and a half."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return hospital.build(tmp_path / "hospital")


def travel(folder: Path, text: str = hospital.POLICY) -> Run:
    """A run to its publication, with a steward who approves."""
    run = Run.open(load(hospital.policy(folder, text)))
    pipeline.to_review(run)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    return run


def published(folder: Path, table: str) -> list[dict[str, object]]:
    return open_version(folder / "store", "small", verify=True).dataset(table).to_table().to_pylist()


def every_byte(folder: Path) -> str:
    """All that a reader or an operator may see: the records, and what is published, as text."""
    texts = [file.read_text() for file in (folder / "workspace" / "records").rglob("*.json")]
    for file in (folder / "store").rglob("*"):
        if file.suffix == ".parquet":
            texts.append(json.dumps(pq.read_table(file).to_pylist(), default=str) + str(pq.read_schema(file).metadata))
        elif file.is_file() and file.suffix != ".pdf":  # its words are compressed: tests/evidence reads them
            texts.append(file.read_text())
    return "\n".join(texts)


def test_what_arrives(folder: Path) -> None:
    run = travel(folder)
    patients, stays, notes = (published(folder, table) for table in ("patient", "stay", "note"))
    assert set(patients[0]) == {"patient_id", "birth_date", "sex", "zip"}
    assert not run.workspace.exists()
    people = {row["patient_id"] for row in patients}
    assert {row["patient_id"] for row in stays} <= people
    assert {row["patient_id"] for row in notes} == people
    assert published(folder, "empty") == []
    classes: dict[tuple[object, ...], set[object]] = {}
    for row in patients:
        classes.setdefault((row["birth_date"], row["sex"], row["zip"]), set()).add(row["patient_id"])
    assert min(len(one) for one in classes.values()) >= 3
    assert run.record.get("extract", "stay")["reasons"] == {"not-date (admitted)": 1}  # type: ignore[index]


def test_nothing_of_the_source_is_seen(folder: Path) -> None:
    travel(folder)
    seen = every_byte(folder)
    for number in range(1, 61):
        _, mrn, family, given, _, _, _, phone, _ = hospital.patient(number)
        for value in (mrn, phone, str(mrn).replace("-", " "), str(mrn)[4:]):
            assert str(value) not in seen
        for name in (family, given):
            assert not re.search(rf"\b{re.escape(str(name))}\b", seen), f"patient {number}"
    for row in published(folder, "note"):
        assert re.search(r"DOB \[DATE\]", str(row["body"]))
    assert "Parkinson's disease" in seen
    assert "Foley catheter" in seen
    assert "metoprolol 25 mg" in seen


def test_intervals_of_a_subject_are_those_of_the_source(folder: Path) -> None:
    travel(folder)
    found = sorted((row["discharged"] > row["admitted"]) for row in published(folder, "stay"))  # type: ignore[operator]
    assert found
    with sqlite3.connect(folder / "ehr.db") as db:
        days = "julianday(discharged) - julianday(admitted)"
        source = [int(row[0]) for row in db.execute(f"SELECT {days} FROM stays WHERE stay_id != 71")]
    from datetime import date

    def gap(row: dict[str, object]) -> int:
        return (date.fromisoformat(str(row["discharged"])) - date.fromisoformat(str(row["admitted"]))).days

    gaps = [gap(row) for row in published(folder, "stay")]
    assert all(source.count(one) >= gaps.count(one) for one in set(gaps))


def test_the_same_input_policy_and_key_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    travel(folder)
    other = hospital.build(tmp_path / "other")
    travel(other)
    first, second = (open_version(one / "store", "small").manifest for one in (folder, other))
    assert first.content_sha256 == second.content_sha256


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_killed_goes_on_and_ends_the_same(folder: Path, tmp_path: Path, step: str) -> None:
    whole = hospital.build(tmp_path / "whole")
    travel(whole)
    file = hospital.policy(folder)
    done = subprocess.run([sys.executable, "-c", KILLED, str(file), step], capture_output=True, text=True, timeout=300)
    assert done.returncode == -9, done.stderr[-2000:]
    run = Run.open(load(file))
    assert len(list((folder / "workspace" / "records").iterdir())) == 1, "the run goes on and no new one is begun"
    pipeline.to_review(run)
    if run.record.get("review") is None:
        pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    first, second = (open_version(one / "store", "small", verify=True).manifest for one in (folder, whole))
    assert first.content_sha256 == second.content_sha256
    assert list((folder / "workspace" / "runs").iterdir()) == []


KILLED = """
import os, signal, sys
from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.run import Record, Run

put = Record.put
def put_or_die(self, step, counts, table=None):
    if f"{step}.{table}".removesuffix(".None") == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(self, step, counts, table)
Record.put = put_or_die

run = Run.open(load(sys.argv[1]))
pipeline.to_review(run)
pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
pipeline.publish(run)
"""


def test_a_release_waits_for_a_steward_and_a_rejected_one_is_gone(folder: Path) -> None:
    run = Run.open(load(hospital.policy(folder)))
    pipeline.to_review(run)
    with pytest.raises(ReviewMissing, match="waits for a steward"):
        pipeline.publish(run)
    with pytest.raises(ReviewMissing, match="reason"):
        pipeline.decide(run, approve=True, steward="Test Steward", reason=" ")
    pipeline.decide(run, approve=False, steward="Test Steward", reason="not now")
    assert not run.workspace.exists()
    with pytest.raises(ReviewMissing, match="rejected"):
        pipeline.publish(run)
    assert not list((folder / "store").rglob("manifest.json"))


def test_a_file_that_changed_after_the_decision_is_not_published(folder: Path) -> None:
    run = Run.open(load(hospital.policy(folder)))
    pipeline.to_review(run)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    with next(run.folder("stage", "note").glob("*.parquet")).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ReviewMissing, match="changed note/part-00000"):
        pipeline.publish(run)


def test_the_leak_gate_stops_a_column_of_names_and_says_no_name(folder: Path) -> None:
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("ALTER TABLE stays ADD COLUMN handover TEXT")
        db.execute("UPDATE stays SET handover = (SELECT 'for ' || given || ' ' || family FROM patients p WHERE p.patient_id = stays.patient_id)")
    text = hospital.POLICY.replace("      ward: plain\n", "      ward: plain\n      handover: plain\n")
    run = Run.open(load(hospital.policy(folder, text)))
    with pytest.raises(GateFailed, match=r"stay\.handover") as raised:
        pipeline.to_review(run)
    told = str(raised.value) + every_byte(folder)
    assert not any(re.search(rf"\b{re.escape(name)}\b", told) for name in (*hospital.FAMILY, *hospital.GIVEN))


def test_the_leak_gate_reads_the_policys_own_words(folder: Path) -> None:
    _, mrn, family, given, *_ = hospital.patient(13)
    text = hospital.POLICY.replace("title: Small", f"title: Records of {given} {family}")
    text = text.replace("ward: plain", f"ward: {{role: plain, description: 'As {given} {family} had it.'}}")
    text = text.replace("sex: quasi flat", f"sex: {{role: quasi, hierarchy: flat, unit: '{mrn}'}}")
    with pytest.raises(GateFailed) as raised:
        pipeline.to_review(Run.open(load(hospital.policy(folder, text))))
    for place in ("release.title", "tables.stay.columns.ward.description", "tables.patient.columns.sex.unit"):
        assert f"{place}: the words hold a person's" in str(raised.value)
    assert str(family) not in str(raised.value)


def test_a_reason_that_names_a_person_is_refused_and_not_kept(folder: Path) -> None:
    _, _, family, given, *_ = hospital.patient(13)
    run = Run.open(load(hospital.policy(folder)))
    pipeline.to_review(run)
    with pytest.raises(ReviewMissing, match="the reason: the words hold a person's name") as raised:
        pipeline.decide(run, approve=True, steward="Test Steward", reason=f"{given} {family} consented")
    assert str(family) not in str(raised.value) + every_byte(folder)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="everybody consented")


def test_a_column_under_a_key_goes_down_the_whole_road(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = hospital.POLICY.replace(
        "release: {store: store,", "release: {store: store, encryption: {footer: env:SMALL_FOOTER, columns: {note.body: env:SMALL_BODY}},"
    )
    keys = {"SMALL_FOOTER": "f" * 40, "SMALL_BODY": "b" * 40}
    with monkeypatch.context() as patch:
        for name, secret in keys.items():
            patch.setenv(name, secret)
        run = travel(folder, text)
    version = open_version(folder / "store", "small", verify=True)
    with pytest.raises(KeyMissing, match="SMALL_BODY"):
        version.dataset("note")
    assert any("[NAME" in body for body in version.dataset("note", keys=keys).to_table()["body"].to_pylist())
    assert version.dataset("patient").count_rows() > 0
    published_files = {file.path: file.sha256 for table in version.manifest.tables for file in table.files}
    assert version.manifest.decision is not None
    assert {f"data/{path}": sha for path, sha in version.manifest.decision.files.items() if path.endswith(".parquet")} == published_files
    assert (run.record.get("request") or {})["version"] == version.manifest.version


def test_under_safe_harbor_years_alone_arrive_in_columns_and_in_notes(folder: Path) -> None:
    travel(folder, hospital.SAFE_HARBOR)
    notes, stays = published(folder, "note"), published(folder, "stay")
    assert {row["written"] for row in notes} == {row["admitted"] for row in stays} == {2024}
    for row in notes:
        assert "was seen on 2024 for Parkinson's disease" in str(row["body"])
        assert "will return on 2024." in str(row["body"])
        assert "\nDOB [DATE]\n" in str(row["body"])


def test_a_column_new_at_the_source_stays_out_and_is_recorded(folder: Path) -> None:
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("ALTER TABLE patients ADD COLUMN nickname TEXT DEFAULT 'Bunny'")
    run = travel(folder)
    assert set(published(folder, "patient")[0]) == {"patient_id", "birth_date", "sex", "zip"}
    left = run.record.get("check")["left_out"]  # type: ignore[index]
    assert set(left["patient"]) == {"secret_flag", "nickname"}
    assert "ehr.audit" in left
    assert "Bunny" not in every_byte(folder)


def test_too_many_malformed_records_end_the_run(folder: Path) -> None:
    run = Run.open(load(hospital.policy(folder, hospital.POLICY.replace("quarantine: 0.05", "quarantine: 0.001"))))
    with pytest.raises(
        QuarantineBudgetExceeded, match=r"extract stay: 1 of 120 records quarantined \(1 not-date \(admitted\); first rows 13\)"
    ) as raised:
        pipeline.to_review(run)
    assert "02-30" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ward: date shift", "no date"),
        ("ward: plain round 1", "takes numbers"),
        ("ward: quasi age", "does not cover"),
        ("wrd: plain", "Did you mean 'ward'"),
    ],
)
def test_a_rule_that_cannot_be_honoured_stops_the_run_before_the_first_record(folder: Path, rule: str, words: str) -> None:
    file = hospital.policy(folder, hospital.POLICY.replace("ward: plain", rule))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if rule in text)
    run = Run.open(load(file))
    with pytest.raises(PolicyError, match=re.escape(words)) as raised:
        pipeline.to_review(run)
    assert f"policy.yaml:{line} " in str(raised.value)
    assert not run.folder("extract").exists()


def test_two_commands_on_one_dataset(folder: Path) -> None:
    policy = load(hospital.policy(folder))
    with exclusive(policy), pytest.raises(WorkspaceBusy, match="under way"), exclusive(policy):
        pass


def test_a_policy_that_changed_begins_anew_and_an_old_run_is_not_gone_on_with(folder: Path) -> None:
    run = Run.open(load(hospital.policy(folder)))
    pipeline.check(run)
    changed = load(hospital.policy(folder, hospital.POLICY.replace("k: 3", "k: 4")))
    with pytest.raises(AnonymizeError, match="the policy changed"):
        Run.open(changed, run_id=run.id)


def test_a_full_disk_is_said_and_the_run_goes_on_after(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import pyarrow.parquet

    class Full(pyarrow.parquet.ParquetWriter):
        def write_table(self, *args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    file = hospital.policy(folder)
    with monkeypatch.context() as patch:
        patch.setattr("anonymize.engine.files.pq.ParquetWriter", Full)
        with pytest.raises((AnonymizeError, OSError), match="No space left"):
            pipeline.to_review(Run.open(load(file)))
    travel(folder)
    assert published(folder, "patient")


def test_workspace_is_private(folder: Path) -> None:
    run = Run.open(load(hospital.policy(folder)))
    pipeline.to_review(run)
    assert oct(run.workspace.stat().st_mode)[-3:] == "700"
    assert all(path.stat().st_mode & 0o077 == 0 for path in run.workspace.iterdir() if path.is_dir())
