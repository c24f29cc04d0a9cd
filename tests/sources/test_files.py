"""Files as bad as real ones: what can be read is, and what cannot goes to the quarantine with a row and a reason."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import QuarantineBudgetExceeded, SourceError
from anonymize.policy.origins import FileSource
from anonymize.sources.base import Malformed
from anonymize.sources.files import FileFolder
from anonymize.sources.places import open_place
from anonymize.sources.quarantine import Quarantine


def source(folder: Path, kind: str = "csv", **more: object) -> FileFolder:
    return FileFolder("files", open_place("files", str(folder), Path), FileSource.model_validate({"type": kind, "path": "x", **more}), folder)


def read(files: FileFolder, table: str = "t") -> tuple[list[dict[str, object]], list[tuple[int, str, str]]]:
    items = list(files.read(table, files.schema(table).names))
    rows = [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    return rows, [(item.row, item.reason, item.column) for item in items if isinstance(item, Malformed)]


def test_csv_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfzip,n,day,text\r\n02139,1,2020-01-02,"a, ""b""\nc"\r\n59001,2,,\r\n')
    rows, bad = read(source(tmp_path))
    assert bad == []
    assert [str(row["day"]) for row in rows] == ["2020-01-02", "None"]
    assert rows[0]["zip"] == "02139", "leading zeros are a code's"
    assert rows[0]["text"] == 'a, "b"\nc'
    assert [row["__row"] for row in rows] == [1, 2]


def test_a_bad_record_falls_out_alone(tmp_path: Path) -> None:
    good = "".join(f"{n},x\n" for n in range(3_000))
    (tmp_path / "t.csv").write_bytes(b"n,s\n" + good.encode() + b"1,x,y\nabc,x\n7,\xff\xfe\n8,ok\n")
    rows, bad = read(source(tmp_path))
    assert sorted(bad) == [(3_001, "ragged-row", ""), (3_002, "not-int64", "n"), (3_003, "bad-encoding", "s")]
    assert rows[-1] == {"__row": 3_004, "n": 8, "s": "ok"}


def test_missing_values_delimiters_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n?;1\n2;?\n")
    (tmp_path / "empty.csv").write_text("a;b\n")
    files = source(tmp_path, delimiter=";", missing=["?"])
    assert read(files)[0] == [{"__row": 1, "a": None, "b": 1}, {"__row": 2, "a": 2, "b": None}]
    assert read(files, "empty") == ([], [])
    assert files.tables() == ["empty", "t"]


def test_a_field_of_five_megabytes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n,s\n1," + "x" * 5_000_000 + "\n")
    assert len(str(read(source(tmp_path))[0][0]["s"])) == 5_000_000


def test_ndjson(tmp_path: Path) -> None:
    (tmp_path / "t.ndjson").write_bytes(b'{"a": 1, "b": {"c": 2}}\nnonsense\n[1]\n{"a": \xff}\n\n{"b": null, "a": true}\n')
    rows, bad = read(source(tmp_path, "ndjson"))
    assert [(row, reason) for row, reason, _ in bad] == [(2, "not-json"), (3, "not-object"), (4, "bad-encoding")]
    assert rows == [{"__row": 1, "a": "1", "b": '{"c": 2}'}, {"__row": 5, "a": "true", "b": None}]


def test_parquet_parts_and_globs(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    for part in range(2):
        pq.write_table(pa.table({"n": pa.array([part], pa.int32()), "s": pa.array(["a"]).dictionary_encode()}), folder / f"{part}.parquet")
    assert read(source(tmp_path, "parquet"))[0] == [{"__row": 1, "n": 0, "s": "a"}, {"__row": 2, "n": 1, "s": "a"}]
    assert len(read(source(tmp_path, "parquet"), "t/*.parquet")[0]) == 2


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("a\n1\n")
    with pytest.raises(SourceError, match="Did you mean 'patients'"):
        source(tmp_path).schema("patient")
    with pytest.raises(SourceError, match="no column 'b'"):
        list(source(tmp_path).read("patients", ["b"]))
    with pytest.raises(SourceError, match="there is no"):
        source(tmp_path / "none")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        with (tmp_path / "t.csv").open("w") as out:
            out.write("n,s\n")
            out.writelines(f"{n},{'x' * 50}\n" for n in range(rows))
        tracemalloc.start()
        for _ in source(tmp_path).read("t", ["n", "s"]):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(120_000) < 1.3 * peak(30_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), min_size=1), min_size=1, max_size=8))
def test_what_csv_writes_is_read_back(tmp_path: Path, values: list[str]) -> None:
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["a", "b"], *([value, "text"] for value in values)])
    files = source(tmp_path)
    items = list(files.read("t", ["a"], types={"a": pa.string()}))
    assert [row["a"] for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()] == values


def test_the_budget_names_rows_and_reasons_and_no_value(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "q" / "t.parquet", "t") as quarantine:
        for row in (17, 88, 9120):
            quarantine.add(Malformed(row, "not-date", "admitted", raw="Ann Lee, yesterday"))
    quarantine.check_budget(10_204, 0.001)
    with pytest.raises(
        QuarantineBudgetExceeded, match=r"3 of 103 records quarantined \(3 not-date \(admitted\); first rows 17, 88, 9120\)"
    ) as raised:
        quarantine.check_budget(100, 0.001)
    assert "Ann" not in str(raised.value)
    assert pq.read_table(tmp_path / "q" / "t.parquet")["row"].to_pylist() == [17, 88, 9120]
