"""HL7 v2 messages: framing, delimiters, escapes, encodings, groups, subjects; nothing crashes it, and nothing is lost in silence."""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.errors import SourceError
from anonymize.sources.base import Malformed
from anonymize.sources.hl7.er7 import NotHl7, parse, unescape
from anonymize.sources.hl7v2 import Hl7Folder
from anonymize.sources.tree import iso_day, iso_time

HEAD = r"MSH|^~\&|LAB|H|EHR|H|20240102030405||{type}|{id}|P|2.5"
PID = (
    "PID|1||17^^^H^MR~999-00-1111^^^SSA^SS||Lee&van&Lee^Ann^Bea||19500304|F|"
    "||1 Elm St^Apt 2^Salem^MA^01970-1234||(555)010-1234^PRN^PH^ann@x.example"
)


def message(*segments: str, type: str = "ORU^R01", id: str = "m1", end: str = "\r") -> str:
    return end.join([HEAD.format(type=type, id=id), *segments]) + end


def opened(folder: Path, **options: Any) -> Hl7Folder:
    return Hl7Folder("feed", folder, mapping="hl7v2", policy_folder=folder, **options)


def read(source: Hl7Folder, table: str) -> tuple[list[dict[str, Any]], list[str]]:
    """A table's rows without what is null, and the reasons of what fell out."""
    items = list(source.read(table, source.schema(table).names))
    rows = [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    return [{k: v for k, v in row.items() if v is not None} for row in rows], [item.reason for item in items if isinstance(item, Malformed)]


def of(tmp_path: Path, *texts: str | bytes, **options: Any) -> Hl7Folder:
    for number, text in enumerate(texts):
        (tmp_path / f"{number:03}.hl7").write_bytes(text if isinstance(text, bytes) else text.encode())
    return opened(tmp_path, **options)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize(
    "frame",
    [
        lambda m: m,
        lambda m: b"\x0b" + m + b"\x1c\r",
        lambda m: b"FHS|^~\\&\rBHS|^~\\&\r" + m + b"BTS|2\rFTS|1\r",
        lambda m: b"\xef\xbb\xbf" + m,
        lambda m: m.decode().encode("utf-16"),
        lambda m: m.decode().encode("utf-16-le"),
        gzip.compress,
    ],
    ids=["plain", "mllp", "batch", "mark", "utf-16", "utf-16 unmarked", "gzip"],
)
def test_messages_come_out_of_every_framing(tmp_path: Path, end: str, frame: Any) -> None:
    two = message(PID, "OBR|1|||1^A", "OBX|1|NM|2^B||5", end=end) + message(PID, id="m2", end=end)
    name = "a.hl7.gz" if frame is gzip.compress else "a.hl7"
    (tmp_path / name).write_bytes(frame(two.encode()))
    rows, fallen = read(opened(tmp_path), "message")
    assert ([row["message_id"] for row in rows], fallen) == (["m1", "m2"], [])
    assert [row["number"] for row in read(opened(tmp_path), "observation")[0]] == [5.0]


def test_a_capture_with_acknowledgements_holds_both_and_says_which_are_about_nobody(tmp_path: Path) -> None:
    ack = HEAD.format(type="ACK", id="a1") + "\rMSA|AA|m1\r"
    source = of(tmp_path, "".join(f"\x0b{m}\x1c\r" for m in (message(PID), ack, message(PID, id="m2"), ack)))
    assert len(read(source, "message")[0]) == 2
    assert [row["type"] for row in read(source, "message_about_nobody")[0]] == ["ACK", "ACK"]


def test_what_is_wrong_falls_out_alone_with_its_reason_and_is_told_once(tmp_path: Path) -> None:
    good = message(PID)
    gzipped = gzip.compress((good * 50).encode())
    (tmp_path / "cut.gz").write_bytes(gzipped[: len(gzipped) // 2])
    source = of(
        tmp_path,
        good,
        PID + "\r" + good,
        message("EVN|A01", type="ADT^A01"),
        message("PID|1||||Lee^Ann"),
        "MSH|||a\r",
        good.replace("Ann", "A\0nn"),
        b"\x89PNG\r\n\x1a\n\0\0\0",
        b"",
        "BHS|^~\\&\r" + good + "BTS|7\r",
        "BHS|^~\\&\r" + good,
        told=["observation", "message", "visit"],
    )
    rows, fallen = read(source, "message")
    assert sorted(set(fallen)) == sorted(
        ["batch-count", "batch-cut", "binary", "bad-delimiters", "damaged-file", "empty-file", "no-msh", "no-pid", "no-subject"]
    )
    assert len(rows) >= 4
    assert read(source, "observation")[1] == []
    # A table that nobody reads tells nothing, so the first that is read does.
    assert set(read(opened(tmp_path, told=["observation"]), "observation")[1]) == set(fallen)


def test_delimiters_are_those_of_the_message(tmp_path: Path) -> None:
    text = "MSH#*!?%#LAB#H###2024##ORU*R01#m1#P#2.3\rPID#1##17*a%b*c*d*MR!18*****#!#Lee*Ann\rOBX#1#TX#1*A##5 ^ 6 | 7 ?T? ?S?#"
    source = of(tmp_path, text)
    assert read(source, "patient")[0][0]["family"] == "Lee"
    assert read(source, "note")[0][0]["text"] == "5 ^ 6 | 7 % *"
    with pytest.raises(NotHl7, match="bad-delimiters"):
        parse([b"MSH|^^\\&|"])


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (r"\F\\S\\T\\R\\E\ ", "|^&~\\ "),
        (r"a\.br\b\.sp2\c\.in+4\d", "a\nb\n\ncd"),
        (r"\H\bold\N\ \X48C3A9\ \Zxx\ ", "bold Hé  "),
        (r"C:\temp\new", r"C:\temp\new"),
        (r"lone \ sign", r"lone \ sign"),
        (r"\X0D0A\x", "\nx"),
        ("plain", "plain"),
    ],
)
def test_escapes(written: str, read_as: str) -> None:
    signs = parse([HEAD.format(type="A", id="1").encode()]).header.signs
    assert unescape(written, signs, "utf-8") == read_as


@pytest.mark.parametrize(
    ("declared", "encoding", "found"),
    [
        ("8859/1", "latin-1", "iso8859-1"),
        ("UNICODE UTF-8", "utf-8", "utf-8"),
        ("", "cp1252", "cp1252"),
        ("ASCII", "utf-8", "utf-8"),
        ("8859/2", "iso8859-2", "iso8859-2"),
    ],
)
def test_encodings_by_what_the_message_says_and_what_it_is(tmp_path: Path, declared: str, encoding: str, found: str) -> None:
    text = message(PID.replace("Ann", "Zoë")).replace("|P|2.5", f"|P|2.5||||||{declared}")
    source = of(tmp_path, text.encode(encoding))
    assert read(source, "patient")[0][0]["given"] == "Zoë"
    assert read(source, "message")[0][0]["encoding"] == found
    if encoding != "utf-8":
        assert read(opened(tmp_path, encoding="utf-8"), "message")[1] == ["bad-encoding"]


def test_segments_belong_to_what_they_follow(tmp_path: Path) -> None:
    source = of(
        tmp_path,
        message(
            PID, "PV1|1|I|W^1" + "|" * 16 + "V9", "NTE|1||of the visit",
            "ORC|RE|P1", "OBR|1|P1|F1|24321-2^Panel^LN|||20240101", "NTE|1||of the order", "NTE|2||on two lines",
            "OBX|1|NM|2345-7^Glucose^LN||182|mg/dL", "OBX|2|SN|K^Potassium^L||<^3.5", "OBX|3|CWE|S^Smoker^99H||N^No^HL70136~ZZ^Said so^L",
            "OBX|4|TX|R^Report^L||Ann was", "OBX|5|TX|R^Report^L||seen.~Twice", "OBX|6|ED|D^Doc^L||^TEXT^^Base64^" + base64.b64encode(b"scanned text").decode(),  # noqa: E501
            "OBX|7|NM|30525-0^Age^LN||93", "OBX|8|ST|X^Zip code^L||01970", "OBX|9|NM|Y^Odd^L||many",
            "OBR|2||F2|X^Other^L", "OBX|1|TS|T^When^L||202401020304",
            "ZPI|1|site", "PID|1||18^^^H^MR", "OBR|1||F3|X", "OBX|1|ST|1||of another",
        ),
    )  # fmt: skip
    results, _ = read(source, "observation")
    assert [(row["patient_id"], row.get("order_key"), row.get("visit_number")) for row in results[:1] + results[-2:]] == [
        ("17", "m1-1", "V9"),
        ("17", "m1-2", "V9"),
        ("18", "m1-3", None),
    ]
    by_code = {row.get("code") or row.get("local_code"): row for row in results}
    assert (by_code["2345-7"]["number"], by_code["2345-7"]["order_code"], by_code["2345-7"]["order_observed"]) == (
        182.0,
        "24321-2",
        "2024-01-01",
    )
    assert (by_code["K"]["comparator"], by_code["K"]["number"]) == ("<", 3.5)
    assert (by_code["S"]["value_code"], by_code["S"]["value_local_code"], by_code["S"]["value_display"]) == ("N", "ZZ", "No\nSaid so")
    assert (by_code["30525-0"]["age"], by_code["X"]["value_who"], by_code["Y"]["value_text"]) == (93.0, "01970", "many")
    assert by_code["T"]["value_time"] == "2024-01-02T03:04"
    notes = {(row["kind"], row["about"]): row for row in read(source, "note")[0]}
    assert notes[("comment", "PV1")]["text"] == "of the visit"
    assert notes[("comment", "OBR")]["text"] == "of the order\non two lines"
    assert notes[("report", "OBX")]["text"] == "Ann was\nseen.\nTwice"
    assert notes[("attachment", "OBX")]["text"] == "scanned text"
    assert {row["segment"]: row["number"] for row in read(source, "segment")[0]}["ZPI"] == 1


def test_a_document_is_its_lines_and_a_broken_line_end_is_mended(tmp_path: Path) -> None:
    source = of(
        tmp_path, message(PID, "TXA|1|DS|TX|202401", "OBX|1|TX|1^Summary||first", "OBX|2|TX|2^More||second\nthird & last", type="MDM^T02")
    )
    assert [(row["kind"], row["text"]) for row in read(source, "note")[0]] == [("document", "first\nsecond\nthird & last")]
    assert read(source, "message")[0][0]["mended_lines"] == 1


def test_a_person_is_one_row_with_what_was_last_said_and_a_deleted_value_is_gone(tmp_path: Path) -> None:
    source = of(
        tmp_path,
        message("PID|1||17^^^H^MR||Lee^Ann||19500304|F||W|^^^MA^01970", id="a").replace("20240102", "20240109"),
        message('PID|1||17^^^H^MR||Lee^Ann||||""', id="b"),
        message('PID|1||17^^^H^MR||Lee^Ann|||||""', id="c").replace("20240102", "20240110"),
        message("PID|1||99^^^H^PI||Old^Ann||19XX", id="d"),
    )
    first, second = read(source, "person")[0]
    wanted = {"patient_id": "17", "birth_date": "1950-03-04", "sex": "F", "race": None, "postal_code": "01970"}
    assert {word: first.get(word) for word in wanted} == wanted
    # A birth date that is none is not known.
    assert (second["patient_id"], second.get("birth_date")) == ("99", None)


def test_the_subject_is_the_number_of_the_best_type_and_survives_a_merge(tmp_path: Path) -> None:
    merge = message("EVN|A40", "PID|1||20^^^H^MR||Lee^Ann", "MRG|17^^^H^MR", type="ADT^A40", id="m9")
    source = of(tmp_path, message(PID), merge, message("PID|1|21||555^^^X|Lee", id="m3"))
    assert [row["patient_id"] for row in read(source, "message")[0]] == ["20", "20", "21"]
    assert [row["patient_id"] for row in read(opened(tmp_path, merges=False), "message")[0]] == ["17", "20", "21"]
    assert read(source, "merge")[0][0]["retired_id"] == "17"
    assert next(row["patient_id"] for row in read(opened(tmp_path, id_types=["SS"], merges=False), "message")[0]) == "999-00-1111"
    only_h = read(opened(tmp_path, id_authorities=["SSA"], merges=False), "message")
    assert ([row["patient_id"] for row in only_h[0]], only_h[1]) == (["999-00-1111"], ["no-subject", "no-subject"])


def test_every_name_number_and_address_stands_alone_to_be_looked_up(tmp_path: Path) -> None:
    source = of(
        tmp_path, message(PID, "NK1|1|Roe&&Roe^Jo|SPO|2 Oak Rd^^Lynn^MA^01901|5550109999", "IN1|1|P" + "|" * 14 + "Lee^Max" + "|" * 20 + "POL1")
    )
    pieces = read(source, "identity")[0]
    said = Counter((key, row[key]) for row in pieces for key in row if key not in ("__row", "patient_id", "message_id", "of"))
    for piece in [
        ("family", "Lee"), ("family", "van"), ("given", "Ann"), ("name", "Bea"), ("number", "17"), ("number", "999-00-1111"), ("street", "1 Elm St"),  # noqa: E501
        ("street", "Apt 2"), ("city", "Salem"), ("postal_code", "01970-1234"), ("phone", "(555)010-1234"), ("email", "ann@x.example"),
        ("given", "Jo"), ("street", "2 Oak Rd"), ("phone", "5550109999"), ("given", "Max"), ("number", "POL1"),
    ]:  # fmt: skip
        assert said[piece], piece


@pytest.mark.parametrize(
    ("written", "time", "day"),
    [
        ("20210818", "2021-08-18", "2021-08-18"),
        ("202108181126+0215", "2021-08-18T11:26+02:15", "2021-08-18"),
        ("20150830120030.1234-0500", "2015-08-30T12:00:30.1234-05:00", "2015-08-30"),
        ("2014", "2014", "2014"),
        ("201403", "2014-03", "2014-03"),
        ("20210800", "2021-08", "2021-08"),
        ("00000000", None, None),
        ("20211399", "2021-13-99", None),
        ("yesterday", "yesterday", None),
    ],
)
def test_times(written: str, time: str | None, day: str | None) -> None:
    assert (iso_time(written), iso_day(written)) == (time, day)


def test_a_folder_that_is_not_there_and_a_file_there_twice_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no folder"):
        opened(tmp_path / "none")
    (tmp_path / "a.hl7").write_text(message(PID))
    (tmp_path / "a.hl7.gz").write_bytes(gzip.compress(message(PID).encode()))
    with pytest.raises(SourceError, match="both packed and unpacked"):
        read(opened(tmp_path), "message")


WHOLE = message(
    PID, "PV1|1|I", "NK1|1|Roe^Jo", "OBR|1|||1^A^LN", "OBX|1|NM|2^B||5", "NTE|1||text", "OBX|2|ED|1||^^^Base64^AAAA", "MRG|1", "TXA|1", "RXA|0|1"
).encode()  # fmt: skip
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, len(WHOLE)), st.just(b"")),
        st.tuples(st.just("put"), st.integers(0, len(WHOLE)), st.binary(max_size=12)),
        st.tuples(st.just("put"), st.integers(0, len(WHOLE)), st.sampled_from([b"\rMSH|", b"|", b"^", b"\\", b"~", b"&", b"\x0b", b"\x1c\r", b"\rPID|", b'""', b"\0", b"BHS|^~\\&\r"])),  # noqa: E501
        st.tuples(st.just("drop"), st.integers(0, 10), st.just(b"")),
        st.tuples(st.just("swap"), st.integers(0, 10), st.just(b"")),
        st.tuples(st.just("repeat"), st.integers(0, 10), st.just(b"")),
    ),
    max_size=4,
)  # fmt: skip


def changed(data: bytes, how: str, at: int, what: bytes) -> bytes:
    lines = data.split(b"\r")
    at_line = min(at, len(lines) - 1)
    if how == "cut":
        return data[:at]
    if how == "put":
        return data[:at] + what + data[at:]
    if how == "drop":
        del lines[at_line]
    elif how == "swap":
        lines[0], lines[at_line] = lines[at_line], lines[0]
    else:
        lines.insert(at_line, lines[at_line])
    return b"\r".join(lines)


@settings(max_examples=120)
@given(changes=CHANGES)
def test_no_damage_ends_the_reading_and_none_is_silent(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, bytes]]) -> None:
    data = WHOLE
    for change in changes:
        data = changed(data, *change)
    folder = tmp_path_factory.mktemp("feed")
    (folder / "1-before.hl7").write_bytes(WHOLE.replace(b"|m1|", b"|before|"))
    (folder / "2-changed.hl7").write_bytes(data)
    (folder / "3-after.hl7").write_bytes(WHOLE.replace(b"|m1|", b"|after|"))
    source = opened(folder, told=["message"])
    rows, fallen = read(source, "message")
    nobody, _ = read(source, "message_about_nobody")
    # What came in came out, about somebody or nobody, or was told; and the files beside it are as ever.
    assert len(rows) + len(nobody) + len(fallen) >= 3
    assert {"before", "after"} <= {row["message_id"] for row in rows}
    for table in ("observation", "note", "identity", "person", "immunization"):
        assert read(source, table)[1] == []


def test_a_message_without_end_is_told_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anonymize.sources.hl7 import framing

    monkeypatch.setattr(framing, "LIMIT", 5_000)
    source = of(tmp_path, message(PID) + message(PID, "NTE|1||" + "x" * 9_000, id="m2") + message(PID, id="m3"))
    rows, fallen = read(source, "message")
    assert ([row["message_id"] for row in rows], fallen) == (["m1", "m3"], ["too-large"])


@pytest.mark.parametrize("folder", ["hl7v2/data/SampleData/Hl7v2", "hl7v2_cdc"])
def test_every_real_message_comes_through(data_dir: Path, folder: str) -> None:
    source = opened(data_dir / folder)
    files = [file for file in (data_dir / folder).iterdir() if file.is_file()]
    rows, fallen = read(source, "message")
    assert (len(rows), fallen) == (len(files), [])
    segments = sum(row["number"] for row in read(source, "segment")[0])
    lines = [line for file in files for line in file.read_bytes().replace(b"\n", b"\r").split(b"\r") if line.strip(b"\xef\xbb\xbf \t\x1c\x0b")]
    assert segments + sum(row["mended_lines"] for row in rows) == len(lines)
    assert len(read(source, "observation")[0]) == sum(line.startswith(b"OBX|") for line in lines)
