"""Subjects leave every published version, what is left holds, and the proof says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anonymize import trail
from anonymize.cli import cli
from anonymize.errors import AnonymizeError, KeyMissing, StoreError
from anonymize.keys import Key
from anonymize.policy.model import Policy
from anonymize.publish import Store, open_version
from anonymize.taking_back import retracting, withheld
from anonymize.taking_back.retracting import look, retract
from anonymize.taking_back.subjects import KeyedIds
from anonymize.trail import verify
from anonymize.trail.lines import parse
from tests.taking_back.conftest import make_policy, make_version

WHY = {"reason": "erasure under GDPR Art. 17", "by": "Ada Steward"}


def column(store: str, version: str, table: str, name: str) -> list[Any]:
    return open_version(store, "icu", version, verify=True).dataset(table).to_table()[name].to_pylist()


def ids_of(policy: Policy, *keys: str) -> KeyedIds:
    return KeyedIds.of(list(keys), Key(policy.key, policy.project_name), policy)


def actions(policy: Policy) -> list[str]:
    assert verify(trail.open_trail(policy)).findings == ()
    return [line.action for data in trail.open_trail(policy).lines() if (line := parse(data)) is not None]


def test_subjects_leave_every_version_that_holds_them(tmp_path: Path, store_uri: str) -> None:
    policy = make_policy(tmp_path, store_uri)
    old, other, new = (make_version(policy, tmp_path, people, hours=h) for h, people in enumerate([range(60), range(30, 60), range(1, 60)]))
    assert {held.version: held.found for held in look(policy, ["7", "12"])} == {old: 8, new: 8}
    said: list[str] = []
    proof = retract(policy, ["7", "12", "7000"], **WHY, say=said.append)

    assert [one.version for one in proof.versions] == [old, new]
    store = Store(store_uri)
    first, second = (one.replaced_by for one in proof.versions)
    assert store.versions("icu") == sorted([first, other, second])  # type: ignore[type-var]
    assert store.latest("icu") == second
    ids = ids_of(policy, "7", "12")
    for version in store.versions("icu"):
        assert not set(column(store_uri, version, "patient", "patient_id")) & set(ids.numbers())
        for table in ("stay", "note"):
            assert not set(column(store_uri, version, table, "patient_id")) & set(ids.texts())
    assert len(column(store_uri, first, "patient", "zip")) == 58  # type: ignore[arg-type]
    assert open_version(store_uri, "icu", first).manifest.table("patient").subjects == 58  # type: ignore[arg-type]
    assert column(store_uri, first, "ward", "name") == ["ICU", "ER"]  # type: ignore[arg-type]
    assert proof.subjects == 3
    assert all(set(one.rows_of_theirs_after.values()) == {0} for one in proof.versions)
    assert set(proof.rows_of_theirs_in_what_stands) == {first, other, second}

    tombstone = store.tombstone("icu", old)
    assert tombstone is not None
    assert (tombstone.reason, tombstone.by, tombstone.replaced_by) == (WHY["reason"], WHY["by"], first)
    assert store.backend.files(f"icu/versions/{old}") == ["tombstone.json"]
    with pytest.raises(StoreError, match=f"was withdrawn on .* erasure under GDPR Art. 17.* Use {first}"):
        store.open("icu", old)
    manifest = store.open("icu", second or "").manifest
    assert f"takes the place of {new}" in manifest.notices[0]
    readme = store.backend.read_bytes(f"icu/versions/{second}/README.md") or b""
    assert f"takes the place of {new}".encode() in readme
    assert WHY["reason"].encode() in (store.backend.read_bytes(f"icu/versions/{second}/CHANGES.md") or b"")
    assert WHY["reason"].encode() in (store.backend.read_bytes("icu/index.html") or b"")


def test_what_a_class_needs_to_hold_k_goes_with_them(tmp_path: Path, policy: Policy, folder: str) -> None:
    """Class 019 has four people: of two who are left, none may stay, in no table."""
    version = make_version(policy, tmp_path, [*range(48), 54, 55, 56, 57])
    proof = retract(policy, ["54", "56"], **WHY).versions[0]
    assert proof.taken == {"patient": 2, "stay": 4, "note": 2, "ward": 0}
    assert proof.suppressed["patient"] == 2
    assert proof.suppressed["note"] == 2
    assert proof.suppressed_subjects == 2
    assert "019**" not in column(folder, proof.replaced_by or "", "patient", "zip")
    gone = ids_of(policy, "54", "55", "56", "57")
    assert not set(column(folder, proof.replaced_by or "", "stay", "patient_id")) & set(gone.texts())
    assert proof.smallest_class is not None
    assert proof.smallest_class >= 3
    assert version not in Store(folder).versions("icu")
    manifest = Store(folder).open("icu").manifest
    assert manifest.privacy.suppressed == 2 + sum(proof.suppressed.values())
    assert manifest.held_back["taken back"] == 8
    gates = {gate.gate: gate.words for gate in manifest.gates}
    assert gates["leaks"].startswith(f"as judged for {version}, of which these are rows: ")
    assert "the smallest of" in gates["k-anonymity"]


@pytest.mark.parametrize("privacy", [', l: ["race:3"]', ', t: ["race:0.15"]', ", attacker: demographics + 1 event"])
def test_what_is_asked_beside_k_holds_again(tmp_path: Path, privacy: str) -> None:
    policy = make_policy(tmp_path, str(tmp_path / "store"), privacy=privacy)
    make_version(policy, tmp_path, range(60))
    proof = retract(policy, ["0", "3"], **WHY).versions[0]
    assert proof.replaced_by is not None
    words = " ".join(proof.recounted)
    expected = "of demographics + 1 event is of" if "event" in privacy else "every class holds what is asked of race"
    assert expected in words
    if "l:" in privacy:  # class 010 lost both people of one race
        assert proof.suppressed["patient"] == 4


ENCRYPTED = ", encryption: {footer: env:ICU_FOOTER, columns: {patient.patient_id: env:ICU_ID, note.body: env:ICU_TEXT}}"


def test_encrypted_columns_are_written_anew_under_their_keys(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ICU_FOOTER", "ICU_ID", "ICU_TEXT"):
        monkeypatch.setenv(name, f"the secret of {name}, 0123456789 0123456789")
    policy = make_policy(tmp_path, folder, release=ENCRYPTED)
    version = make_version(policy, tmp_path, range(60))
    proof = retract(policy, ["7", "12"], **WHY).versions[0]
    made = proof.replaced_by or ""
    assert version not in Store(folder).versions("icu")
    assert not set(column(folder, made, "patient", "patient_id")) & set(ids_of(policy, "7", "12").numbers())
    assert set(column(folder, made, "note", "body")) == {"[NAME] is well"}
    assert not any(b"is well" in file.read_bytes() for file in (Path(folder) / "icu" / "versions" / made).rglob("*.parquet"))

    monkeypatch.delenv("ICU_TEXT")
    with pytest.raises(KeyMissing, match="ICU_TEXT"):
        retract(policy, ["9"], **WHY)
    assert Store(folder).versions("icu") == [made], "nothing is taken back that cannot be written anew"
    with pytest.raises(KeyMissing, match="note is encrypted: ICU_TEXT is not set"):
        open_version(folder, "icu", made).dataset("note")


def test_columns_under_a_key_that_the_policy_no_longer_names_are_not_written_anew(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ICU_FOOTER", "ICU_TEXT"):
        monkeypatch.setenv(name, f"the secret of {name}, 0123456789 0123456789")
    make_version(make_policy(tmp_path, folder, release=ENCRYPTED.replace("patient.patient_id: env:ICU_ID, ", "")), tmp_path, range(60))
    with pytest.raises(AnonymizeError, match=r"release.encryption of the policy does not name: note.body"):
        retract(make_policy(tmp_path, folder), ["7"], **WHY)


def test_nobody_comes_again(tmp_path: Path, policy: Policy) -> None:
    make_version(policy, tmp_path, range(60))
    retract(policy, ["7"], **WHY)
    key = Key(policy.key, policy.project_name)
    assert withheld.retracted(policy, key).subjects == ids_of(policy, "7").subjects


def test_who_is_in_no_version_stays_out_of_later_ones(tmp_path: Path, policy: Policy, folder: str) -> None:
    version = make_version(policy, tmp_path, range(60))
    proof = retract(policy, ["1000"], **WHY)
    assert proof.versions == ()
    assert Store(folder).versions("icu") == [version]
    page = (retracting.home(policy) / proof.retraction / "proof.md").read_text()
    assert "No published version held any of them" in page
    assert withheld.retracted(policy, Key(policy.key, policy.project_name)).subjects


def test_the_proof_and_the_trail_say_what_was_done_and_not_to_whom(tmp_path: Path, policy: Policy) -> None:
    version = make_version(policy, tmp_path, range(60))
    proof = retract(policy, ["7", "12"], **WHY)
    kept = retracting.home(policy) / proof.retraction
    assert not (kept / "work").exists()
    page, stated = (kept / "proof.md").read_text(), (kept / "proof.json").read_text()
    assert f"## {version}" in page
    assert "2 rows of `patient`" in page
    assert "rows of theirs in 8 columns of the new files: 0" in page
    assert json.loads(stated)["versions"][0]["files_before"]
    ids = ids_of(policy, "7", "12")
    for text in (page, stated, *(line.decode() for line in trail.open_trail(policy).lines())):
        assert not any(one in text for one in [*ids.texts(), *map(str, ids.numbers())])
    assert actions(policy) == ["retract-asked", "republished", "tombstoned", "retracted"]


def test_done_again_it_finds_nothing_to_do(tmp_path: Path, policy: Policy, folder: str) -> None:
    make_version(policy, tmp_path, range(60))
    retract(policy, ["7"], **WHY)
    before = Store(folder).versions("icu")
    assert retract(policy, ["7"], **WHY).versions == ()
    assert Store(folder).versions("icu") == before


def test_a_second_retraction_leads_readers_on(tmp_path: Path, policy: Policy, folder: str) -> None:
    old = make_version(policy, tmp_path, range(60))
    first = retract(policy, ["7"], **WHY).versions[0].replaced_by
    second = retract(policy, ["8"], **WHY).versions[0].replaced_by
    store = Store(folder)
    assert store.versions("icu") == [second]
    assert [stone.replaced_by for stone in store.buried("icu") if stone.version in (old, first)].count(first) == 1
    notices = store.open("icu").manifest.notices
    assert f"takes the place of {first}" in notices[0]
    assert f"takes the place of {old}" in notices[1]


def test_a_table_without_a_pseudonym_cannot_be_cleaned_so_its_version_goes_whole(tmp_path: Path) -> None:
    policy = make_policy(tmp_path, str(tmp_path / "store"), note="identifier drop")
    version = make_version(policy, tmp_path, range(60))
    with pytest.raises(AnonymizeError, match=r"table 'note' is about subjects and publishes no pseudonym of theirs(.|\n)*--withdraw"):
        retract(policy, ["7"], **WHY)
    assert Store(tmp_path / "store").versions("icu") == [version]
    assert not retracting.home(policy).exists()
    proof = retract(policy, ["7"], **WHY, withdraw=True)
    assert "publishes no pseudonym" in proof.versions[0].withdrawn
    store = Store(tmp_path / "store")
    assert store.versions("icu") == []
    assert store.latest("icu") is None
    assert store.backend.files("icu/versions") == [f"{version}/tombstone.json"]
    assert "**Taken out whole**" in (retracting.home(policy) / proof.retraction / "proof.md").read_text()


def test_who_is_not_in_the_subject_table_is_in_no_table(tmp_path: Path) -> None:
    policy = make_policy(tmp_path, str(tmp_path / "store"), note="identifier drop")
    version = make_version(policy, tmp_path, range(60))
    assert retract(policy, ["1000"], **WHY).versions == ()
    assert Store(tmp_path / "store").versions("icu") == [version]


def test_a_version_of_another_key_cannot_be_searched(tmp_path: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    make_version(policy, tmp_path, range(60))
    monkeypatch.setenv("ANONYMIZE_KEY", "another-key-that-is-long-enough-0123456789")
    with pytest.raises(AnonymizeError, match="it was made under key"):
        retract(policy, ["7"], **WHY)


def test_nobody_left_is_a_version_withdrawn(tmp_path: Path, policy: Policy, folder: str) -> None:
    make_version(policy, tmp_path, range(4))
    proof = retract(policy, ["0", "1"], **WHY)
    assert "nobody is left" in proof.versions[0].withdrawn
    assert Store(folder).versions("icu") == []


def test_a_damaged_version_is_not_written_anew(tmp_path: Path) -> None:
    policy = make_policy(tmp_path, str(tmp_path / "store"))
    version = make_version(policy, tmp_path, range(60))
    file = tmp_path / "store" / "icu" / "versions" / version / "data" / "stay" / "part-00001.parquet"
    file.write_bytes(file.with_name("part-00000.parquet").read_bytes())
    with pytest.raises(StoreError, match="is not what was published, so nothing is made of it"):
        retract(policy, ["7"], **WHY)
    assert Store(tmp_path / "store").versions("icu") == [version]


@pytest.mark.parametrize(("reason", "by"), [("", "Ada"), ("fine", " "), ("asked by MRN-700001", "Ada")])
def test_a_retraction_says_why_and_by_whom_and_not_about_whom(tmp_path: Path, policy: Policy, reason: str, by: str) -> None:
    with pytest.raises(AnonymizeError):
        retract(policy, ["MRN-700001"], reason=reason, by=by)
    assert not retracting.home(policy).exists()


def test_the_command(tmp_path: Path, policy: Policy, folder: str) -> None:
    version = make_version(policy, tmp_path, range(60))
    (tmp_path / "gone.csv").write_text("patient_id,since\n7,2026\n12,2026\n")

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, ["retract", *words], catch_exceptions=False)

    asked = (str(policy.file), "--subjects", str(tmp_path / "gone.csv"))
    looked = run(*asked, "--dry-run").output
    assert f"{version}: 2 rows of patient, 4 rows of stay, 2 rows of note" in looked
    assert Store(folder).versions("icu") == [version]
    assert run(*asked).exit_code == 2
    done = CliRunner(env={"ANONYMIZE_POLICIES": str(tmp_path)}).invoke(
        cli, ["retract", "--dataset", "icu", *asked[1:], "--reason", "erasure", "--as", "Ada Steward"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert f"{version}: taken out; " in done.output
    assert Path(done.output.rpartition("proof: ")[2].strip()).read_text().startswith("# icu: 2 subjects taken back")
    assert "no retraction was left unfinished" in run(str(policy.file), "--resume").output
