"""CDA documents: header, narrative, entries, references, what is missing; nothing crashes the reading, and nothing is lost in silence."""

from __future__ import annotations

import base64
import gzip
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.sources.base import Malformed
from anonymize.sources.cda import CdaFolder
from anonymize.sources.v3 import finding, narrative

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <id root="1.2.3" extension="D1"/><code code="34133-9" codeSystem="2.16.840.1.113883.6.1" displayName="Summary"/>
  <title>Summary of Ann</title><effectiveTime value="20240102030405+0100"/>
  <recordTarget><patientRole>
    <id root="2.16.840.1.113883.4.1" extension="999-00-1111"/><id nullFlavor="UNK"/><id root="9.9.9" extension="A17"/>
    <addr><streetAddressLine>1 Elm St</streetAddressLine><streetAddressLine>Apt 2</streetAddressLine><city>Salem</city>
      <state>MA</state><postalCode>01970-1234</postalCode></addr>
    <telecom value="tel:+1(555)010-1234"/><telecom value="mailto:ann@x.example"/>
    <patient><name><given>Ann</given><given>Bea</given><family>Lee</family></name><administrativeGenderCode code="F"/>
      <birthTime value="19500304"/><sdtc:deceasedInd value="false"/>
      <guardian><guardianPerson><name>Joan Roe</name></guardianPerson></guardian></patient>
  </patientRole></recordTarget>
  <author><time value="2024"/><assignedAuthor><id root="1"/><assignedPerson><name><given>Dora</given><family>Doc</family></name></assignedPerson></assignedAuthor></author>
  <custodian><assignedCustodian><representedCustodianOrganization><name>Elm Clinic</name></representedCustodianOrganization></assignedCustodian></custodian>
  <componentOf><encompassingEncounter><id extension="E1" root="2"/><effectiveTime><low value="20240101"/></effectiveTime></encompassingEncounter></componentOf>
  <component><structuredBody>
    <component><section><code code="11450-4" codeSystem="2.16.840.1.113883.6.1"/><title>Problems</title>
      <text><table><thead><tr><th>Problem</th><th>Since</th></tr></thead>
        <tbody><tr><td ID="p1">Sore <content>throat</content></td><td>2020</td></tr></tbody></table>
        <list><item>one</item><item>two<br/>lines</item></list><renderMultiMedia referencedObject="M"><caption>hidden</caption></renderMultiMedia></text>
      <entry><act><statusCode code="active"/><entryRelationship><observation classCode="OBS" moodCode="EVN" negationInd="true">
        <templateId root="2.16.840.1.113883.10.20.22.4.4"/><id root="5" extension="P1"/><code code="64572001" codeSystem="2.16.840.1.113883.6.96"/>
        <text><reference value="#p1"/></text><effectiveTime><low value="20200101"/><high nullFlavor="UNK"/></effectiveTime>
        <value xsi:type="CD" code="405737000" codeSystem="2.16.840.1.113883.6.96" displayName="Pharyngitis"><originalText><reference value="#p1"/></originalText>
          <translation code="J02.9" codeSystem="2.16.840.1.113883.6.90"/></value>
      </observation></entryRelationship></act></entry></section></component>
    <component><section><code code="30954-2" codeSystem="2.16.840.1.113883.6.1"/><title>Results</title><text>All <b>well</b></text>
      <entry><organizer><code code="24321-2" codeSystem="2.16.840.1.113883.6.1"/>
        <component><observation><code code="2345-7" codeSystem="2.16.840.1.113883.6.1"/><effectiveTime value="20240102"/><value xsi:type="PQ" value="5.5" unit="mmol/L"/></observation></component>
        <component><observation><code code="GLU" codeSystem="1.1.1"/><value xsi:type="ST">a few</value></observation></component>
        <component><observation><code code="30525-0" codeSystem="2.16.840.1.113883.6.1" displayName="Age"/><value xsi:type="PQ" value="94" unit="a"/></observation></component>
        <component><observation><code code="1" displayName="Case ID"/><value xsi:type="ST">X-17</value></observation></component>
        <component><observation><code code="2"/><value xsi:type="TS" value="202401"/></observation></component>
        <component><observation nullFlavor="UNK"><code nullFlavor="UNK"/><value xsi:type="PQ" nullFlavor="NI"/></observation></component>
      </organizer></entry>
      <component><section><code code="X"/><title>Within</title><text>inner</text></section></component>
    </section></component>
  </structuredBody></component>
</ClinicalDocument>"""  # noqa: E501 (a document of our own)


def opened(folder: Path, **options: Any) -> CdaFolder:
    return CdaFolder("documents", folder, mapping="ccda", policy_folder=folder, **options)


def read(source: CdaFolder, table: str) -> tuple[list[dict[str, Any]], list[str]]:
    items = list(source.read(table, source.schema(table).names))
    rows = [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    return [{k: v for k, v in row.items() if v is not None} for row in rows], [item.reason for item in items if isinstance(item, Malformed)]


@pytest.fixture
def source(tmp_path: Path) -> CdaFolder:
    (tmp_path / "a.xml").write_text(DOCUMENT)
    return opened(tmp_path)


def test_the_header_says_who_and_what(source: CdaFolder) -> None:
    assert read(source, "person")[0][0] | {"__row": 1} == {
        "__row": 1, "patient_id": "A17", "created": "2024-01-02T03:04:05+01:00", "birth_date": "1950-03-04", "sex": "F", "state": "MA",
        "postal_code": "01970", "vital_status": "false",
    }  # fmt: skip
    document = read(source, "document")[0][0]
    assert {document[w] for w in ("document_id", "code", "title", "encounter_id", "encounter_start", "custodian")} == {
        "D1", "34133-9", "Summary of Ann", "E1", "2024-01-01", "Elm Clinic"
    }  # fmt: skip
    roles = {row["role"]: row for row in read(source, "participant")[0]}
    assert (roles["author"]["family"], roles["patient"]["full_name"], roles["custodian"]["organization"]) == ("Doc", "Joan Roe", "Elm Clinic")


def test_every_name_number_and_address_stands_alone_to_be_looked_up(source: CdaFolder) -> None:
    said = {(key, value) for row in read(source, "identity")[0] for key, value in row.items()}
    for piece in [
        ("family", "Lee"), ("given", "Ann"), ("given", "Bea"), ("ssn", "999-00-1111"), ("number", "A17"), ("street", "1 Elm St"), ("street", "Apt 2"),  # noqa: E501
        ("city", "Salem"), ("phone", "+1(555)010-1234"), ("email", "ann@x.example"), ("name", "Joan Roe"), ("family", "Doc"),
    ]:  # fmt: skip
        assert piece in said
    assert ("name", "Elm Clinic") not in said


def test_sections_are_their_narrative_as_a_reader_sees_it(source: CdaFolder) -> None:
    sections = read(source, "section")[0]
    assert [(row["code"], row["title"], row["text"], row.get("within_code")) for row in sections] == [
        ("11450-4", "Problems", "Problem | Since\nSore throat | 2020\n- one\n- two\nlines", None),
        ("30954-2", "Results", "All well", None),
        ("X", "Within", "inner", "30954-2"),
    ]


def test_entries_are_found_by_template_and_by_section(source: CdaFolder) -> None:
    problem = read(source, "problem")[0][0]
    wanted = {
        "code": "64572001", "value_code": "405737000", "value_display": "Pharyngitis", "value_text": "Sore throat", "text": "Sore throat", "start": "2020-01-01",  # noqa: E501
        "negated": "true", "value_translation": "J02.9", "concern_status": "active", "entry_id": "P1", "section_code": "11450-4",
    }  # fmt: skip
    assert {word: problem.get(word) for word in wanted} == wanted
    assert "end" not in problem
    results = read(source, "result")[0]
    assert {row["panel_code"] for row in results} == {"24321-2"}
    shown = [
        {k: row[k] for k in ("code", "local_code", "number", "unit", "value_text", "age", "value_who", "value_time", "null_flavor") if k in row}
        for row in results
    ]
    assert shown == [
        {"code": "2345-7", "number": 5.5, "unit": "mmol/L"},
        {"local_code": "GLU", "value_text": "a few"},
        {"code": "30525-0", "age": 94.0, "unit": "a"},
        {"local_code": "1", "value_who": "X-17"},
        {"local_code": "2", "value_time": "2024-01"},
        {"null_flavor": "UNK"},
    ]
    assert [row["element"] for row in read(source, "entry")[0]] == ["act", "organizer"]


def test_the_subject_is_a_number_that_the_policy_names_or_no_social_security_number(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(DOCUMENT)
    assert read(opened(tmp_path, id_roots=["2.16.840.1.113883.4.1"]), "document")[0][0]["patient_id"] == "999-00-1111"
    assert read(opened(tmp_path, id_roots=["7.7"]), "document") == ([], ["no-subject"])


def test_documents_are_found_in_archives_messages_and_envelopes(tmp_path: Path) -> None:
    data = DOCUMENT.encode()
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("IHE_XDM/SUBSET01/DOC1.XML", data)
        archive.writestr("IHE_XDM/SUBSET01/METADATA.XML", "<x/>")
        archive.writestr("INDEX.HTM", "<html/>")
        archive.writestr("IHE_XDM/SUBSET01/BAD.XML", "<x")
    head = "MSH|^~\\&|A|B|C|D|2024||MDM^T02|1|P|2.5\rPID|1||17\r"
    (tmp_path / "c.hl7").write_text(head + f"OBX|1|ED|1||^TEXT^XML^Base64^{base64.b64encode(data).decode()}\r" + head.replace("|1|P", "|2|P"))
    (tmp_path / "d.xml").write_text("<soap xmlns='urn:x'>" + DOCUMENT.partition("?>")[2] + "</soap>")
    rows, fallen = read(opened(tmp_path), "document")
    assert ([row["document_id"] for row in rows], sorted(fallen)) == (["D1"] * 4, ["no-document", "not-xml"])


def test_what_is_no_document_falls_out_alone_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "LIMIT", 100_000)
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    for name, data in {
        "a": DOCUMENT.encode(),
        "b": DOCUMENT.replace("?>", "?>" + bomb, 1).replace("Summary of Ann", "&a;&b;").encode(),
        "c": b"<html/>",
        "d": b"<ClinicalDocument",
        "e": b"\x00\x01\x02",
        "f": b"",
        "g": DOCUMENT.replace("A17", "x" * 200_000).encode(),
        "h": ("<a>" * 500 + "</a>" * 500).encode(),
        "i": gzip.compress(DOCUMENT.encode())[:300],
        "j": DOCUMENT.replace("<recordTarget>", "<recordTarget/><recordTarget>").encode(),
        "k": b"PK\x03\x04 no archive",
        "l": DOCUMENT.encode("utf-16"),
    }.items():
        (tmp_path / (f"{name}.gz" if name == "i" else name)).write_bytes(data)
    rows, fallen = read(opened(tmp_path, told=["result", "document"]), "document")
    assert [row["document_id"] for row in rows] == ["D1"]
    assert sorted(fallen) == sorted(
        [
            "xml-entities",
            "not-cda",
            "not-xml",
            "not-xml",
            "empty-file",
            "too-large",
            "too-deep",
            "damaged-file",
            "several-subjects",
            "damaged-file",
            "not-xml",
        ]
    )
    assert read(opened(tmp_path, told=["result", "document"]), "result")[1] == []


def test_a_narrative_without_words_is_none() -> None:
    assert narrative.as_text(ET.fromstring("<text><table><tr><td/><td/></tr></table></text>")) is None


@settings(max_examples=80)
@given(
    at=st.integers(0, len(DOCUMENT)),
    what=st.one_of(st.binary(max_size=10), st.sampled_from([b"<a>", b"</section>", b"<!DOCTYPE x>", b"&x;", b"\0", b"<entry/>"])),
    cut=st.booleans(),
)
def test_no_damage_ends_the_reading_and_none_is_silent(tmp_path_factory: pytest.TempPathFactory, at: int, what: bytes, cut: bool) -> None:
    folder = tmp_path_factory.mktemp("cda")
    data = DOCUMENT.encode()
    (folder / "1.xml").write_bytes(data)
    (folder / "2.xml").write_bytes(data[:at] + what + (b"" if cut else data[at:]))
    source = opened(folder, told=["document"])
    rows, fallen = read(source, "document")
    assert len(rows) + len(fallen) == 2
    for table in ("section", "problem", "result", "identity", "entry", "person"):
        read(source, table)


def test_every_real_document_comes_through(data_dir: Path) -> None:
    folder = data_dir / "hl7v2" / "data" / "SampleData" / "Ccda"
    source = opened(folder)
    rows, fallen = read(source, "document")
    assert (len(rows), fallen) == (22, [])
    texts = [file.read_text(encoding="utf-8-sig") for file in sorted(folder.iterdir())]
    trees = [ET.fromstring(text.lstrip()) for text in texts]
    assert len(read(source, "section")[0]) == sum(len(list(tree.iter("{urn:hl7-org:v3}section"))) for tree in trees)
    template = "2.16.840.1.113883.10.20.22.4.4"
    problems = sum(
        any(t.get("root") == template for t in o.findall("{urn:hl7-org:v3}templateId"))
        for tree in trees
        for o in tree.iter("{urn:hl7-org:v3}observation")
    )
    assert len(read(source, "problem")[0]) == problems
