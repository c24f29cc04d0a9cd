"""An audit from the page to the regression set: what is drawn, what the steward's labels say, and where they are kept."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anonymize import cli, pipeline, summary
from anonymize.auditing import steps
from anonymize.auditing.labels import read_labels
from anonymize.auditing.sample import allot, draw
from anonymize.errors import AnonymizeError
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.conftest import KEY
from tests.road import hospital

REMARK = "<p>Seen by <b>Quillfeather</b> again, as the astronaut.</p>"
POLICY = hospital.POLICY.replace("      ward: plain\n", "      ward: plain\n      remark: {role: text, rename: remarks}\n") + (
    # Switched off, so that there is something to miss.
    "text: {detectors: {safe-words: false, rampart: false, places: false, context: false}}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = hospital.build(tmp_path_factory.mktemp("audit") / "hospital")
    with sqlite3.connect(folder / "ehr.db") as db:
        db.execute("ALTER TABLE stays ADD COLUMN remark TEXT")
        db.execute("UPDATE stays SET remark = ? WHERE stay_id % 2 = 0", (REMARK,))
    hospital.policy(folder, POLICY)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", KEY)
        run = Run.open(load(folder / "policy.yaml"))
        pipeline.to_review(run)
    yield run
    run.close()


def page_data(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def labelled(data: dict[str, Any], *, miss: bool = True) -> dict[str, Any]:
    """What a steward would save: every Quillfeather is missed, other marks are fine."""
    notes = []
    for note in data["notes"]:
        labels = []
        for start, end, _ in note["marks"]:
            missed = miss and note["text"][start:end] == "Quillfeather"
            labels.append({"start": start, "end": end, "label": "missed" if missed else "fine", "kind": "name" if missed else None})
        kept = {name: note[name] for name in ("id", "stratum", "text")}
        notes.append({**kept, "replaced": len(note["replaced"]), "done": True, "labels": labels})
    kept = {name: data[name] for name in ("run", "dataset", "seed", "traced", "sizes", "language", "detectors")}
    return {"format": 1, **kept, "notes": notes}


def test_notes_are_drawn_from_every_column_and_by_the_seed(run: Run) -> None:
    first, second, other = draw(run, size=40, seed=3), draw(run, size=40, seed=3), draw(run, size=40, seed=4)
    assert first == second
    assert {note.id for note in first.notes} != {note.id for note in other.notes}
    assert len(first.notes) == 40
    strata = [note.stratum for note in first.notes]
    assert set(strata) == {"note.body", "stay.remark"} == set(first.sizes)
    assert min(strata.count(one) for one in set(strata)) >= 10
    assert len({note.id for note in first.notes}) == 40


def test_what_was_replaced_is_known_exactly_and_not_marked(run: Run) -> None:
    sample = draw(run, size=200, seed=1)
    assert sample.traced
    for note in sample.notes:
        gone = [note.text[start:end] for start, end in note.replaced]
        marked = [note.text[one.start : one.end] for one in note.marks]
        if note.stratum == "stay.remark":
            assert note.text == "Seen by Quillfeather again, as the astronaut.\n", "the note as it is read, without its tags"
            assert marked == ["Quillfeather"]
        else:
            assert "[NAME]" in gone
            assert any(re.fullmatch(r"\w+ \d+, \d{4}", one) for one in gone), "a date that was moved"
            assert not any(re.search(r"\d{4}", one) for one in marked)


@pytest.mark.parametrize(
    ("sizes", "size", "numbers"),
    [
        ({"a": 900, "b": 100}, 100, {"a": 90, "b": 10}),
        ({"a": 9990, "b": 10}, 100, {"a": 90, "b": 10}),
        ({"a": 3, "b": 0}, 100, {"a": 3, "b": 0}),
        ({"a": 5, "b": 5}, 4, None),
        ({"a": 50, "b": 50, "c": 50}, 100, None),
    ],
)
def test_columns_are_drawn_in_proportion(sizes: dict[str, int], size: int, numbers: dict[str, int] | None) -> None:
    found = allot(sizes, size)
    assert numbers is None or found == numbers
    assert all(0 <= found[stratum] <= sizes[stratum] for stratum in sizes)
    assert numbers is not None or abs(sum(found.values()) - size) <= len(sizes) * 10


def test_the_page_is_private_and_asks_nothing_of_a_network(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    counts = steps.page(run, page, size=30, seed=2)
    assert counts["notes"] == 30
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)|@import|url\(|fetch\(|XMLHttpRequest|https?://""", text)
    data = page_data(page)
    assert [note["id"] for note in data["notes"]] != sorted(note["id"] for note in data["notes"]), "in an order of chance"
    before = page.read_bytes()
    steps.page(run, page, size=30, seed=2)
    assert page.read_bytes() == before


def test_a_note_cannot_end_the_element_that_it_stands_in(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from anonymize.auditing.page import write_page

    sample = draw(run, size=10)
    evil = replace(sample, notes=(replace(sample.notes[0], text="</script><img src=x> <!-- \u2028", marks=(), replaced=()),))
    page = write_page(evil, run.policy.text, tmp_path / "page.html")
    assert page_data(page)["notes"][0]["text"] == evil.notes[0].text


def test_labels_become_figures_a_record_and_a_regression_set(run: Run, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, labels = tmp_path / "page.html", tmp_path / "labels.json"
    steps.page(run, page, size=90, seed=5)
    labels.write_text(json.dumps(labelled(page_data(page))))
    counts = steps.estimate(run, labels)
    assert counts["missed"] == counts["missed_kinds"]["name"] > 0
    assert counts["columns"]["stay.remark"]["notes_with_misses"]["share"] == 1
    assert counts["columns"]["note.body"]["recall"]["share"] == 1
    assert counts["notes_with_misses"]["low"] < counts["notes_with_misses"]["share"] < counts["notes_with_misses"]["high"]
    assert "recall:" in steps.said(counts)
    record = json.dumps(run.record.get("audit"))
    assert "Quillfeather" not in record + steps.said(counts), "the record holds counts alone"
    assert f"audit of {counts['done']} notes: {counts['missed']} missed, recall " in summary.text(run)
    kept = steps.regression_file(run.policy, run.id)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.is_relative_to(folder / "workspace")
    assert read_labels(kept) == read_labels(labels)

    checked = steps.check(kept)
    assert (checked.found, checked.missed) == (0, counts["missed"])
    assert len(checked.notes) == counts["missed"]
    assert "Quillfeather" not in checked.text()
    better = json.loads(labels.read_text())
    better["detectors"] = {}
    labels.write_text(json.dumps(better))
    checked = steps.check(labels)
    assert (checked.found, checked.notes) == (checked.missed, ()), "the safe-word filter finds it"


def test_nothing_missed_is_said_to_be_no_proof(run: Run, tmp_path: Path) -> None:
    page, labels = tmp_path / "page.html", tmp_path / "labels.json"
    steps.page(run, page, size=30)
    labels.write_text(json.dumps(labelled(page_data(page), miss=False)))
    counts = steps.estimate(run, labels)
    assert counts["recall"]["share"] == 1
    assert counts["recall"]["low"] < 0.9
    assert "no proof" in steps.said(counts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"run": "another"}, "labels of run 'another'"),
        ({"format": 2}, "no label set: format"),
        ({"sizes": {"note.body": 1}}, "no label set"),
        ({"notes": []}, "no note of the label set is done"),
    ],
)
def test_labels_that_do_not_fit_are_refused_without_a_word_of_theirs(run: Run, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    page, labels = tmp_path / "page.html", tmp_path / "labels.json"
    steps.page(run, page, size=40)
    labels.write_text(json.dumps({**labelled(page_data(page)), **change}))
    with pytest.raises(AnonymizeError, match=re.escape(said)) as raised:
        steps.estimate(run, labels)
    assert "Quillfeather" not in str(raised.value)


def test_a_label_outside_of_its_note_is_refused(run: Run, tmp_path: Path) -> None:
    page, labels = tmp_path / "page.html", tmp_path / "labels.json"
    steps.page(run, page, size=10)
    given = labelled(page_data(page))
    given["notes"][0]["labels"] = [{"start": 5, "end": 99_999, "label": "missed", "kind": "name"}]
    labels.write_text(json.dumps(given))
    with pytest.raises(AnonymizeError, match="no label set"):
        read_labels(labels)


def test_the_commands(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def called(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["anonymize", "audit-text", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        got = capsys.readouterr()
        return code, got.out + got.err

    page, labels, policy = tmp_path / "p.html", tmp_path / "l.json", str(folder / "policy.yaml")
    code, said = called(policy, "--sample", "40", "--seed", "2", "--out", str(page))
    assert (code, "40 of " in said) == (0, True), said
    labels.write_text(json.dumps(labelled(page_data(page))))
    code, said = called(policy, "--labels", str(labels))
    assert (code, "recall: " in said, "--check" in said) == (0, True, True), said
    code, said = called("--check", str(labels))
    assert (code, "still missed" in said) == (1, True), said
    assert called()[0] == 2
    assert called(policy, "--check", str(labels))[0] == 2


def test_a_published_run_is_audited_from_its_release(tmp_path: Path) -> None:
    folder = hospital.build(tmp_path / "hospital")
    run = Run.open(load(hospital.policy(folder)))
    with pytest.raises(AnonymizeError, match=r"nothing staged and nothing published"):
        draw(run)
    pipeline.to_review(run)
    staged = draw(run, size=20)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    published = draw(run, size=20)
    assert [note.text for note in published.notes] == [note.text for note in staged.notes]
    assert (staged.traced, published.traced) == (True, False)
    assert not any(run.workspace.glob("*"))


PRESSED = """
<script>
URL.createObjectURL = (blob) => { blob.text().then((text) => { const out = document.createElement("pre"); out.id = "saved";
  out.textContent = text; document.body.append(out); }); return "#saved"; };
const pressed = (key) => new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
const press = (key) => (document.activeElement || document.body).dispatchEvent(pressed(key));
const first = notes.findIndex((note) => note.text.includes("Quillfeather"));
go(first); press("j"); press("m");
$("words").value = "the astronaut"; $("adding").requestSubmit();
$("on").checked = false; press("d"); $("on").checked = true; $("title").focus();
press("d"); press("s");
</script></body>"""


def test_the_page_in_a_browser(run: Run, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("NO BROWSER: install chromium to press the page's keys")
    page = tmp_path / "page.html"
    steps.page(run, page, size=40, seed=2)
    page.write_text(page.read_text().replace("</body>", PRESSED))
    # A profile of its own, so that no other browser's state is met.
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=4000",
        "--dump-dom",
    ]
    done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    saved = re.search(r'<pre id="saved">(.*?)</pre>', done.stdout, re.DOTALL)
    assert saved is not None, done.stdout[-500:]
    labels = tmp_path / "labels.json"
    labels.write_text(saved.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    given = read_labels(labels)
    finished = [note for note in given.notes if note.done]
    assert len(given.notes) == 40
    assert [[note.text[one.start : one.end] for one in note.missed] for note in finished] == [["Quillfeather", "the astronaut"]]
    assert steps.estimate(run, labels)["done"] == 1
