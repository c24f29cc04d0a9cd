"""A small table is looked up, a larger one joined by DuckDB: the same rows, in the same order, and never many rows times a long list at once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from anonymize.engine.attaching import attached, held
from anonymize.engine.base import Table
from anonymize.engine.local import LocalEngine

LISTS = pa.list_(pa.struct([("kind", pa.string()), ("value", pa.string())]))
ROWS = pa.schema([("n", pa.int64()), ("who", pa.string())])


def table_of(batch: pa.RecordBatch) -> Table:
    return Table("t", batch.schema, lambda: iter([batch]))


def small_table(*lists: int | None) -> pa.RecordBatch:
    """A subject a list of so many identifiers; None: no list."""
    values = [None if n is None else [{"kind": "name", "value": f"v{n}"} for n in range(n)] for n in lists]
    whose = [f"s{number}" for number in range(len(lists))]
    known = pa.array([True] * len(lists), pa.bool_())
    return pa.record_batch({"who": pa.array(whose, pa.string()), "list": pa.array(values, LISTS), "known": known})


@pytest.mark.parametrize("lists", [(3, None, 0, 7), ()], ids=["some", "nobody"])
def test_looked_up_or_joined_is_the_same(tmp_path: Path, lists: tuple[int | None, ...]) -> None:
    rows = pa.record_batch({"n": range(50), "who": [None if n % 11 == 0 else f"s{n % 6}" for n in range(50)]}, schema=ROWS)
    small = small_table(*lists)
    engine = LocalEngine(workers=1, scratch=tmp_path)
    found = []
    for most in (engine.lookup, -1):
        engine.lookup = most
        joined = engine.join(table_of(rows), table_of(small), "who")
        found.append(pa.Table.from_batches(list(joined.batches()), joined.schema))
    assert found[0].schema == found[1].schema
    assert found[0].to_pylist() == found[1].to_pylist()
    assert found[0]["n"].to_pylist() == list(range(50))


def test_rows_of_a_subject_with_a_long_list_come_in_pieces() -> None:
    rows = pa.record_batch({"n": range(2_000), "who": ["s1"] * 1_000 + ["s0"] * 1_000}, schema=ROWS)
    small = held(table_of(small_table(1, 1_000)), "who", 1 << 20)
    assert small is not None
    size = 10 * small.nbytes
    schema = pa.schema([*ROWS, small.schema.field("list"), small.schema.field("known")])
    pieces = list(attached(iter([rows]), small, "who", schema, size))
    assert max(piece.nbytes for piece in pieces) < 2 * size
    assert [n for piece in pieces for n in piece["n"].to_pylist()] == list(range(2_000))


def test_what_is_too_large_or_has_a_key_twice_is_not_held() -> None:
    assert held(table_of(small_table(1, 1_000)), "who", 1_000) is None
    twice = pa.record_batch({"who": ["a", "a", None], "list": pa.array([None] * 3, LISTS)})
    assert held(table_of(twice), "who", 1 << 20) is None
