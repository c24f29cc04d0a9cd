"""Every kind of file a hospital exports, as bad as it comes: what is found is told, a broken file falls out alone, no record is lost unseen."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import string
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import QuarantineBudgetExceeded, SourceError
from anonymize.policy.origins import FileSource
from anonymize.sources.base import BrokenFile, Malformed
from anonymize.sources.delimiters import find_delimiter
from anonymize.sources.encodings import find_encoding
from anonymize.sources.files import FileFolder
from anonymize.sources.json_documents import json_document
from anonymize.sources.places import Unreadable, open_place
from anonymize.sources.quarantine import Quarantine

Rows = list[dict[str, Any]]
Bad = list[tuple[int, str, str]]


def source(folder: Path, kind: str = "files", **more: object) -> FileFolder:
    return FileFolder("files", open_place("files", str(folder), Path), FileSource.model_validate({"type": kind, "path": "x", **more}), folder)


def read(files: FileFolder, table: str = "t") -> tuple[Rows, Bad, list[tuple[str, str]]]:
    """The rows, the malformed records, the broken files."""
    items = list(files.read(table, files.schema(table).names))
    rows = [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    bad = [(item.row, item.reason, item.column) for item in items if isinstance(item, Malformed) and not isinstance(item, BrokenFile)]
    return rows, bad, [(item.file, item.reason) for item in items if isinstance(item, BrokenFile)]


def values(files: FileFolder, table: str = "t") -> list[tuple[Any, ...]]:
    return [tuple(value for name, value in row.items() if name != "__row") for row in read(files, table)[0]]


# ------------------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("text", "written", "found"),
    [
        ("id,name\n1,Ann\n", "ascii", "utf-8"),
        ("id,name\n1,Jürgen\n2,Zoë\n", "utf-8", "utf-8"),
        ("id,name\n1,Jürgen\n2,Zoë\n", "utf-8-sig", "utf-8"),
        ("id,name\n1,Jürgen Müller\n2,Françoise Lefèvre\n3,temp 38°\n", "cp1252", "cp1252"),
        ("id,name\n1,Jürgen\n", "utf-16", "utf-16"),
        ("id,name\n1,Jürgen\n", "utf-16-le", "utf-16-le"),
        ("id,name\n1,Пациент поступил с жалобами на боль в груди\n2,Иванова Мария Петровна\n" * 5, "cp1251", "cp1251"),
    ],
)
def test_an_encoding_is_found_by_all_bytes(text: str, written: str, found: str) -> None:
    assert find_encoding(io.BytesIO(text.encode(written))) == found
    # The sign that tells stands far behind any sample.
    if written == "cp1252":
        late = b"id,name\n" + b"1,x\n" * 400_000 + "2,Müller\n3,Götz\n".encode("cp1252")
        assert find_encoding(io.BytesIO(late)) == "cp1252"


def test_a_file_of_two_encodings_is_never_read_as_one_silently(tmp_path: Path) -> None:
    good = "".join(f"{n},Zoë\n" for n in range(20))
    (tmp_path / "t.csv").write_bytes(b"id,name\n" + good.encode() + "20,Jürgen\n".encode("cp1252"))
    rows, bad, _ = read(source(tmp_path))
    assert {row["name"] for row in rows} == {"Zoë"}
    assert bad == [(21, "bad-encoding", "name")]


def test_what_is_no_text_is_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    (tmp_path / "b.csv").write_bytes(b"\x7fELF\0\0\1\2" * 500)
    assert read(source(tmp_path), "*.csv")[2] == [("b.csv", "bad-encoding")]


# -------------------------------------------------------------------------------------------------------------------- dialects


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b;c\n1,5;2,5;3,5\n1,5;2,5;3,5\n", ";"),
        ("a\tb\nx, y\tz; w\n", "\t"),
        ("a|b|c\n1|x, y|3\n", "|"),
        ('id,note\n1,"a; b; c"\n2,"d; e; f"\n', ","),
        ("id\n1\n2\n", ","),
        ("note\nfever, cough; pain\nnone\n", ","),
        ('a;b\n"x;y";2\n"line\nbreak; with, all";3\n', ";"),
    ],
)
def test_a_delimiter_is_found_by_the_records(text: str, sign: str) -> None:
    assert find_delimiter(text) == sign


NAMES = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=6), min_size=2, max_size=6, unique=True)
CELL = st.text(st.sampled_from("abc 0123456789,;|\t.'-"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(header=NAMES, cells=st.data(), sign=st.sampled_from(",;\t|"), encoding=st.sampled_from(["utf-8", "utf-16"]))
def test_what_is_written_by_any_sign_comes_back(tmp_path: Path, header: list[str], cells: Any, sign: str, encoding: str) -> None:
    import csv

    records = cells.draw(st.lists(st.lists(CELL, min_size=len(header), max_size=len(header)), min_size=1, max_size=8))
    with (tmp_path / "t.csv").open("w", newline="", encoding=encoding) as out:
        csv.writer(out, delimiter=sign, quoting=csv.QUOTE_ALL).writerows([header, *records])
    files = source(tmp_path, missing=[])
    items = list(files.read("t", header, types=dict.fromkeys(header, pa.string())))
    back = [list(row.values())[1:] for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    assert back == records


def test_numbers_as_a_country_writes_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id;sum;code;day\n1;1.234,50;007;2020-01-02\n2;-3,25;010;\n3;1.5;011;\n")
    files = source(tmp_path, "csv", decimal=",", thousands=".")
    items = list(files.read("t", ["sum"], types={"sum": pa.float64()}))
    assert [row["sum"] for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()] == [1234.5, -3.25]
    assert [(item.row, item.reason) for item in items if isinstance(item, Malformed)] == [(3, "not-float64")]
    assert str(files.schema("t").field("code").type) == "string"
    (tmp_path / "u.csv").write_text("sum;code\n1.234,50;1\n-3,25;2\n")
    assert str(source(tmp_path, "csv", decimal=",", thousands=".").schema("u").field("sum").type) == "double"


# --------------------------------------------------------------------------------------------------------- files that are broken


def packed(text: str) -> dict[str, bytes]:
    zst = pa.BufferOutputStream()
    with pa.CompressedOutputStream(zst, "zstd") as out:
        out.write(text.encode())
    return {"gz": gzip.compress(text.encode()), "bz2": bz2.compress(text.encode()), "zst": zst.getvalue().to_pybytes()}


@pytest.mark.parametrize("end", ["gz", "bz2", "zst"])
def test_a_packed_file_that_was_cut_gives_none_of_its_records(tmp_path: Path, end: str) -> None:
    text = "id,x\n" + "".join(f"{n},{random.Random(n).random()}\n" for n in range(20_000))
    whole = packed(text)[end]
    (tmp_path / f"1.csv.{end}").write_bytes(whole)
    (tmp_path / f"2.csv.{end}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / f"3.csv.{end}").write_bytes(b"no archive at all")
    rows, bad, broken = read(source(tmp_path), f"*.csv.{end}")
    assert (len(rows), bad) == (20_000, [])
    assert [file for file, _ in broken] == [f"2.csv.{end}", f"3.csv.{end}"]
    assert broken[0][1] == "cut-off"
    assert broken[1][1] in ("damaged", "cut-off")


def test_files_of_another_table_are_quarantined_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "visits"
    folder.mkdir()
    (folder / "1.csv").write_text("id;day;ward\n1;2020-01-02;a\n")
    (folder / "2.csv").write_text("day;id;ward\n2020-01-03;2;b\n")
    (folder / "3.csv").write_text("id;day\n3;2020-01-04\n")
    (folder / "4.csv").write_text("id,day,ward\n4,2020-01-05,c\n")
    (folder / "5.csv").write_text("")
    (folder / "6.csv").write_text("id;id;ward\n1;2;3\n")
    files = source(tmp_path, "csv")
    rows, bad, broken = read(files, "visits")
    assert [(row["id"], row["ward"]) for row in rows] == [(1, "a"), (2, "b")]
    assert bad == []
    assert broken == [
        ("visits/3.csv", "other-header"),
        ("visits/4.csv", "other-dialect"),
        ("visits/5.csv", "empty"),
        ("visits/6.csv", "bad-header"),
    ]
    assert files.told("visits") == {
        "files": 6,
        "delimiter": {"semicolon": 2},
        "encoding": {"utf-8": 2},
        "broken": {"other-header": 1, "other-dialect": 1, "empty": 1, "bad-header": 1},
    }


def test_damaged_parquet_and_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    for number in range(4):
        pq.write_table(pa.table({"n": list(range(1_000)), "s": ["x" * 50] * 1_000}), tmp_path / f"{number}.parquet", compression="none")
    (tmp_path / "1.parquet").write_bytes((tmp_path / "1.parquet").read_bytes()[:-500])
    (tmp_path / "2.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"n": ["a"]}), tmp_path / "3.parquet")
    rows, _, broken = read(source(tmp_path), "*.parquet")
    assert len(rows) == 1_000
    assert [file for file, _ in broken] == ["1.parquet", "2.parquet", "3.parquet"]
    assert broken[2][1] == "other-header"
    with pytest.raises(SourceError, match="none of its files can be read"):
        source(tmp_path).schema("2")


def test_a_file_both_packed_and_unpacked_counts_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n1\n")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    rows, _, broken = read(source(tmp_path))
    assert (len(rows), broken) == (1, [("t.csv.gz", "twice")])


def test_the_budget_of_files_and_their_rows_in_the_quarantine(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "q.parquet", "t") as quarantine:
        quarantine.add(BrokenFile(0, "cut-off", file="smith.csv"))
        quarantine.add(Malformed(7, "not-date", "day", raw="x", file="a.csv"))
    assert (quarantine.total, quarantine.files) == (1, 1)
    held = pq.read_table(tmp_path / "q.parquet").to_pylist()
    assert [(one["file"], one["row"], one["reason"]) for one in held] == [("smith.csv", None, "cut-off"), ("a.csv", 7, "not-date")]
    quarantine.check_files(2, 0.5)
    with pytest.raises(QuarantineBudgetExceeded, match=r"1 of 1 files quarantined \(1 cut-off\)") as raised:
        quarantine.check_files(1, 0.5)
    assert "smith" not in str(raised.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(kind=st.sampled_from(["csv", "ndjson", "json", "parquet", "xlsx", "csv.gz", "csv.zst"]), damage=st.data())
def test_a_damaged_file_never_ends_the_reading_of_the_others(tmp_path: Path, kind: str, damage: Any) -> None:
    """Bytes are changed or cut anywhere: every record of the sound file arrives, and the damaged one's are read, quarantined or its file is."""
    folder = tmp_path / "t"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    whole = _file(kind, 40)
    (folder / f"1.{kind}").write_bytes(whole)
    hurt = bytearray(whole)
    for _ in range(damage.draw(st.integers(1, 3))):
        hurt[damage.draw(st.integers(0, len(hurt) - 1))] = damage.draw(st.integers(0, 255))
    (folder / f"2.{kind}").write_bytes(bytes(hurt[: damage.draw(st.integers(1, len(hurt)))]))
    files = source(tmp_path)
    items = list(files.read("t", ["id"], types={"id": pa.string()}))
    good = sum(item.num_rows for item in items if isinstance(item, pa.RecordBatch))
    assert good >= 40
    broken = [item for item in items if isinstance(item, BrokenFile)]
    # Of plain text that was cut behind a line nothing tells that there was more.
    assert broken or good + sum(isinstance(item, Malformed) for item in items) > 40 or kind in ("csv", "ndjson")


def _file(kind: str, rows: int) -> bytes:
    records = [{"id": f"p{number}", "x": number} for number in range(rows)]
    text = "id,x\n" + "".join(f"{one['id']},{one['x']}\n" for one in records)
    if kind.startswith("csv"):
        return packed(text)[kind.partition(".")[2]] if "." in kind else text.encode()
    if kind == "ndjson":
        return "".join(json.dumps(one) + "\n" for one in records).encode()
    if kind == "json":
        return json.dumps(records).encode()
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), out)
    else:
        book = openpyxl.Workbook()
        book.active.append(["id", "x"])
        for one in records:
            book.active.append(list(one.values()))
        book.save(out)
    return out.getvalue()


# -------------------------------------------------------------------------------------------------------------- JSON documents


@pytest.mark.parametrize(
    ("document", "path", "records"),
    [
        ('[{"a": 1}, {"a": 2}]', "", [{"a": 1}, {"a": 2}]),
        ('\ufeff {"meta": {"n": [1, 2]}, "rows": [ {"a": "}]\\\\\\""} ], "more": [{"b": 1}]}', "", [{"a": '}]\\"'}]),
        ('{"data": {"x": 1, "items": [{"a": 1}]}, "items": [{"a": 9}]}', "data.items", [{"a": 1}]),
        ("[]", "", []),
    ],
)
def test_a_json_document_element_by_element(document: str, path: str, records: Rows) -> None:
    found = list(json_document(io.BytesIO(document.encode()), path))
    assert [item[0] for item in found if not isinstance(item, Malformed)] == records


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('[{"a": 1}, {"a"', "cut-off"),
        ('{"rows": [{"a": 1}', "cut-off"),
        ('[{"a": 1}]\n[{"a": 2}]', "not-json"),
        ('{"a": 1}', "no-records"),
        ("hello", "not-json"),
        ("", "empty"),
        ('[{"a": 1} {"a": 2}]', "not-json"),
    ],
)
def test_a_document_that_is_none(document: str, reason: str) -> None:
    with pytest.raises(Unreadable) as raised:
        list(json_document(io.BytesIO(document.encode())))
    assert raised.value.reason == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=80, deadline=None)
@given(records=st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=6), indent=st.sampled_from([None, 1]), size=st.integers(1, 40))
def test_any_json_is_read_as_json_reads_it(records: Rows, indent: int | None, size: int) -> None:
    import anonymize.sources.json_documents as module

    before, module._CHUNK = module._CHUNK, size
    try:
        found = list(json_document(io.BytesIO(json.dumps(records, indent=indent).encode())))
    finally:
        module._CHUNK = before
    assert [item[0] for item in found if not isinstance(item, Malformed)] == records


def test_one_bad_element_falls_out_alone(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"a": "1"}, {"a": 1.2.3}, 7, {"a": "2"}]')
    rows, bad, _ = read(source(tmp_path, "json"))
    assert [row["a"] for row in rows] == ["1", "2"]
    assert [(row, reason) for row, reason, _ in bad] == [(2, "not-json"), (3, "not-object")]


# ------------------------------------------------------------------------------------------------------------------------ XLSX


def book(file: Path, fill: Any) -> None:
    made = openpyxl.Workbook()
    fill(made)
    made.save(file)


def test_a_sheet_as_a_person_sees_it(tmp_path: Path) -> None:
    def fill(made: Any) -> None:
        sheet = made.active
        sheet.append(["id", "born", "seen", "zip", "value", "gone", "note"])
        sheet.append([1, date(1950, 3, 4), datetime(2020, 1, 2, 3, 4, 5), "02139", 1.5, "secret", "a\nb"])
        sheet.append([2, date(1951, 3, 4), datetime(2020, 1, 2), "10001", 2, "secret", None])
        sheet["C3"].number_format = "yyyy-mm-dd hh:mm"
        sheet.append([])
        sheet.append([3, None, None, "00501", "#N/A", "secret", "=1+1"])
        sheet["E5"].data_type = "e"
        sheet.column_dimensions["F"].hidden = True
        hidden = made.create_sheet("keys")
        hidden.append(["id", "name"])
        hidden.sheet_state = "hidden"

    book(tmp_path / "t.xlsx", fill)
    files = source(tmp_path)
    assert files.tables() == ["t"]
    assert "gone" not in files.schema("t").names
    rows, bad, _ = read(files)
    assert rows[0] == {
        "__row": 1,
        "id": 1,
        "born": date(1950, 3, 4),
        "seen": datetime(2020, 1, 2, 3, 4, 5),
        "zip": "02139",
        "value": 1.5,
        "note": "a\nb",
    }
    assert rows[1]["seen"] == datetime(2020, 1, 2)
    assert bad == [(3, "formula", "note")], "a formula without a calculated value is no empty cell"
    with pytest.raises(SourceError, match="hidden"):
        files.schema("t#keys")


def test_sheets_titles_and_merged_cells(tmp_path: Path) -> None:
    def fill(made: Any) -> None:
        sheet = made.active
        sheet.title = "Visits"
        sheet.append(["Export of the ward"])
        sheet.append(["Patient", None, "Stay", None])
        sheet.append(["id", "sex", "from", "to"])
        sheet.append(["p1", "F", "2020-01-01", "2020-01-02"])
        sheet.append([None, None, "2020-02-01", "2020-02-02"])
        sheet.merge_cells("A2:B2")
        sheet.merge_cells("C2:D2")
        sheet.merge_cells("A4:A5")
        made.create_sheet("Labs").append(["id", "value"])

    book(tmp_path / "ward.xlsx", fill)
    files = source(tmp_path, "xlsx", **{"skip-rows": 1, "header-rows": 2})
    assert files.tables() == ["ward#Labs", "ward#Visits"]
    assert files.schema("ward#Visits").names == ["Patient_id", "Patient_sex", "Stay_from", "Stay_to"]
    assert [row["Patient_id"] for row in read(files, "ward#Visits")[0]] == ["p1", "p1"], "a merged cell's value is of every row"
    with pytest.raises(SourceError, match="several sheets"):
        files.schema("ward")


def test_a_workbook_with_a_password_or_of_another_kind(tmp_path: Path) -> None:
    book(tmp_path / "1.xlsx", lambda made: (made.active.append(["a"]), made.active.append([1])))
    (tmp_path / "2.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"))
    (tmp_path / "3.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    (tmp_path / "4.xlsx").write_bytes((tmp_path / "1.xlsx").read_bytes()[:-100])
    (tmp_path / "5.xlsx").write_text("a,b\n")
    broken = read(source(tmp_path), "*.xlsx")[2]
    assert [reason for _, reason in broken] == ["encrypted", "not-xlsx", "cut-off", "not-xlsx"]


# ----------------------------------------------------------------------------------------------------------------- fixed width


def test_fixed_width_by_a_layout_and_by_a_csv_of_it(tmp_path: Path) -> None:
    (tmp_path / "t.dat").write_bytes(
        "HEADER\n0001Müller    20200102\n0002Lee       20200103\n0003Cut\n0004Ann       20200104 more\n".encode("cp1252")
    )
    layout = [{"name": "id", "start": 1, "width": 4}, {"name": "name", "start": 5, "width": 10}, {"name": "day", "start": 15, "width": 8}]
    rows, bad, _ = read(source(tmp_path, "fixed", layout=layout, **{"skip-rows": 1}))
    assert [(row["id"], row["name"]) for row in rows] == [("0001", "Müller"), ("0002", "Lee"), ("0004", "Ann")]
    assert bad == [(3, "short-record", "")]
    (tmp_path / "layout.csv").write_text("name,start,width\n" + "".join(f"{one['name']},{one['start']},{one['width']}\n" for one in layout))
    rows, bad, _ = read(source(tmp_path, "fixed", layout={"t": "layout.csv"}, pad=True, **{"skip-rows": 1}))
    assert [row["name"] for row in rows] == ["Müller", "Lee", "Cut", "Ann"]
    with pytest.raises(SourceError, match="layout"):
        source(tmp_path, "fixed", layout={"u": "layout.csv"}).schema("t")


# ----------------------------------------------------------------------------------------------------- folders, archives, stores


def test_archives_are_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "visits.csv.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("visits.csv", "id\n1\n")
    (tmp_path / "labs").mkdir()
    with zipfile.ZipFile(tmp_path / "labs" / "2020.zip", "w") as packed:
        packed.writestr("deep/jan.csv", "id\n1\n")
        packed.writestr("deep/feb.csv.gz", gzip.compress(b"id\n2\n"))
    (tmp_path / "labs" / "2021.zip").write_bytes(b"PK\3\4 no archive")
    files = source(tmp_path)
    assert "visits" in files.tables()
    assert values(files, "visits") == [(1,)]
    rows, _, broken = read(files, "labs")
    assert sorted(row["id"] for row in rows) == [1, 2]
    assert broken == [("labs/2021.zip", "damaged")]
    assert values(source(tmp_path / "labs" / "2020.zip"), "**/jan.csv") == [(1,)]
    assert values(source(tmp_path / "visits.csv.zip"), "visits") == [(1,)]


def test_a_source_may_be_one_file(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n")
    assert values(source(tmp_path / "t.tsv", "tsv")) == [(1, 2)]


def test_a_bucket_with_the_key_of_the_environment_or_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        port = server._server.socket.getsockname()[1]
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket="lake")
        client.put_object(Bucket="lake", Key="exports/t/1.csv", Body="id;x\n1;Zoë\n".encode("cp1252"))
        client.put_object(Bucket="lake", Key="exports/t/2.csv.gz", Body=gzip.compress(b"id;x\n2;b\n")[:-9])
        client.put_object(Bucket="lake", Key="exports/p.parquet", Body=_file("parquet", 3))
        client.put_object(Bucket="lake", Key="exports/z.zip", Body=_zip("z.csv", "id\n7\n"))
        uri = f"s3://lake/exports?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        settings_ = FileSource.model_validate({"type": "files", "path": uri})
        files = FileFolder("lake", open_place("lake", uri, Path), settings_)
        assert files.tables() == ["p", "t", "z"]
        rows, _, broken = read(files, "t/*")
        assert (len(rows), broken) == (1, [("t/2.csv.gz", "cut-off")])
        assert len(values(files, "p")) == 3
        assert values(files, "z") == [(7,)]
        connection = f"aws://testing:testing@/?region_name=us-east-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A{port}"
        by_connection = FileFolder("lake", open_place("lake", "s3://lake/exports", Path, connection), settings_)
        assert len(values(by_connection, "p")) == 3
        with pytest.raises(SourceError, match="nothing at s3://lake/none"):
            open_place("lake", uri.replace("exports", "none"), Path)
    finally:
        server.stop()


def _zip(name: str, text: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr(name, text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"type": "parquet", "delimiter": ";"}, "'delimiter' says nothing of parquet files"),
        ({"type": "fixed"}, "need their 'layout'"),
        ({"type": "csv", "decimal": ",", "thousands": ","}, "one sign"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FileSource.model_validate({"path": "x", **given_})
