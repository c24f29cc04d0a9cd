"""Notes in the forms that hospitals keep them in, on the whole road: they arrive in their form, scrubbed; what cannot be read does not."""

from __future__ import annotations

import base64
import html
import re
import sqlite3
from pathlib import Path

from anonymize import pipeline, summary
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.transform.markup import unwrap
from tests.road import hospital

PDF = base64.b64encode(b"%PDF-1.5 Smith").decode()


def formed(number: int, note: str) -> str:
    """The same note, in one of five forms; each seventh is a PDF."""
    if number % 7 == 0:
        return PDF
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in note.splitlines())
    narrative = f'<div xmlns="http://www.w3.org/1999/xhtml"><!-- {html.escape(note)} -->{paragraphs}</div>'
    signs = {"\n": "\\par\n", "\\": "\\\\", "{": "\\{", "}": "\\}"}
    rtf = "".join(signs.get(sign, sign if sign.isascii() else f"\\u{ord(sign)}?") for sign in note)
    forms = [note, narrative, f"{{\\rtf1\\ansi{{\\info{{\\author {hospital.FAMILY[number % 10]}}}}} {rtf}}}"]
    return [*forms, *(base64.b64encode(form.encode()).decode() for form in forms[1:])][number % 5]


def test_notes_arrive_in_their_form(tmp_path: Path) -> None:
    folder = hospital.build(tmp_path / "hospital")
    with sqlite3.connect(folder / "ehr.db") as db:
        for number, note in db.execute("SELECT note_id, body FROM notes").fetchall():
            db.execute("UPDATE notes SET body = ? WHERE note_id = ?", (formed(number, note), number))
    run = Run.open(load(hospital.policy(folder)))
    pipeline.to_review(run)
    told = summary.text(run)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    notes = [str(row["body"]) for row in open_version(folder / "store", "small").dataset("note").to_table().to_pylist()]
    assert {unwrap(note).form for note in notes if "UNREADABLE" not in note} == {"plain", "xml", "rtf", "base64"}
    unreadable = notes.count("[UNREADABLE: pdf]")
    assert unreadable > 0
    counts = run.record.get("deidentify", "note")
    assert counts is not None
    assert counts["findings"]["unreadable-pdf"] == 60 // 7 >= unreadable
    assert "could not be read, so did not leave: pdf 8" in told
    for note in notes:
        text = unwrap(note).text
        assert not re.search(r"70\d{4}|555|\b(?:" + "|".join(map(re.escape, [*hospital.FAMILY, *hospital.GIVEN])) + r")\b", text), (
            "a name is left"
        )
        if not unwrap(note).unreadable:
            assert "Parkinson's disease" in text
            assert "metoprolol 25 mg" in text
