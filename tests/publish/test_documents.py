"""What leaves beside the data: field metadata, the dictionary, the README whose lines work."""

from __future__ import annotations

import csv
import hashlib
import html
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.errors import StoreError
from anonymize.publish import columns, hash_files, open_version, prepare, publish, published_schema, review
from anonymize.publish.dictionary import bucket, share
from anonymize.publish.manifest import FileFact, content_sha256, version_name
from tests.publish.conftest import START, make_facts, make_policy, make_stage

SHIFTED = "shifted by up to 365 days, each person's by a constant of their own"


def published(stage: Path, store: Path) -> Path:
    decision = review.decide(review.request(stage), stage.parent / "review", approve=True, steward="A", reason="B", at=START)
    return Path(publish(stage, store, make_facts(stage), decision).uri)


def test_fields_say_what_they_are(stage: Path) -> None:
    schema = pq.read_schema(stage / "patient" / "part-00000.parquet")
    assert schema.names == ["patient_id", "born", "zip3", "race"]
    assert schema.field("born").metadata == {b"role": b"date", b"method": b"shift", b"description": b"Date of birth", b"dates": SHIFTED.encode()}
    assert schema.field("zip3").metadata == {b"role": b"quasi", b"method": b"generalize", b"hierarchy": b"us-zip3", b"level": b"3 digits"}
    assert schema.metadata[b"dataset"] == b"icu"


def test_what_the_policy_drops_is_not_in_the_schema_and_what_lacks_is_an_error() -> None:
    policy = make_policy()
    source = pa.schema([(name, pa.string()) for name in ("patient_id", "name", "born", "zip3", "race", "__subject")])
    assert published_schema(policy, "patient", source).names == ["patient_id", "born", "zip3", "race"]
    assert [column.name for column in columns(policy, "patient")] == ["patient_id", "born", "zip3", "race"]
    with pytest.raises(KeyError):
        published_schema(policy, "patient", source.remove(3))


def test_the_dictionary_has_a_line_a_column_and_hides_small_counts(stage: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((stage / "dictionary.csv").read_text())))
    assert [(line["table"], line["column"]) for line in lines] == [
        ("patient", "patient_id"), ("patient", "born"), ("patient", "zip3"), ("patient", "race"),
        ("note", "patient_id"), ("note", "text"), ("note", "lab"),
    ]  # fmt: skip
    by_name = {(line["table"], line["column"]): line for line in lines}
    assert by_name["patient", "born"]["description"] == "Date of birth"
    assert by_name["patient", "zip3"]["precision"] == "us-zip3: 3 digits"
    assert by_name["patient", "zip3"]["distinct"] == "under 5"
    assert by_name["patient", "race"]["missing"] == "35.0 %"
    assert by_name["patient", "race"]["values"] == "White; Black"
    assert by_name["note", "lab"]["distinct"] == "10 to 99"


@pytest.mark.parametrize(
    ("count", "rows", "words"),
    [(0, 0, ""), (0, 40, "0 %"), (40, 40, "100 %"), (1, 40, "< 12.5 %"), (4, 40, "< 12.5 %"),
     (5, 40, "12.5 %"), (36, 40, "> 87.5 %"), (35, 40, "87.5 %")],
)  # fmt: skip
def test_a_share_hides_fewer_than_k_on_either_side(count: int, rows: int, words: str) -> None:
    assert share(count, rows, 5) == words


@pytest.mark.parametrize(
    ("distinct", "words"),
    [(0, "0"), (4, "under 5"), (5, "1 to 9"), (9, "1 to 9"), (10, "10 to 99"), (99_999, "10,000 to 99,999"), (10**7, "1,000,000 or more")],
)
def test_a_number_of_values_is_a_range(distinct: int, words: str) -> None:
    assert bucket(distinct, 5) == words


def test_the_readme_says_how_columns_were_made_and_what_not_to_rely_on(stage: Path) -> None:
    text = (stage / "README.md").read_text()
    for line in (
        "# ICU stays", "| `born` | date32[day] | dates were shifted:", "| `zip3` | string | made less precise (us-zip3, to: 3 digits)",
        "40 rows of 40 people", "- Dates were shifted.", "combinations that fewer than 5 people shared were held back: 2.",
        "1 record could not be read", "data@example.org", "20261121T101500Z-", "shared by 13 or more people (k = 5 was asked for)",
    ):  # fmt: skip
        assert line in text, line
    assert "None" not in text
    assert "{{" not in text


def snippets(folder: Path, language: str) -> dict[str, str]:
    """The README's lines in a language, by what they load."""
    found = re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    return {next(filter(None, re.findall(r"(?:import|from) (\w+)|(\w+)::", code)[0])): code for code in found}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version's folder."""
    root = tmp_path_factory.mktemp("shelf")
    stage = make_stage(root)
    prepare(stage, make_facts(stage))
    return published(stage, root / "store")


@pytest.mark.parametrize("tool", ["anonymize", "pandas", "duckdb", "polars", "pyarrow", "pyspark"])
def test_the_readmes_lines_open_the_data(shelf: Path, tool: str) -> None:
    code = snippets(shelf, "python")[tool]
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"NOT RUN: the README's lines for {tool}, which is not installed")
    rows = "patient.count()" if tool == "pyspark" else "len(patient)"
    check = f"{code}\nprint({rows}, *(patient.columns if not hasattr(patient, 'column_names') else patient.column_names))"
    done = subprocess.run([sys.executable, "-c", check], cwd=shelf, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["40", "patient_id", "born", "zip3", "race"]


@pytest.mark.parametrize(("package", "debian"), [("arrow", "none"), ("reticulate", "r-base-core r-cran-reticulate")])
def test_the_readmes_lines_of_r_open_the_data(shelf: Path, package: str, debian: str) -> None:
    if shutil.which("Rscript") is None or subprocess.run(["Rscript", "-e", f"library({package})"], capture_output=True, check=False).returncode:
        pytest.skip(f"NOT RUN: the README's lines for R's {package}, for there is no R that has it (Debian's packages: {debian})")
    check = f"{snippets(shelf, 'r')[package]}\ncat(nrow(patient), names(patient))"
    known = os.environ | {"RETICULATE_PYTHON": sys.executable}
    done = subprocess.run(["Rscript", "-e", check], cwd=shelf, env=known, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["40", "patient_id", "born", "zip3", "race"], done.stderr


def test_the_sums_are_those_of_sha256sum(shelf: Path) -> None:
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=shelf, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    named = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert named == {p.relative_to(shelf).as_posix() for p in shelf.rglob("*") if p.is_file()} - {"manifest.json", "SHA256SUMS"}


def test_the_data_package_validates(shelf: Path) -> None:
    frictionless = pytest.importorskip("frictionless")
    report = frictionless.validate(str(shelf / "datapackage.json"))
    assert report.valid, report.flatten(["type", "note"])
    package = frictionless.Package(str(shelf / "datapackage.json"))
    rows = [row for name in ("patient-00000", "patient-00001") for row in package.get_resource(name).read_rows()]
    assert len(rows) == 40
    assert package.get_resource("patient-00000").schema.get_field("born").to_dict()["datesShifted"] == SHIFTED
    said = json.loads((shelf / "datapackage.json").read_text())
    wrong = {**said, "resources": [{**said["resources"][0], "schema": {"fields": [{"name": "born", "type": "integer"}]}}]}
    assert not frictionless.validate(wrong, basepath=str(shelf)).valid


def test_the_croissant_metadata_validates_and_loads_records(shelf: Path, caplog: pytest.LogCaptureFixture) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    loaded = mlcroissant.Dataset(jsonld=shelf / "croissant.json")
    assert not loaded.metadata.ctx.issues.errors
    assert [words for words in loaded.metadata.ctx.issues.warnings if "MAJOR.MINOR.PATCH" not in str(words)] == []
    assert [record_set.uuid for record_set in loaded.metadata.record_sets] == ["patient", "note"]
    records = list(loaded.records("patient"))
    assert len(records) == 40
    assert records[0]["patient/zip3"] in (b"100**", b"021**")
    assert len(list(loaded.records("note"))) == 40
    files = {one.id: one.sha256 for one in loaded.metadata.distribution if isinstance(one, mlcroissant.FileObject)}
    assert files["data/patient/part-00000.parquet"] == hashlib.sha256((shelf / "data/patient/part-00000.parquet").read_bytes()).hexdigest()


def test_shifted_dates_are_said_to_be_shifted_everywhere(shelf: Path) -> None:
    for name in ("README.md", "CHANGES.md", "dictionary.csv", "dictionary.html", "datapackage.json", "croissant.json", "manifest.json"):
        assert re.search(r"[Dd]ates .*shifted|shifted by up to 365 days|\"shifted\": 365", html.unescape((shelf / name).read_text())), name
    assert pq.read_schema(shelf / "data/patient/part-00000.parquet").field("born").metadata[b"dates"] == SHIFTED.encode()
    page = html.unescape((shelf.parents[1] / f"{shelf.name}.html").read_text())
    assert f"were {SHIFTED}" in page


def test_the_documents_are_the_same_bytes_again_and_belong_to_the_review(stage: Path) -> None:
    before = {file.path: file.sha256 for file in hash_files(stage)}
    assert {"README.md", "dictionary.csv"} <= before.keys()
    prepare(stage, make_facts(stage))
    assert {file.path: file.sha256 for file in hash_files(stage)} == before


def test_a_cell_of_the_dictionary_is_no_formula(stage: Path) -> None:
    facts = make_facts(stage)
    table = facts.tables[0]
    column = table.columns[1].model_copy(update={"description": '=HYPERLINK("http://x")'})
    changed = facts.model_copy(update={"tables": (table.model_copy(update={"columns": (table.columns[0], column)}), *facts.tables[1:])})
    prepare(stage, changed)
    assert "\"'=HYPERLINK" in (stage / "dictionary.csv").read_text()


def test_a_link_in_the_stage_is_refused(stage: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.parquet").write_bytes(b"x")
    (stage / "note" / "part-00009.parquet").symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(StoreError, match=r"note/part-00009\.parquet is a link"):
        hash_files(stage)


def test_the_manifest_says_all_and_reads_back(stage: Path, tmp_path: Path) -> None:
    published(stage, tmp_path / "store")
    manifest = open_version(tmp_path / "store", "icu").manifest
    assert manifest.table("patient").subjects == 40
    assert manifest.table("patient").files[0].rows == 20
    assert (manifest.privacy.k, manifest.privacy.reached) == (5, 13)
    assert manifest.policy_sha256 == make_facts(stage).policy_sha256
    assert manifest.gates[0].gate == "leak"
    assert manifest.content_sha256 == content_sha256(
        [file.model_copy(update={"path": file.path.removeprefix("data/")}) for table in manifest.tables for file in table.files][:0]
        or [file for file in hash_files(stage) if file.path.endswith(".parquet")]
    )
    assert type(manifest).model_validate_json(manifest.to_bytes()) == manifest


def test_a_content_has_another_name_where_a_byte_or_a_path_differs() -> None:
    one = FileFact(path="a/part-00000.parquet", sha256="0" * 64, bytes=1)
    names = {content_sha256([one]), content_sha256([one, one]), content_sha256([one.model_copy(update={"path": "b"})]), content_sha256([])}
    assert len(names) == 4
    assert version_name(START, "abcdef0123") == "20261121T101500Z-abcdef01"
    with pytest.raises(ValueError, match="time zone"):
        version_name(START.replace(tzinfo=None), "abcdef0123")
