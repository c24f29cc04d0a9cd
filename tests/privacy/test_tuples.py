"""Distinct tuples as numbers: counted as a counter counts them, found where they are and nowhere else."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.privacy import tuples
from anonymize.privacy.tuples import Tally, Tuples

VALUES = st.sampled_from(["", "a", "b", "a b", None])
ROWS = st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=30)


def columns(rows: list[tuple[str | None, ...]]) -> list[pa.Array]:
    return [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]


@settings(deadline=None)
@given(ROWS, ROWS, st.sampled_from([2, 1 << 62]))
def test_a_tuple_is_found_where_it_is(known: list[tuple[str | None, ...]], asked: list[tuple[str | None, ...]], widest: int) -> None:
    known = list(dict.fromkeys(known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuples, "_WIDEST", widest)
        found = Tuples(columns(known)).find(columns(asked), len(asked))
        encoded = Tuples(columns(known)).find([c.dictionary_encode() for c in columns(asked)], len(asked))
    assert found.tolist() == encoded.tolist() == [known.index(row) if row in known else -1 for row in asked]


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from([3, 1 << 40]))
def test_a_stream_is_counted(batches: list[list[tuple[str | None, ...]]], held: int) -> None:
    leaves = pa.array(["", "a", "b", "a b"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuples, "_HELD", held)
        tally = Tally(dict.fromkeys(["x", "y", "z"], leaves))
        assert all(tally.add(columns(batch)) for batch in batches)
        table = tally.table()
    rows = zip(*(table[name].to_pylist() for name in ("x", "y", "z")), strict=True)
    assert dict(zip(rows, table["subjects"].to_pylist(), strict=True)) == Counter(row for batch in batches for row in batch)


def test_a_value_that_nobody_knows_is_not_counted() -> None:
    tally = Tally({"x": pa.array(["a"])})
    assert tally.add([pa.array(["a", None])])
    assert not tally.add([pa.array(["a", "c"])])
    assert tally.table()["subjects"].to_pylist() == [1, 1]


def test_columns_that_are_too_wide_are_said() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Tally({str(c): pa.array([str(v) for v in range(300)]) for c in range(8)})
