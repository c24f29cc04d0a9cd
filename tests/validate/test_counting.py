"""The recount: in distinct subjects, from the files as written, and not where rows and subjects do not match."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.errors import StepFailed
from anonymize.validate.counting import Staged, class_sizes, facts


def stage(folder: Path, subjects: list[str | None]) -> Staged:
    """Eight rows in two files; `subjects` beside them, cut elsewhere."""
    staged = Staged("t", folder / "data", folder / "subjects")
    data = pa.table({"zip": ["021"] * 5 + ["100", None, None], "lab": [1.0, None] * 4})
    for path, table, cut in ((staged.data, data, 3), (staged.subjects, pa.table({"__subject": pa.array(subjects, pa.string())}), 6)):
        path.mkdir(parents=True)
        pq.write_table(table.slice(0, cut), path / "part-00000.parquet")
        pq.write_table(table.slice(cut), path / "part-00001.parquet")
    return staged


def test_classes_are_counted_in_subjects_and_null_is_a_value(tmp_path: Path) -> None:
    staged = stage(tmp_path, ["a", "a", "a", "b", "b", "c", "d", "e"])
    sizes = class_sizes(staged, ["zip"])
    assert dict(zip(sizes.sizes, sizes.classes, strict=True)) == {1: 1, 2: 2}
    assert sizes.smallest == 1


def test_facts_hold_counts_alone(tmp_path: Path) -> None:
    found = facts(stage(tmp_path, ["a", "a", "a", "b", "b", "c", "d", None]))
    assert (found["rows"], found["subjects"]) == (8, 4)
    assert found["columns"] == {"zip": {"nulls": 2, "distinct": 2}, "lab": {"nulls": 4, "distinct": 1}}


@pytest.mark.parametrize("subjects", [["a"] * 7, ["a"] * 9])
def test_subjects_that_do_not_match_the_rows_are_no_count(tmp_path: Path, subjects: list[str | None]) -> None:
    with pytest.raises(StepFailed, match="subjects stand beside 8 staged rows"):
        class_sizes(stage(tmp_path, subjects), ["zip"])
