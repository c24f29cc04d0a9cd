"""Columns under a key: readable with it, refused without it, and nowhere in the version's bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from anonymize.errors import KeyMissing, PolicyError
from anonymize.policy.loader import load
from anonymize.policy.model import Encryption, Policy
from anonymize.publish import prepare, publish, release_facts, review, table_facts
from anonymize.publish.opening import open_dataset
from anonymize.publish.sealing import seal
from anonymize.publish.verifying import verify
from tests.publish.conftest import START, make_facts, make_policy, make_stage

KEYS = {"ICU_FOOTER": "f" * 40, "ICU_ZIP": "z" * 40, "ICU_TEXT": "t" * 40}
ENCRYPTION = {"footer": "env:ICU_FOOTER", "columns": {"patient.zip3": "env:ICU_ZIP", "note.text": "env:ICU_TEXT"}}


def sealed_policy() -> Policy:
    policy = make_policy()
    return policy.model_copy(update={"release": policy.release.model_copy(update={"encryption": Encryption.model_validate(ENCRYPTION)})})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one version, two of whose columns are encrypted; no key is in the environment any more."""
    policy, stage = sealed_policy(), make_stage(tmp_path)
    encryption = policy.release.encryption
    with monkeypatch.context() as patch:
        for name, secret in KEYS.items():
            patch.setenv(name, secret)
        sealed = tmp_path / "sealed"
        for _ in range(2):  # a step that is started again seals nothing anew
            seal(stage, sealed, {table: encryption.of_table(table) for table in policy.tables}, encryption.footer or "")
            tables = [table_facts(policy, name, stage / name, tmp_path / "subjects" / name) for name in policy.tables]
            facts = release_facts(policy, **{**dict(make_facts(stage)), "tables": tables})
            version = prepare(sealed, facts, plain=stage)
        decision = review.decide(review.request(sealed), tmp_path / "review", approve=True, steward="A", reason="B", at=START)
        assert publish(sealed, tmp_path / "store", facts, decision).version == version
    return tmp_path / "store"


def test_an_encrypted_column_is_read_with_its_key_and_refused_without(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyMissing, match=r"patient is encrypted: ICU_FOOTER and ICU_ZIP are not set.*: patient_id, born, race"):
        open_dataset("icu", store=store, table="patient")
    open_columns = open_dataset("icu", store=store, table="patient", columns=["patient_id", "race"]).to_table()
    assert open_columns.column_names == ["patient_id", "race"]
    assert open_columns.num_rows == 40
    assert open_dataset("icu", store=store, table="patient", keys=KEYS).to_table()["zip3"].to_pylist()[:2] == ["100**", "021**"]
    for name in ("ICU_FOOTER", "ICU_ZIP"):
        monkeypatch.setenv(name, KEYS[name])
    assert open_dataset("icu", store=store, table="patient", columns=["zip3"]).to_table()["zip3"].to_pylist()[:2] == ["100**", "021**"]
    with pytest.raises(KeyMissing, match="note is encrypted: ICU_TEXT is not set"):
        open_dataset("icu", store=store, table="note")


def test_another_key_is_told_from_the_right_one(store: Path) -> None:
    with pytest.raises(KeyMissing, match="'ICU_ZIP' is not the one"):
        open_dataset("icu", store=store, table="patient", keys={**KEYS, "ICU_ZIP": "x" * 40}).to_table()


def test_no_value_of_an_encrypted_column_and_no_key_stands_in_any_byte(store: Path) -> None:
    files = [path for path in store.rglob("*") if path.is_file()]
    for path in files:
        data = path.read_bytes()
        assert b"100**" not in data, path
        assert b"is well" not in data, path
        assert not any(secret.encode() in data for secret in KEYS.values()), path
    dictionary = next(path for path in files if path.name == "dictionary.csv").read_text()
    assert "White (26)" in dictionary


def test_what_anybody_may_read_other_readers_read(store: Path) -> None:
    folder = next((store / "icu" / "versions").iterdir())
    assert list(pd.read_parquet(folder / "data" / "patient", columns=["race"])["race"].dropna().unique()) == ["White"]
    with pytest.raises(OSError, match=r"[Dd]ecrypt"):
        pd.read_parquet(folder / "data" / "patient")
    readme = (folder / "README.md").read_text()
    assert "These columns are encrypted: patient.zip3, note.text." in readme
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [column["encrypted"] for column in manifest["tables"][0]["columns"]] == [None, None, "ICU_ZIP", None]
    assert not any(one.problems for one in verify(str(store)))


def test_a_policy_that_encrypts_says_what_and_under_which_key(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="need a 'footer' key"):
        Encryption.model_validate({"columns": {"patient.zip3": "env:ICU_ZIP"}})
    for key in ("abcdef0123456789", "file:/etc/key"):
        with pytest.raises(ValidationError):
            Encryption.model_validate({"footer": key})
    file = tmp_path / "policy.yaml"
    text = (
        "dataset: icu\nsubject: p.id\nsources: {ehr: {type: csv, path: .}}\ntables: {p: {columns: {id: identifier, zip: quasi us-zip3}}}\n"
        "release: {store: s, encryption: {server: sse-kms:alias/icu, footer: env:F, columns: {p.zip3: env:Z, q.a: env:Z}}}\n"
    )
    file.write_text(text)
    with pytest.raises(PolicyError) as error:
        load(file)
    assert "no published column 'zip3' in table 'p'. Did you mean 'zip'" in str(error.value)
    assert "no table 'q'" in str(error.value)
    file.write_text(text.replace("p.zip3", "p.zip").replace(", q.a: env:Z", ""))
    assert load(file).release.encryption.of_table("p") == {"zip": "env:Z"}
