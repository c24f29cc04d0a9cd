"""A sample that a desk serves: drawn with the key, labelled without it, by two stewards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline
from anonymize.auditing import served, steps
from anonymize.auditing.labels import read_labels
from anonymize.errors import AnonymizeError
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.conftest import KEY
from tests.road import hospital


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = hospital.build(tmp_path_factory.mktemp("served") / "hospital")
    hospital.policy(folder, hospital.POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", KEY)
        run = Run.open(load(folder / "policy.yaml"))
        pipeline.to_review(run)
        served.keep_sample(run, size=20)
    yield run
    run.close()


def sent(*notes: dict[str, Any]) -> bytes:
    return json.dumps(notes).encode()


def add(run: Run, *notes: dict[str, Any]) -> dict[str, Any]:
    return served.add_labels(run.policy, run.record, run.id, sent(*notes))


def test_the_sample_is_private_and_drawn_once(run: Run) -> None:
    file = served.folder(run.policy, run.id) / "sample.json"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = file.read_bytes()
    assert served.keep_sample(run, size=30)
    assert file.read_bytes() == before


def test_two_stewards_share_a_sample_and_the_estimate_is_of_both(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANONYMIZE_KEY")  # who serves the desk has no key
    data = served.read_sample(run.policy, run.id)
    assert data is not None
    first, second, third = (note["id"] for note in data["notes"][:3])
    missed = {"start": 0, "end": 4, "label": "missed", "kind": "name"}
    add(run, {"id": first, "done": True, "labels": [missed]})
    add(run, {"id": second, "done": True, "labels": []}, {"id": third, "done": False, "labels": [missed]})

    counts = run.record.get("audit") or {}
    assert (counts["done"], counts["missed"], counts["missed_kinds"]["name"]) == (2, 1, 2 - 1)
    kept = read_labels(steps.regression_file(run.policy, run.id))
    assert {note.id for note in kept.notes if note.done} == {first, second}
    assert next(note for note in kept.notes if note.id == first).text == data["notes"][0]["text"]
    again = served.read_sample(run.policy, run.id)
    assert again is not None
    assert next(note for note in again["labelled"] if note["id"] == third)["labels"] == [missed]


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"id": "note.text:999999", "done": True, "labels": []}, "not in the sample"),
        ({"id": None, "done": True, "labels": [{"start": 0, "end": 10**6, "label": "fine"}]}, "no labels of a note"),
        ({"id": None, "done": True, "labels": [], "text": "another text"}, "no labels of a note: extra forbidden"),
        ({"id": None, "done": "perhaps", "labels": []}, "no labels of a note"),
    ],
)
def test_what_are_no_labels_of_the_sample_changes_nothing(run: Run, note: dict[str, Any], words: str) -> None:
    data = served.read_sample(run.policy, run.id)
    assert data is not None
    file = steps.regression_file(run.policy, run.id)
    before = file.read_bytes() if file.exists() else b""
    with pytest.raises(AnonymizeError, match=words):
        add(run, {**note, "id": note["id"] or data["notes"][0]["id"]})
    assert (file.read_bytes() if file.exists() else b"") == before


def test_the_sample_goes_when_the_run_ends_and_the_labels_stay(run: Run, tmp_path: Path) -> None:
    pipeline.decide(run, approve=False, steward="A. Steward", reason="not now")
    assert not served.folder(run.policy, run.id).exists()
    assert served.read_sample(run.policy, run.id) is None
    assert steps.regression_file(run.policy, run.id).exists()
    with pytest.raises(AnonymizeError, match="no sample of notes to label, or has ended"):
        add(run, {"id": "x", "done": True, "labels": []})
