"""A text as it is read, and the way back to the text as it was written."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anonymize.detect.base import Finding, Identifier
from anonymize.detect.paragraphs import LONGEST, Memory, paragraphs
from anonymize.detect.reading import read
from anonymize.detect.registry import Detector, build
from anonymize.policy.model import Kind, Text

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
PIECES = (
    "Thaddeus", "THADDEUS", "thaddeus", "\u200b", "\u00ad", "e\u0301", "Ørsted", "李", "محمد", "\r\n", "\n\n", "\t", " ", ", ", ": ", "12",
    "3/4/2020", "Dr. ", "MR ", "DENIES PAIN", "pt: ", "617-555-0100", "<", "&", "'", "’", "—", "\ufeff", "\U0001f600", "ß", "İ",
)  # fmt: skip
FRAGMENTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("text", "cased"),
    [
        ("MR. RESTREPO DENIES CHEST PAIN TODAY.", "Mr. Restrepo denies chest pain today."),
        ("NAME: MARY RICH, MR#: 12", "name: Mary Rich, Mr#: 12"),
        ("seen by dr. lindqvist, rn tamsin", "seen by Dr. Lindqvist, RN Tamsin"),
        ("He has HTN and DM, seen by Dr. Ott.", "He has HTN and DM, seen by Dr. Ott."),
        ("“Smith’s”", '"Smith\'s"'),
    ],
)
def test_what_is_all_in_one_case_is_read_as_it_would_be_written(text: str, cased: str) -> None:
    assert read(text).cased == cased


def test_a_line_broken_for_its_length_flows_and_a_field_does_not() -> None:
    text = "The patient was brought in by her daughter Marguerite\nOstrander, who was with her.\nPlan: rest"
    assert "Marguerite Ostrander" in read(text).plain
    assert "\nPlan" in read(text).plain


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad", "\u2060", "\ufeff"])
def test_a_name_with_unseen_signs_in_it_is_found_with_them(unseen: str) -> None:
    text = f"Seen by Dr. Lind{unseen}qvist today."
    found = build(Text()).find([text])[0]
    assert any(text[f.start : f.end].replace(unseen, "") == "Lindqvist" for f in found)


def test_a_name_with_combining_accents_is_found_whole() -> None:
    text = "Seen by Dr. Rene\u0301e Lindqvist today."
    assert [text[f.start : f.end] for f in build(Text()).find([text])[0]] == ["Rene\u0301e Lindqvist"]


@settings(max_examples=600, deadline=None)
@example("DR ßAAAAAA")
@example("seen by ŉade ßade, md at ßo clinic")
@example("NAME: İBRAHIM ǰAKOB, MD")
@given(ANY_TEXT | FRAGMENTS | ANY_TEXT.map(str.lower) | st.text("DRMS. ßİŉǰABCabc,:md", max_size=40))
def test_every_sign_has_its_way_back(text: str) -> None:
    reading = read(text)
    assert len(reading.plain) == len(reading.cased)
    if reading.back is None:
        assert len(reading.plain) == len(text)
    else:
        assert len(reading.back) == len(reading.plain) + 1
        assert list(reading.back) == sorted(reading.back)
        assert all(0 <= place <= len(text) for place in reading.back)
    whole = reading.returned(Finding(Kind.NAME, 0, len(reading.plain), 1.0, "x"))
    assert whole.end == len(text) or not reading.plain


@settings(max_examples=80, deadline=None)
@given(ANY_TEXT | FRAGMENTS)
def test_findings_lie_within_the_text_sorted_and_disjoint_with_and_without_the_memory(text: str) -> None:
    record = [Identifier(Kind.NAME, "Thaddeus", "given")]
    known = build(Text())
    forgetful = Detector(known._batches, known._thresholds, memory=Memory(0))
    found = known.find([text, text], [record, record])
    assert found[0] == found[1] == forgetful.find([text], [record])[0]
    assert all(0 <= f.start < f.end <= len(text) for f in found[0])
    assert all(a.end <= b.start for a, b in zip(found[0], found[0][1:], strict=False))


@settings(max_examples=200, deadline=None)
@given(st.text("ab .\n\t", max_size=60).flatmap(lambda piece: st.integers(1, 400).map(lambda times: piece * times)))
def test_paragraphs_hold_every_sign_that_is_no_blank(text: str) -> None:
    pieces = list(paragraphs(text))
    covered = bytearray(len(text))
    for start, piece in pieces:
        assert text[start : start + len(piece)] == piece
        assert 0 < len(piece) <= LONGEST
        covered[start : start + len(piece)] = b"\x01" * len(piece)
    assert all(covered[i] or text[i].isspace() for i in range(len(text)))


def test_the_memory_forgets_what_was_seen_longest_ago() -> None:
    memory = Memory(characters=10)
    memory.put("aaaaa", ())
    memory.put("bbbbb", ())
    assert memory.get("aaaaa") == ()
    memory.put("ccccc", ())
    assert memory.get("bbbbb") is None
    assert memory.get("aaaaa") == ()
