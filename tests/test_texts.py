"""`find-phi`, `scrub` and `explain`, as a user calls them: files in, files out, and what is wrong with a file said by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize.cli import cli
from anonymize.errors import AnonymizeError

NOTES = [
    {"id": 1, "text": "Mrs. Young, a young woman, called 617-555-0100.", "record": {"given": "Hope", "family": "Young", "mrn": "M-7001234"}},
    {"id": "b", "text": "Smi\u200bth <b>Hol</b>den\r\nsaw Dr. Lindqvist \U0001f600 on 3/4/2020", "record": {"subject": "b", "family": "Smith"}},
    {"id": 3, "text": ""},
]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(note) + "\n" for note in NOTES), encoding="utf-8")
    return file


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def run(*arguments: object) -> None:
    CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_findings_come_with_offsets_labels_and_detectors(notes: Path, workers: int) -> None:
    out = notes.with_name("out.jsonl")
    run("find-phi", notes, out, "--workers", workers)
    found = lines(out)
    assert [note["id"] for note in found] == [1, "b", 3]
    first = {(NOTES[0]["text"][s["start"] : s["end"]], s["label"]) for s in found[0]["spans"]}
    assert first == {("Young", "name"), ("617-555-0100", "phone")}
    second = {NOTES[1]["text"][s["start"] : s["end"]] for s in found[1]["spans"]}
    assert "Lindqvist" in second
    assert "3/4/2020" in second
    assert any("Smi" in words and "th" in words for words in second)
    assert all(s["detectors"] and 0 < s["score"] <= 1 for note in found for s in note["spans"])
    assert found[2]["spans"] == []
    assert not list(notes.parent.glob(".out*"))


def test_scrubbed_texts_leave_without_their_records(notes: Path) -> None:
    out = notes.with_name("out.jsonl")
    run("scrub", notes, out, "--workers", 1)
    first, second, third = lines(out)
    assert first == {"id": 1, "text": "Mrs. [NAME], a young woman, called [PHONE].", "found": {"name": 1, "phone": 1}}
    assert "Lindqvist" not in second["text"]
    assert "2020" not in second["text"]
    assert third["text"] == ""


def test_dates_move_with_their_subject(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_KEY", "a-key-of-tests-that-is-no-secret-0123456789")
    out = notes.with_name("out.jsonl")
    run("scrub", notes, out, "--workers", 1, "--dates", "shift", "--subject", "subject", "--replace", "surrogates")
    second = lines(out)[1]["text"]
    assert "3/4/2020" not in second
    assert "[DATE]" not in second
    assert "[NAME]" not in second


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "in.jsonl:4: no JSON"),
        ('["x"]', "in.jsonl:4: an object with"),
        ('{"id": 4}', "in.jsonl:4: an object with"),
        ('{"id": 4, "text": "Zanzibar", "record": [1]}', 'in.jsonl:4: "record" is a flat object'),
        ('{"id": 4, "text": "\\ud800"}', 'in.jsonl:4: "text" holds half'),
    ],
)
def test_a_line_that_is_none_is_said_and_nothing_is_left(notes: Path, line: str, words: str) -> None:
    notes.write_text(notes.read_text() + line + "\n")
    out = notes.with_name("out.jsonl")
    with pytest.raises(AnonymizeError) as error:
        run("find-phi", notes, out, "--workers", 1)
    assert words in str(error.value)
    assert "Zanzibar" not in str(error.value)
    assert [file.name for file in notes.parent.iterdir()] == ["in.jsonl"]


def test_what_is_derived_from_a_key_needs_a_subject_and_a_key(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANONYMIZE_KEY", raising=False)
    out = notes.with_name("out.jsonl")
    result = CliRunner().invoke(cli, ["scrub", str(notes), str(out), "--dates", "shift"])
    assert result.exit_code == 2
    assert "--subject FIELD" in result.output
    with pytest.raises(AnonymizeError, match="no key"):
        run("scrub", notes, out, "--dates", "shift", "--subject", "subject")


def test_explain_says_who_found_what_and_why() -> None:
    result = CliRunner().invoke(cli, ["explain", "Mrs. Hope has hope and Cushing's syndrome.", "--record", '{"given": "Hope"}'])
    assert "'Hope'  own-record: a value of the subject's record; nothing speaks against it" in result.output
    assert "title and name" in result.output
    assert "'hope'" not in result.output
    assert CliRunner().invoke(cli, ["explain", "x", "--record", "{"]).exit_code == 2
