"""Surrogates: of the same shape, the same for the same value of a subject, and nobody's."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from anonymize.detect.base import Finding
from anonymize.detect.words import first_names, last_names
from anonymize.keys import Key
from anonymize.policy.model import Kind
from anonymize.transform.surrogates import _pool, surrogate, surrogates
from anonymize.transform.text import How, scrub

SECRET = b"x" * 32


def test_the_names_are_nobodys() -> None:
    for pool in ("names", "places"):
        words = {word.lower() for word in _pool(pool)}
        assert len(words) > 800
        assert not words & (first_names() | last_names())


def test_one_person_stays_one_person_in_any_case() -> None:
    full = surrogate(Kind.NAME, "Ann LEE", SECRET, "17").split()
    assert surrogate(Kind.NAME, "lee", SECRET, "17") == full[1].lower()
    assert surrogate(Kind.NAME, "Mrs. Lee", SECRET, "17") == f"Mrs. {full[1].title()}"
    assert surrogate(Kind.NAME, "Lee", SECRET, "18") != full[1].title()


def test_a_word_that_is_kept_for_others_is_not_kept_for_who_bears_it() -> None:
    assert surrogate(Kind.ADDRESS, "7 Elm Lane", SECRET, "17").endswith(" Lane")
    assert "Lane" not in surrogate(Kind.ADDRESS, "7 Elm Lane", SECRET, "17", names=frozenset({"lane"}))
    assert "Lane" not in surrogate(Kind.NAME, "Mrs. Lane", SECRET, "17")


@given(st.text("0123456789ABCdef- ", min_size=1, max_size=20))
def test_codes_keep_their_shape_and_are_another(code: str) -> None:
    made = surrogate(Kind.MRN, code, SECRET, "17")
    assert [c.isdigit() for c in made] == [c.isdigit() for c in code]
    assert [c for c in made if not c.isalnum()] == [c for c in code if not c.isalnum()]
    assert made != code or not any(c.isalnum() for c in code)


def test_columns_and_texts() -> None:
    key = Key("env:ANONYMIZE_KEY", "p")
    column = surrogates(pa.array(["Ann", None, "Ann"]), key, kind=Kind.NAME)
    assert column[0] == column[2]
    assert column[1].as_py() is None
    finding = Finding(Kind.NAME, 0, 3, 1.0, "patterns")
    texts, counts = scrub(pa.array(["Ann is 93"]), [[finding]], How("surrogates", key=key, subjects=pa.array(["17"])))
    assert texts[0].as_py().endswith(" is 93")
    assert not texts[0].as_py().startswith("Ann")
    assert counts == [{"name": 1}]
