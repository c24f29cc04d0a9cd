"""Subjects with identifiers, and a search of one column, as the leak gate's tests need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from anonymize.keys import Key
from anonymize.validate.leak import Columns, Leak, search
from anonymize.validate.needles import Needles, build_needles

Record = Sequence[tuple[str, str, str]]
"""(kind, value, column) of each identifier."""
LIST = pa.list_(pa.struct([("kind", pa.string()), ("value", pa.string()), ("column", pa.string())]))
SOURCE = "source.{}"


def record_batch(records: dict[str, Record]) -> pa.RecordBatch:
    lists = [[dict(zip(("kind", "value", "column"), item, strict=True)) for item in record] for record in records.values()]
    return pa.RecordBatch.from_arrays([pa.array(list(records)), pa.array(lists, LIST)], names=["__subject", "__identifiers"])


def needles_of(records: dict[str, Record], folder: Path) -> Needles:
    return build_needles(iter([record_batch(records)]), Key("env:ANONYMIZE_KEY", "test"), folder)


def search_column(
    needles: Needles,
    cells: pa.Array,
    subjects: Sequence[str | None],
    *,
    text: bool = False,
    shifted: bool = False,
    k: int = 5,
    **more: object,
) -> list[Leak]:
    name = frozenset({"c"})
    quasi = name if more.get("quasi") else frozenset()
    known = Columns(name if text else frozenset(), name if text or shifted else frozenset(), more.get("allowed", {}), quasi)  # type: ignore[arg-type]
    batch = pa.RecordBatch.from_arrays([cells], names=["c"])
    return search(iter([batch]), iter([pa.array(subjects, pa.string())]), needles, table="t", columns=known, k=k)


Finder = Callable[..., list[tuple[str, bool]]]


@pytest.fixture
def finder(tmp_path: Path) -> Callable[[dict[str, Record]], Finder]:
    """Given subjects' records, a function that searches texts (or cells) and says the kinds that it found and whose they are."""

    def make(records: dict[str, Record]) -> Finder:
        needles = needles_of(records, tmp_path / "needles")

        def find(cells: Sequence[object] | pa.Array, subjects: str | Sequence[str | None] = "s1", **options: object) -> list[tuple[str, bool]]:
            array = cells if isinstance(cells, pa.Array) else pa.array(list(cells))
            whose = [subjects] * len(array) if isinstance(subjects, str) else subjects
            return [(leak.kind, leak.own) for leak in search_column(needles, array, whose, **options)]  # type: ignore[arg-type]

        return find

    return make
