"""What is marked for a steward to look at, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.auditing.remains import remains, tags


@pytest.mark.parametrize(
    ("text", "why", "marked"),
    [
        ("seen by Zyzzyx today", "word", "Zyzzyx"),
        ("saw Rose on the ward", "word", "Rose"),
        ("mrs kowalczyk came", "word", "kowalczyk"),
        ("on 3/4/2020 at", "date", "3/4/2020"),
        ("on 4 March 2020 at", "date", "4 March 2020"),
        ("on March 4th at", "date", "March 4th"),
        ("since 2019 she", "date", "2019"),
        ("call 617-555-0123 now", "number", "617-555-0123"),
        ("call (617) 555-0123 now", "number", "(617) 555-0123"),
        ("MRN A1234567 here", "number", "A1234567"),
        ("mail x@y.org now", "address", "x@y.org"),
        ("see https://x.org/a now", "address", "https://x.org/a"),
    ],
)
def test_what_looks_like_phi_is_marked(text: str, why: str, marked: str) -> None:
    assert (why, marked) in [(one.why, text[one.start : one.end]) for one in remains(text)]


@pytest.mark.parametrize(
    "text", ["The patient took Metformin 500 mg.", "BP 132/84, HR 76, temp 98.6, SpO2 97 %", "[NAME] was seen on [DATE]. Stable.", ""]
)
def test_what_does_not_is_not(text: str) -> None:
    assert remains(text) == []


def test_what_was_put_there_is_not_marked() -> None:
    text = "seen by Quill on 3/4/2020"
    assert {text[one.start : one.end] for one in remains(text)} == {"Quill", "3/4/2020"}
    assert remains(text, [(8, 13), (17, 25)]) == []
    assert tags("[NAME] and [UNREADABLE: pdf] and [x]") == [(0, 6), (11, 28)]


@settings(deadline=None)
@given(st.text(max_size=200))
def test_marks_lie_in_the_text_and_do_not_overlap(text: str) -> None:
    end = 0
    for one in remains(text):
        assert end <= one.start < one.end <= len(text)
        end = one.end
