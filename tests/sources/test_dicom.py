"""DICOM headers: what is there becomes columns, what is broken falls out with its reason, and the standard's profile is held against rules."""

from __future__ import annotations

import io
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from anonymize.keys import Key
from anonymize.policy.model import Rule
from anonymize.policy.origins import DicomSource
from anonymize.sources.base import Malformed
from anonymize.sources.dicom import DicomFolder
from anonymize.sources.dicom_profile import objection, table
from anonymize.sources.places import open_place
from anonymize.transform.pseudonym import pseudonymize


def opened(folder: Path, **more: object) -> DicomFolder:
    given_ = DicomSource.model_validate({"type": "dicom", "path": "x", **more})
    return DicomFolder("pacs", open_place("pacs", str(folder), Path), given_, mapping="dicom", policy_folder=folder)


def read(source: DicomFolder, name: str = "series") -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    items = list(source.read(name, source.schema(name).names))
    rows = [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    return rows, [(item.file, item.reason, item.column) for item in items if isinstance(item, Malformed)]


def made(**values: Any) -> bytes:
    """A CT instance's file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    usual = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3",
        "PatientID": "p17",
        "PatientName": "Lee^Ann^Bea^Dr^PhD",
        "PatientBirthDate": "19300304",
        "StudyDate": "20240101",
        "StudyTime": "0938",
        "Modality": "CT",
        "Rows": 2,
    }
    for keyword, value in {**usual, **values}.items():
        setattr(found, keyword, value)
    found.add_new(0x00091001, "LO", "private word")
    found.PixelData = b"\1\2\3\4"
    found["PixelData"].VR = "OW"
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_a_series_is_its_instances(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "IM0001").write_bytes(made())
    (tmp_path / "deep" / "2.dcm").write_bytes(made(SOPInstanceUID="1.2.3.5"))
    (tmp_path / "other.dcm").write_bytes(made(PatientID="p18", PatientAge="093Y", BurnedInAnnotation="YES"))
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    source = opened(tmp_path)
    rows, bad = read(source)
    assert bad == []
    assert [(row["patient_id"], row["instances"]) for row in rows] == [("p17", 2), ("p18", 1)], "one UID, two patients: two series"
    first = rows[0]
    assert (first["patient_name"], first["patient_family"], first["study_date"], first["study_time"]) == (
        "Lee Ann Bea Dr PhD",
        "Lee",
        "2024-01-01",
        "09:38:00",
    )
    assert [row["age_years"] for row in rows] == [93, 93], "of the days of birth and study, where the header says none"
    assert [row["burned_in"] for row in rows] == ["not said", "YES"]
    assert first["private_elements"] == 1
    assert "private word" not in str(rows)
    assert source.told("series") == {"files": 3, "burned-in annotation": {"YES": 1, "not said": 1}, "broken": {}}
    assert len(read(source, "instance")[0]) == 3


def test_sequences_and_archives(tmp_path: Path) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D3000", "SRT", "Chest"
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as packed:
        packed.writestr("a/IM1", made(AnatomicRegionSequence=Sequence([code, code])))
    rows, bad = read(opened(tmp_path), "anatomic_region")
    assert bad == []
    assert [(row["patient_id"], row["code"], row["meaning"]) for row in rows] == [("p17", "T-D3000", "Chest")] * 2


def test_what_is_broken_falls_out_with_its_reason(tmp_path: Path) -> None:
    whole = made(StudyDescription="x" * 300)
    (tmp_path / "1-good").write_bytes(whole)
    (tmp_path / "2-cut").write_bytes(whole[: whole.index(b"x" * 300) + 100])
    (tmp_path / "3-text").write_text("hello\n" * 100)
    (tmp_path / "4-empty").write_bytes(b"")
    (tmp_path / "5-charset").write_bytes(made(SpecificCharacterSet="ISO_IR 999"))
    (tmp_path / "6-bytes").write_bytes(made(SpecificCharacterSet="ISO_IR 192", SeriesInstanceUID="1.2.9").replace(b"Lee^Ann", b"L\xff\xfe^Ann"))
    (tmp_path / "7-series").write_bytes(made(SeriesInstanceUID=""))
    rows, bad = read(opened(tmp_path))
    assert len(rows) == 1
    assert sorted(bad) == [
        ("2-cut", "cut-off", ""),
        ("3-text", "not-dicom", ""),
        ("4-empty", "not-dicom", ""),
        ("5-charset", "unknown-charset", ""),
        ("6-bytes", "bad-encoding", "PatientName"),
        ("7-series", "no-series", "SeriesInstanceUID"),
    ]


def test_values_are_never_said_in_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    bad = made().replace(b"19300304", b"Ann Lee!").replace(b"p17", b"p\xe417"[:3])
    (tmp_path / "1").write_bytes(bad)
    with caplog.at_level(logging.DEBUG):
        read(opened(tmp_path))
    assert "Ann" not in caplog.text + "".join(str(one.message) for one in recwarn)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_ends_the_reading(tmp_path: Path, data: Any) -> None:
    """Bytes changed, cut out or cut off anywhere: each file is a row or a malformed record, and the sound one is a row."""
    whole = made()
    hurt = bytearray(whole[: len(whole) - 20])
    for _ in range(data.draw(st.integers(1, 4))):
        hurt[data.draw(st.integers(0, len(hurt) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "1").write_bytes(whole)
    (tmp_path / "2").write_bytes(bytes(hurt[: data.draw(st.integers(1, len(hurt)))]))
    source = opened(tmp_path)
    rows, bad = read(source, "instance")
    assert len(rows) + len(bad) + source.told("instance").get("directories", 0) == 2
    assert rows


def test_the_real_files_are_rows_or_have_a_reason(data_dir: Path, tmp_path: Path) -> None:
    rows, bad = read(opened(data_dir / "dicom"), "instance")
    assert len(rows) + len(bad) + 1 == 60, "the one that is no row is a DICOMDIR"
    assert len(rows) >= 58
    series, without = read(opened(data_dir / "dicom"))
    assert len(series) == 18
    assert {reason for _, reason, _ in without} == {"no-series"}
    for file in (data_dir / "dicom").iterdir():
        shutil.copy(file, tmp_path / file.stem)
        (tmp_path / file.stem).chmod(0o644)
        with (tmp_path / file.stem).open("r+b") as out:
            out.truncate(200)
    cut = read(opened(tmp_path), "instance")
    assert len(cut[0]) + len(cut[1]) >= 59, "headers cut at 200 bytes: nothing is lost unseen"


# ---------------------------------------------------------------------------------------------------------- the profile, and UIDs


def test_the_profile_is_the_standards() -> None:
    found = table()
    assert len(found) > 600
    assert {one: found[one].basic for one in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDescription", "InstitutionName")} == {
        "PatientName": "Z",
        "PatientID": "ZD",
        "StudyInstanceUID": "U",
        "StudyDescription": "X",
        "InstitutionName": "XZD",
    }
    named = [keyword for keyword in found if keyword not in ("CurveData", "OverlayComments", "OverlayData")]
    assert all(pydicom.datadict.tag_for_keyword(keyword) is not None for keyword in named)


@pytest.mark.parametrize(
    ("keywords", "rule", "options", "words"),
    [
        (["PatientName"], "plain", (), "says Z of PatientName"),
        (["PatientName"], "identifier drop name", (), None),
        (["PatientID"], "identifier pseudonym", (), None),
        (["StudyDate"], "date shift", (), "retain-longitudinal-modified-dates"),
        (["StudyDate"], "date shift", ("retain-longitudinal-modified-dates",), None),
        (["StudyDate"], "plain", ("retain-longitudinal-modified-dates",), "says Z of StudyDate"),
        (["StudyDescription"], "text", ("clean-descriptors",), None),
        (["StudyDescription"], "plain", ("clean-descriptors",), "says X of StudyDescription"),
        (["StudyInstanceUID"], "identifier pseudonym", (), None),
        (["StudyInstanceUID"], "plain", (), "retain-uids"),
        (["PatientSex"], "quasi flat", ("retain-patient-characteristics",), None),
        (["RequestAttributesSequence", "RequestedProcedureID"], "plain", (), "this sequence"),
        (["Modality"], "plain", (), None),
    ],
)
def test_what_the_profile_says_must_not_stay_is_refused(keywords: list[str], rule: str, options: tuple[str, ...], words: str | None) -> None:
    found = objection(keywords, Rule.model_validate(rule), options)
    assert (found is None) == (words is None)
    assert words is None or words in (found or "")


def test_uids_are_valid_and_the_same_everywhere() -> None:
    key = Key("env:ANONYMIZE_KEY", "p")
    column = pa.array(["1.2.3", "1.2.4", None, "1.2.3"])
    found = pseudonymize(column, key, uid=True).to_pylist()
    assert found[0] == found[3] != found[1]
    assert found[2] is None
    assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in found if uid)
    with pytest.raises(ValueError, match="a pseudonym has no form"):
        Rule.model_validate({"role": "identifier", "method": "pseudonym", "format": "hex"})
