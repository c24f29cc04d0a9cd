"""Files, images and calls, each down the whole road under the ready-made policies and the ones that the docs print."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.publish import Version, open_version
from anonymize.run import Run
from anonymize.sources import open_source
from anonymize.sources.base import Malformed
from tests.conftest import KEY, ROOT

pytestmark = pytest.mark.slow

#: To start worker processes costs more than these small tables.
SERIAL = "engine: {local: {workers: 1}}\n"
Travel = Callable[[str, str], Version]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, pytest.MonkeyPatch]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", KEY)
        yield tmp_path_factory.mktemp("road"), patch


@pytest.fixture(scope="module")
def travel(road: tuple[Path, pytest.MonkeyPatch]) -> Travel:
    """Take a policy's text to a published version."""
    folder, patch = road
    patch.setenv("STORE", str(folder / "store"))

    def go(name: str, text: str) -> Version:
        file = folder / f"{name}.yaml"
        file.write_text(text + SERIAL)
        run = Run.open(load(file))
        pipeline.to_review(run)
        pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
        pipeline.publish(run)
        assert not run.workspace.exists()
        return open_version(folder / "store", name, verify=True)

    return go


def everything(version: Version) -> str:
    return json.dumps([version.dataset(table.name).to_table().to_pylist() for table in version.manifest.tables], default=str, ensure_ascii=False)


def rows(version: Version, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = version.dataset(table).to_table().to_pylist()
    return found


def record(folder: Path, name: str, step: str) -> dict[str, Any]:
    (file,) = (folder / "workspace" / "records").glob(f"{name}-[0-9]*/{step}.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


# --------------------------------------------------------------------------------------------------------------------- Synthea

ON_TOP = "extends: {base}\ndataset: {name}\nprivacy: {{k: 2, suppression: 0.6}}\nrelease: {{store: '${{STORE}}'}}\n"


def people(data_dir: Path) -> list[dict[str, str]]:
    with (data_dir / "synthea_csv" / "patients.csv").open() as text:
        return list(csv.DictReader(text))


def identifiers(person: dict[str, str], *, limited: bool) -> list[str]:
    direct = ["Id", "SSN", "DRIVERS", "PASSPORT", "FIRST", "LAST", "MAIDEN", "ADDRESS", "LAT", "LON"]
    # A person's first birthday stands in a limited data set, as exact as k people allow; towns do.
    return [person[column] for column in (direct if limited else [*direct, "BIRTHDATE", "CITY"]) if len(person[column]) > 3]


def test_the_ready_made_policy_of_synthea_lets_nobody_be_told(travel: Travel, road: tuple[Path, pytest.MonkeyPatch], data_dir: Path) -> None:
    folder, patch = road
    source = folder / "synthea"
    shutil.copytree(data_dir / "synthea_csv", source, copy_function=shutil.copyfile)
    # One table comes in parts, of which one was cut off on its way, and one is of another table.
    (source / "supplies").mkdir()
    whole = (source / "supplies.csv").read_text()
    (source / "supplies.csv").unlink()
    (source / "supplies" / "1.csv").write_text(whole)
    (source / "supplies" / "2.csv.gz").write_bytes(gzip.compress(whole.encode())[:-30])
    shutil.copyfile(source / "devices.csv", source / "supplies" / "3.csv")
    patch.setenv("SYNTHEA_FOLDER", str(source))
    patch.setenv("SYNTHEA_STORE", str(folder / "store"))
    more = "checks: {quarantined-files: 0.7}\n"
    version = travel("syn", ON_TOP.format(base="synthea-csv", name="syn") + more)
    assert len(version.manifest.tables) == 18
    words = set(re.findall(r"[\w.'-]+", everything(version)))
    seen = everything(version)
    assert [
        column for person in people(data_dir) for column in identifiers(person, limited=False) if column in words or f'"{column}"' in seen
    ] == []
    assert not re.search(r"\b(19|20)\d\d-\d\d-\d\d", seen), "no day"
    told = record(folder, "syn", "extract.supplies")["files"]
    assert told["broken"] == {"cut-off": 1, "other-header": 1}
    assert told["encoding"] == {"utf-8": 1}
    assert version.manifest.held_back["quarantined files"] == 2
    readme = (folder / "store" / "syn" / "versions" / version.manifest.version / "README.md").read_text()
    assert "2 whole files could not be read at the source" in readme


def test_the_limited_data_set_of_synthea_keeps_days_and_no_name(travel: Travel, road: tuple[Path, pytest.MonkeyPatch], data_dir: Path) -> None:
    folder, patch = road
    patch.setenv("SYNTHEA_FOLDER", str(data_dir / "synthea_csv"))
    patch.setenv("SYNTHEA_STORE", str(folder / "store"))
    few = dict.fromkeys(("claims", "claims_transactions", "medications", "procedures", "conditions", "payer_transitions", "observations"))
    text = ON_TOP.format(base="synthea-csv-limited", name="syn-limited") + f"tables: {json.dumps(few)}\n"
    version = travel("syn-limited", text)
    seen = everything(version)
    assert [one for person in people(data_dir) for one in identifiers(person, limited=True) if f'"{one}"' in seen] == []
    assert re.search(r"\b(19|20)\d\d-\d\d-\d\d", seen)
    assert {one["CITY"] for one in rows(version, "patients")} <= {person["CITY"] for person in people(data_dir)}


KINDS = """\
dataset: kinds
subject: patients.Id
project: kinds
sources:
  book: {type: xlsx, path: book.xlsx}
  lines: {type: fixed, path: lines, layout: {observations: layout.csv}, encoding: auto}
  documents: {type: json, path: medications.json}
tables:
  patients:
    source: book
    from: book#patients
    columns:
      Id: identifier pseudonym
      BIRTHDATE: {role: quasi, hierarchy: birth-year, kind: date}
      GENDER: quasi flat
      FIRST: identifier drop name
      LAST: identifier drop name
      ADDRESS: identifier drop address
  encounters:
    source: book
    from: book#encounters
    subject: PATIENT
    columns: {Id: identifier pseudonym, START: date shift, STOP: date shift, PATIENT: identifier pseudonym, CODE: plain}
  observations:
    source: lines
    subject: PATIENT
    columns: {DATE: date shift, PATIENT: identifier pseudonym, ENCOUNTER: identifier pseudonym, DESCRIPTION: plain, VALUE: drop}
  medications:
    source: documents
    subject: PATIENT
    columns: {START: date shift, PATIENT: identifier pseudonym, ENCOUNTER: identifier pseudonym, BASE_COST: {role: plain, type: float64}}
privacy: {k: 2, suppression: 0.6}
release: {store: "${STORE}", title: Kinds}
"""


def test_workbooks_fixed_width_and_documents_give_what_csv_gives(travel: Travel, road: tuple[Path, pytest.MonkeyPatch], data_dir: Path) -> None:
    folder, _ = road
    tables = {}
    for name in ("patients", "encounters", "observations", "medications"):
        with (data_dir / "synthea_csv" / f"{name}.csv").open() as text:
            tables[name] = list(csv.DictReader(text))
    made = openpyxl.Workbook(write_only=True)
    for name in ("patients", "encounters"):
        sheet = made.create_sheet(name)
        sheet.append(list(tables[name][0]))
        for row in tables[name]:
            sheet.append([value or None for value in row.values()])
    made.save(folder / "book.xlsx")
    widths = {column: max(len(row[column]) for row in tables["observations"]) for column in tables["observations"][0]}
    (folder / "lines").mkdir()
    with (folder / "lines" / "observations.txt").open("w", encoding="cp1252") as out:
        out.writelines("".join(row[column].ljust(width) for column, width in widths.items()) + "\n" for row in tables["observations"])
    with (folder / "layout.csv").open("w") as out:
        starts = [1 + sum(list(widths.values())[:index]) for index in range(len(widths))]
        out.write("name,start,width\n" + "".join(f"{name},{start},{widths[name]}\n" for name, start in zip(widths, starts, strict=True)))
    (folder / "medications.json").write_text(json.dumps({"exported": "now", "medications": tables["medications"]}, indent=1))
    version = travel("kinds", KINDS)
    kept = {row["Id"] for row in rows(version, "patients")}
    assert kept
    for name in ("encounters", "observations", "medications"):
        counts = record(folder, "kinds", f"extract.{name}")
        assert (counts["rows"], counts["quarantined"]) == (len(tables[name]), 0)
        assert {row["PATIENT"] for row in rows(version, name)} <= kept
    days = sorted(row["START"][:10] for row in tables["encounters"])
    assert record(folder, "kinds", "extract.patients")["files"]["kind"] == {"xlsx": 1}
    assert days


def test_a_real_archive_is_read_as_it_is(data_dir: Path, tmp_path: Path) -> None:
    text = f"""\
dataset: d
subject: patient_nbr
sources: {{zip: {{type: csv, path: {data_dir}/diabetes130/dataset_diabetes.zip, missing: ["?"]}}}}
tables: {{e: {{from: "**/diabetic_data.csv", columns: {{patient_nbr: identifier pseudonym, weight: plain}}}}}}
release: {{store: store}}
"""
    (tmp_path / "p.yaml").write_text(text)
    policy = load(tmp_path / "p.yaml")
    items = list(open_source("zip", policy.sources["zip"], policy).read("**/diabetic_data.csv", ["patient_nbr", "weight"]))
    assert not [item for item in items if isinstance(item, Malformed)]
    assert sum(item.num_rows for item in items if not isinstance(item, Malformed)) == 101_766


# ------------------------------------------------------------------------------------------------------------- DICOM, and calls

IMAGES = "extends: {base}\ndataset: {name}\nproject: images\nprivacy: {{k: 2, suppression: 1.0}}\nchecks: {{quarantine: 0.6}}\n"


def test_the_ready_made_policies_of_dicom(travel: Travel, road: tuple[Path, pytest.MonkeyPatch], data_dir: Path) -> None:
    import pydicom

    folder, patch = road
    patch.setenv("DICOM_FOLDER", str(data_dir / "dicom"))
    patch.setenv("DICOM_STORE", str(folder / "store"))
    version = travel("images", IMAGES.format(base="dicom-series", name="images"))
    limited = travel("images-limited", IMAGES.format(base="dicom-series-limited", name="images-limited") + "tables: {instance: null}\n")
    series = rows(version, "series")
    assert {row["modality"] for row in series} <= {"CT", "MR", "US", "NM", "OT", "SEG", "RTDOSE", None}
    uids = {row["series_instance_uid"] for row in series} | {row["series_instance_uid"] for row in rows(version, "instance")}
    assert uids
    assert all(uid.startswith("2.25.") and pydicom.uid.UID(uid).is_valid for uid in uids if uid)
    assert {row["series_instance_uid"] for row in rows(limited, "series")} & uids, "one project, one UID"
    seen = everything(version) + everything(limited)
    headers = {file: pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in (data_dir / "dicom").glob("*.dcm")}
    makers = " ".join(str(header.get("Manufacturer")) for header in headers.values())
    for file, header in headers.items():
        for keyword in (
            "PatientID",
            "PatientName",
            "StudyInstanceUID",
            "SOPInstanceUID",
            "DeviceSerialNumber",
            "InstitutionName",
            "OperatorsName",
        ):
            value = str(header.get(keyword) or "")
            if value in makers:
                continue  # a maker's own name, where it left its demonstration's
            assert len(value) < 4 or value not in seen, f"{keyword} of {file.name} is published"
    told = record(folder, "images", "extract.series")["files"]
    assert (told["files"], told["directories"]) == (60, 1)


CALLS = """\
dataset: calls
subject: subject
sources:
  calls:
    type: transcript
    path: calls
    name: "^(?P<subject>[^_]+)_(?P<date>[0-9-]+)"
    roles: {Nurse: nurse, Caller: caller}
  people: {type: csv, path: people}
tables:
  person:
    source: people
    from: people
    columns: {subject: identifier pseudonym, first: identifier drop name, last: identifier drop name}
  call:
    source: calls
    columns: {id: identifier pseudonym, subject: identifier pseudonym, date: date shift, seconds: plain, speakers: plain, text: text}
  utterance:
    source: calls
    columns:
      call_id: identifier pseudonym
      subject: identifier pseudonym
      number: plain
      speaker: identifier drop name
      speaker_number: plain
      role: plain
      start: {role: plain, rename: start_s}
      end: {role: plain, rename: end_s}
      text: text
privacy: {k: 2, suppression: 0.1}
checks: {quarantine: 0.2}
release: {store: "${STORE}", title: Calls}
"""
CALL = """\
WEBVTT

00:01.000 --> 00:03.000
<v Nurse>Ward desk, who is calling please?

00:03.200 --> 00:05.000
<v Caller>Hello, this is {first}

00:05.100 --> 00:08.000
<v Caller>{last}, my number is 617-555-01{number:02}. I was seen on March 4, 2024.

00:08.500 --> 00:12.000
<v Nurse>Thank you, {first}. Are you still taking the lisinopril for your blood pressure?
"""
NAMES = [("Rosalind", "Thackeray"), ("Benedikt", "Overgaard"), ("Ximena", "Castellanos"), ("Tobias", "Wetherby"), ("Anneliese", "Fairbrother")]


def test_calls_are_scrubbed_across_their_captions(travel: Travel, road: tuple[Path, pytest.MonkeyPatch]) -> None:
    folder, _ = road
    (folder / "calls").mkdir()
    (folder / "people").mkdir()
    (folder / "people" / "people.csv").write_text("subject,first,last\n" + "".join(f"p{n},{a},{b}\n" for n, (a, b) in enumerate(NAMES)))
    for number, (first, last) in enumerate(NAMES):
        (folder / "calls" / f"p{number}_2024-03-0{number + 1}.vtt").write_text(CALL.format(first=first, last=last, number=number))
    (folder / "calls" / "p9_2024-03-09.vtt").write_text("no transcript")
    version = travel("calls", CALLS)
    seen = everything(version)
    assert not [name for pair in NAMES for name in pair if name in seen]
    assert "555" not in seen
    assert {row["date"] for row in rows(version, "call")} != {f"2024-03-0{number + 1}" for number in range(5)}, "moved"
    assert seen.count("lisinopril") == 10, "what is medical stays, in the call and in its utterance"
    first = [row for row in rows(version, "utterance") if row["number"] == 2]
    assert {(row["role"], row["start_s"], row["end_s"]) for row in first} == {("caller", 3.2, 8.0)}
    assert record(folder, "calls", "extract.call")["reasons"] == {"not-webvtt": 1}


# ---------------------------------------------------------------------------------------------------------------------- the docs


@pytest.mark.parametrize("page", ["files", "dicom", "transcripts"])
def test_the_policy_that_a_page_prints_works(page: str, road: tuple[Path, pytest.MonkeyPatch], data_dir: Path, tmp_path: Path) -> None:
    _, patch = road
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "sources" / f"{page}.md").read_text(), re.DOTALL)
    assert text is not None
    patch.setenv("ANONYMIZE_DATA", str(data_dir))
    (tmp_path / "calls").mkdir()
    for number, (first, last) in enumerate(NAMES):
        (tmp_path / "calls" / f"p{number}_2024-03-0{number + 1}.vtt").write_text(CALL.format(first=first, last=last, number=number))
    (tmp_path / "policy.yaml").write_text(text[1] + SERIAL)
    run = Run.open(load(tmp_path / "policy.yaml"))
    pipeline.to_review(run)
    assert run.record.get("request")
    pipeline.discard(run)


def test_a_missing_file_is_told_to_the_steward(road: tuple[Path, pytest.MonkeyPatch], tmp_path: Path) -> None:
    """Of a subject table one file cannot be read: the run goes on, its record and the quarantine say so, and the evidence says it in words."""
    import pyarrow.parquet as pq

    from anonymize.evidence import Comparison, gathering, noting

    assert road
    (tmp_path / "people").mkdir()
    for part in range(3):
        lines = "".join(f"p{part}{n},{'FM'[n % 2]}\n" for n in range(10))
        (tmp_path / "people" / f"{part}.csv").write_text("id,sex\n" + lines)
    (tmp_path / "people" / "2.csv").write_bytes(b"id,sex\n\0\0\0\1\2" * 200)
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsubject: people.id\nsources: {f: {type: csv, path: .}}\n"
        "tables: {people: {columns: {id: identifier pseudonym, sex: quasi flat}}}\nprivacy: {k: 2}\nrelease: {store: store}\n" + SERIAL
    )
    run = Run.open(load(tmp_path / "p.yaml"))
    pipeline.to_review(run)
    counts = run.record.get("extract", "people") or {}
    assert (counts["rows"], counts["quarantined"], counts["quarantined_files"]) == (20, 0, 1)
    assert "2.csv" not in json.dumps(counts), "a file's name may tell of whom it is"
    held = pq.read_table(run.folder("quarantine") / "people.parquet").to_pylist()
    assert [(one["file"], one["reason"], one["row"]) for one in held] == [("people/2.csv", "bad-encoding", None)]
    words = [note.words for note in noting.notes(gathering.gather(run), Comparison())]
    assert "1 whole file of people could not be read (bad-encoding: 1). How many rows and people are missing with that is not known." in words
    pipeline.discard(run)
