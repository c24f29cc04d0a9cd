"""Evidence: what it says is what the files and the record say, it is what was signed, and it holds no value of a record."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from anonymize import pipeline
from anonymize.errors import GateFailed, StoreError
from anonymize.evidence import Evidence, gather, gather_before, gather_published, of_record, signatures, signatures_of
from anonymize.policy.loader import load
from anonymize.policy.model import Sampling
from anonymize.publish import Store
from anonymize.publish.review import read_request
from anonymize.run import Run
from tests.evidence.conftest import Hospital
from tests.road import hospital


def test_what_goes_out_is_what_is_staged(two: Hospital) -> None:
    evidence = gather(two.second)
    stage = two.second.folder("stage")
    for table in evidence.tables:
        staged = pq.read_table(stage / table.name)
        assert (table.rows, [column.name for column in table.columns]) == (len(staged), staged.column_names)
        assert [column.type for column in table.columns] == [str(type) for type in staged.schema.types]
    assert {file.path: file.sha256 for file in evidence.files} == {
        path.relative_to(stage).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in stage.rglob("*.parquet")
    }
    assert evidence.passed
    assert {gate.gate for gate in evidence.gates} >= {"expectations", "k-anonymity", "leaks", "differences"}


def test_rows_that_came_in_went_out_or_are_accounted_for(two: Hospital) -> None:
    evidence = gather(two.second)
    out = {table.name: table.rows for table in evidence.tables}
    for held in evidence.held_back.by_table:
        assert held.rows_in == out[held.table] + held.suppressed + held.no_subject
    stay = next(held for held in evidence.held_back.by_table if held.table == "stay")
    assert (stay.quarantined, stay.reasons) == (1, {"not-date (admitted)": 1})
    patient = next(held for held in evidence.held_back.by_table if held.table == "patient")
    assert patient.dropped == ("mrn", "family", "given", "phone")
    assert patient.not_named == ("secret_flag",)
    assert evidence.held_back.tables == ("ehr.audit",)


def test_class_sizes_and_expectations_are_told_one_by_one(two: Hospital) -> None:
    evidence = gather(two.second)
    (risk,) = evidence.risk
    assert sum(size * classes for size, classes in risk.histogram.items()) == risk.subjects == evidence.subjects
    assert sum(risk.histogram.values()) == risk.classes
    assert min(risk.histogram) >= evidence.privacy.k == 4
    assert len(evidence.expectations) > 10
    assert all(one.passed and one.table in {t.name for t in evidence.tables} for one in evidence.expectations)


def test_json_and_back(two: Hospital) -> None:
    evidence = gather(two.second)
    again = Evidence.from_json(evidence.to_json())
    assert again == evidence.model_copy(update={"timings": ()})
    assert again.to_json() == evidence.to_json()


def test_the_evidence_is_among_the_files_that_are_decided_on(two: Hospital) -> None:
    staged = two.second.folder("stage") / "evidence.json"
    asked = read_request(two.second.folder("review"))
    assert asked is not None
    assert asked.files["evidence.json"] == hashlib.sha256(staged.read_bytes()).hexdigest()
    assert staged.read_bytes() == gather(two.second).to_json()
    assert gather(two.second).version == asked.facts["version"]
    assert signatures(two.second) == ()


def test_a_published_version_has_its_evidence_and_its_signature(two: Hospital) -> None:
    evidence = gather_published(two.store, "small")
    assert (evidence.version, evidence.run) == (two.version, "first")
    manifest = Store(two.store).open("small").manifest
    (signed,) = signatures_of(manifest)
    assert (signed.steward, signed.approve, signed.reason) == ("Ada Steward", True, "Page and sample were read")
    assert signed.files["evidence.json"] == hashlib.sha256(evidence.to_json()).hexdigest()
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(signed.files.items()))
    assert signed.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert gather_before(two.second) == gather_published(two.store, "small", records=two.folder / "workspace" / "records")
    assert gather_before(two.first) is None
    with pytest.raises(StoreError):
        gather_published(two.store, "small", "20200101T000000Z-00000000")


def test_a_version_from_before_there_was_evidence_says_what_its_manifest_says(two: Hospital, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(two.store, store)
    whole = gather_published(store, "small")
    (store / "small" / "versions" / two.version / "evidence.json").write_text("{cut off")
    less = gather_published(store, "small")
    assert (less.version, less.rows, less.subjects, less.gates) == (whole.version, whole.rows, whole.subjects, whole.gates)
    assert less.risk == ()
    assert gather_published(store, "small", records=two.folder / "workspace" / "records").risk == whole.risk


def test_labels_that_came_after_the_request_are_told_and_change_no_signed_byte(two: Hospital) -> None:
    before = gather(two.second).to_json()
    share = {"share": 1.0, "low": 0.94, "high": 1.0, "effective": 60.0, "confidence": 0.95}
    none = {"share": 0.0, "low": 0.0, "high": 0.06, "effective": 60.0, "confidence": 0.95}
    two.second.record.put("audit", {"done": 60, "drawn": 60, "missed": 0, "recall": share, "notes_with_misses": none})
    try:
        labelled = gather(two.second).text.audit
        assert labelled is not None
        assert (labelled.done, labelled.recall_low) == (60, 0.94)
        assert (two.second.folder("stage") / "evidence.json").read_bytes() == before
    finally:
        two.second.record.forget("audit")


def test_no_value_of_a_record_is_in_the_evidence(two: Hospital) -> None:
    seen = gather(two.second).to_json().decode() + gather_published(two.store, "small").to_json().decode()
    for number in range(1, 61):
        _, mrn, family, given, birth, _, _, phone, _ = hospital.patient(number)
        for value in (mrn, phone, str(mrn)[4:], birth):
            assert str(value) not in seen
        for name in (family, given):
            assert not re.search(rf"\b{re.escape(str(name))}\b", seen)


def test_no_address_of_a_source_or_store_is_among_the_policy_s_words(two: Hospital) -> None:
    said = gather(two.second).policy
    assert said["privacy.k"] == "4"
    assert said["tables.patient.columns.zip"] == "quasi generalize, hierarchy us-zip3"
    assert said["tables.patient.columns.mrn"] == "identifier drop, kind mrn"
    assert said["release.recipient"] == "A university"
    assert not re.search(r"sqlite|ehr\.db|workspace|ANONYMIZE_KEY|/", json.dumps(said))


def test_of_a_safe_sample_nothing_is_told_of_whom_it_left_out(two: Hospital) -> None:
    from anonymize.evidence.gathering import gather_staged

    run = two.second
    privacy = run.policy.privacy.model_copy(update={"sampling": Sampling(share=0.5, epsilon=2.0)})
    policy = run.policy.model_copy(update={"privacy": privacy})
    run.policy, kept = policy, run.policy
    try:
        evidence = gather_staged(run)
    finally:
        run.policy = kept
    assert evidence.privacy.sampled
    assert (evidence.utility, evidence.text.findings) == ({}, {})
    assert all((one.rows_in, one.suppressed, one.no_subject, one.quarantined) == (0, 0, 0, 0) for one in evidence.held_back.by_table)


def test_a_release_that_its_gates_stopped_has_its_evidence(tmp_path: Path) -> None:
    text = hospital.POLICY.replace("ward: plain", "ward: {role: plain, values: [ER]}").replace("      body: text\n", "      body: drop\n")
    run = Run.open(load(hospital.policy(hospital.build(tmp_path / "hospital", people=30), text)))
    with pytest.raises(GateFailed):
        pipeline.to_review(run)
    evidence = of_record(run.record)
    run.close()
    assert evidence is not None
    assert [gate.gate for gate in evidence.failed] == ["expectations"]
    assert [(one.table, one.column) for one in evidence.expectations if not one.passed] == [("stay", "ward")]
    assert evidence.version == ""
