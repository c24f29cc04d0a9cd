"""What is new at a source is told before the first record and at the desk, and stays out; no value of a record tells it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anonymize import evidence, pipeline
from anonymize.check import check
from anonymize.errors import PolicyError
from anonymize.evidence import compare
from anonymize.evidence.noting import notes
from anonymize.evidence.render import body
from anonymize.lasting import drift
from anonymize.policy.loader import load
from anonymize.run import Record, Run
from tests.lasting.changing import POLICY, Changing

CODED = POLICY.replace("ward: plain", "ward: {{role: plain, codes: ward-codes}}").replace("'", '"')


def test_what_changed_at_the_source_is_told_and_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lasting.changing.POLICY", CODED)
    place = Changing(tmp_path)
    first = place.run(monkeypatch, "inc", whole_road=True)
    assert drift.found(first.policy, first.record) == []
    hashes = (first.record.get("extract", "stay") or {})["codes"]["ward"]
    assert len(hashes) == 3
    assert not {"ICU", "ER", "ward"} & set(hashes)
    with place.db() as db:
        db.execute("ALTER TABLE stays ADD COLUMN physician TEXT")
        db.execute("UPDATE stays SET ward='Hospice', updated_at='2026-01-12 00:00:00' WHERE stay_id=5")
        db.execute("CREATE TABLE letters (id INTEGER)")
        db.execute("DROP TABLE gone")
    told = check(load(place.policy()))
    expected = [
        "stay.physician: a column that is new at the source; it stays out",
        "ehr.letters: a table that is new at the source; it stays out",
        "ehr.gone: a table that stayed out is gone from the source",
    ]
    assert told.drift == expected
    assert expected[0] in told.text()
    second = Run.open(load(place.policy()), fresh=True)
    pipeline.to_review(second)
    new = evidence.gather(second)
    assert new.drift == (*expected, "stay.ward: 1 code of ward-codes not seen before")
    page = body(new, compare(new, evidence.gather_before(second)))
    assert "At the sources" in page
    assert expected[0] in page
    assert any("not as they were at the last release, in 4 places" in note.words for note in notes(new, compare(new, None)))
    assert "Hospice" not in "".join(file.read_text() for file in second.record.folder.glob("*.json"))


def test_drift_stops_a_run_where_the_policy_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lasting.changing.POLICY", POLICY.replace("row-change: 1.0", "row-change: 1.0, drift: hold"))
    place = Changing(tmp_path)
    place.run(monkeypatch, "inc", whole_road=True)
    with place.db() as db:
        db.execute("ALTER TABLE patients RENAME TO old")
        db.execute("CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, mrn TEXT, family TEXT, birth_date DATE, sex INTEGER)")
        db.execute("INSERT INTO patients SELECT patient_id, mrn, family, birth_date, 1 FROM old")
    with pytest.raises(PolicyError, match=r"patient.sex: its type at the source was string and is int64"):
        pipeline.check(Run.open(load(place.policy()), fresh=True))


def test_paths_that_a_source_had_not_shown_are_told_once(tmp_path: Path) -> None:
    place = Changing(tmp_path)
    (tmp_path / "p.yaml").write_text(place.policy().read_text().replace("${CHANGING}/", ""))
    policy = load(tmp_path / "p.yaml")
    last, now = Record(tmp_path / "a"), Record(tmp_path / "b")
    for record, unseen in ((last, {"Patient.x": 2}), (now, {"Patient.x": 5, "Patient.extension[url=http://h.example/e]": 1, "others": 3})):
        record.put("run", {"key_id": "k"})
        record.put("extract", {"unseen": unseen}, "patient")
    words = ["patient: Patient.extension[url=http://h.example/e] was not seen before; the mapping does not name it, so it stays out"]
    assert drift.of_records(policy, now, last) == words


def test_what_tells_of_new_rows_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    monkeypatch.setenv("CHANGING", str(tmp_path / "inc"))
    text = place.policy().read_text()
    (tmp_path / "bad.yaml").write_text(
        text.replace("cursor: updated_at, row: stay_id", "cursor: update_at, row: [stay_id, stayid], deletes: {table: gone, row: [a, b]}")
    )
    problems = [str(problem) for problem in check(load(tmp_path / "bad.yaml")).problems]
    assert any("incremental.cursor: the source has no column 'update_at'. Did you mean 'updated_at'?" in one for one in problems)
    assert any("incremental.row: the source has no column 'stayid'" in one for one in problems)
    assert any("table 'gone' has no column 'a'" in one for one in problems)
    for wrong, words in (
        ("kind: key, lateness: 2d", "its lateness is a number"),
        ("lateness: 2 days", "lateness is written"),
        ("deletes: {flag: voided, table: gone}", "give either 'flag'"),
        ("deletes: soft", "deletes"),
    ):
        (tmp_path / "bad.yaml").write_text(text.replace("lateness: 2d", wrong))
        with pytest.raises(PolicyError) as raised:
            load(tmp_path / "bad.yaml")
        assert words in str(raised.value), json.dumps(str(raised.value))
