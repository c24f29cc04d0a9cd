"""What a researcher does: list, open, verify, read what is new; and the counts that a dictionary tells."""

from __future__ import annotations

import csv
import html
import io
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from anonymize.cli import cli
from anonymize.errors import StoreError
from anonymize.publish import Manifest, PrivacyFact, TableFact, before, prepare
from anonymize.publish.changes import change_log
from anonymize.publish.dictionary import Category, describe, dictionary_csv, share
from anonymize.publish.manifest import ColumnFact
from anonymize.publish.opening import open_dataset
from tests.publish.conftest import START, make_facts, make_stage
from tests.publish.test_documents import published


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version's folder."""
    root = tmp_path_factory.mktemp("reader")
    stage = make_stage(root)
    prepare(stage, make_facts(stage), extra={"report.html": b"<p>signed</p>"})
    return published(stage, root / "store")


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, list(words))


def test_import_alone_loads_nothing_heavy() -> None:
    check = "import sys, anonymize; assert not {'pyarrow', 'duckdb', 'pydantic'} & sys.modules.keys(); print(anonymize.open_dataset.__name__)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "open_dataset", done.stderr


def test_a_dataset_is_opened_by_name_from_the_environments_store(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = version.parents[2]
    monkeypatch.delenv("ANONYMIZE_STORE", raising=False)
    with pytest.raises(StoreError, match="which store"):
        open_dataset("icu")
    monkeypatch.setenv("ANONYMIZE_STORE", str(store))
    assert open_dataset("icu", verify=True).schema.names == ["patient_id", "born", "zip3", "race"]
    assert open_dataset("icu", version=version.name, table="note", columns=["lab"]).head(2).to_pydict() == {"lab": [0.0, 0.5]}
    cases = (({"table": "labs"}, "It has: patient, note"), ({"columns": ["zip"]}, "no column 'zip'"), ({"version": "1"}, "no version '1'"))
    for wrong, words in cases:
        with pytest.raises(StoreError, match=words):
            open_dataset("icu", **wrong)
    assert run("datasets").output.splitlines()[0] == "icu  ICU stays"


@pytest.mark.parametrize("what", [".", "../..", "../../.."])
def test_verify_takes_a_version_a_dataset_or_a_store(version: Path, what: str) -> None:
    done = run("verify", os.path.normpath(version / what))
    assert (done.exit_code, done.output.split(":")[0]) == (0, f"icu {version.name}")
    assert "12 files" in done.output  # 4 of data, 7 documents, the report


@pytest.mark.parametrize("damage", ["byte", "gone", "added", "sums", "manifest", "renamed"])
def test_verify_finds_every_kind_of_damage(version: Path, tmp_path: Path, damage: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(version.parents[2], store)
    folder = store / "icu" / "versions" / version.name
    if damage == "byte":
        data = bytearray((folder / "data/note/part-00001.parquet").read_bytes())
        data[100] ^= 1
        (folder / "data/note/part-00001.parquet").write_bytes(bytes(data))
    elif damage == "gone":
        (folder / "report.html").unlink()
    elif damage == "added":
        (folder / "notes.txt").write_text("x")
    elif damage == "sums":
        (folder / "SHA256SUMS").write_text((folder / "SHA256SUMS").read_text().replace("README.md", "README.txt"))
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{}")
    else:
        folder.rename(folder.with_name("20990101T000000Z-00000000"))
    done = run("verify", str(store))
    assert done.exit_code == 9
    named = {"byte": "part-00001.parquet: its bytes", "gone": "report.html: missing", "added": "notes.txt: not in", "sums": "says otherwise"}
    assert named.get(damage, "manifest.json:") in done.output


def test_verify_of_nothing_says_so(tmp_path: Path) -> None:
    done = run("verify", str(tmp_path))
    assert isinstance(done.exception, StoreError)
    assert "holds no version" in str(done.exception)


def test_the_change_log_says_what_is_new_and_carries_the_past(version: Path, tmp_path: Path) -> None:
    store = version.parents[2]
    past = before(store, "icu")
    assert past is not None
    stage = make_stage(tmp_path, rows=44, salt=1)
    facts = make_facts(stage, run="icu-2", started=START + timedelta(hours=2))
    patient, note = facts.tables
    zip3 = patient.columns[2].model_copy(update={"precision": "us-zip3: 2 digits", "level": "2 digits"})
    tables = (patient.model_copy(update={"columns": (*patient.columns[:2], zip3)}), note.model_copy(update={"name": "letter"}))
    changed = {"tables": tables, "policy_sha256": "f" * 64, "key_id": "ffffffff", "privacy": PrivacyFact(k=7, reached=7, suppressed=3)}
    log = change_log(facts.model_copy(update=changed), version="v2", before=past.manifest, earlier=past.changes).decode()
    for words in (
        f"Against {version.name}:", "table `letter` is new", "table `note` is gone", "column `patient.race` is gone", "Dates are shifted by",
        "`patient.zip3`: precision is us-zip3: 2 digits, was us-zip3: 3 digits", "Policy: another one", "do not join with those",
        "`patient` has 44, had 40", "k = 7 is asked for, was 5", "smallest class has 7 people, had 13", "3 rows were suppressed, were 2",
        f"## {version.name}", "The first version.",
    ):  # fmt: skip
        assert words in log, words
    assert log.count("# Changes\n") == 1
    same = facts.model_copy(update={"tables": past.manifest.tables})
    assert "Nothing but the day" in change_log(same, version="v2", before=past.manifest).decode()
    older = past.manifest.model_copy(update={"format": 1})
    fewer = facts.model_copy(update={"tables": (tables[0],)})
    assert "precision" not in change_log(fewer, version="v2", before=older).decode()


def test_extra_documents_are_bound_like_ours_and_cannot_take_their_names(version: Path, tmp_path: Path) -> None:
    manifest = Manifest.model_validate_json((version / "manifest.json").read_bytes())
    assert "report.html" in [file.path for file in manifest.documents]
    assert "report.html" in (version / "SHA256SUMS").read_text()
    assert "| `report.html` | the steward's report |" in (version / "README.md").read_text()
    stage = make_stage(tmp_path)
    for name in ("README.md", "manifest.json", "a/b.html", ".hidden", "x.parquet"):
        with pytest.raises(StoreError, match="cannot be the name of an extra document"):
            prepare(stage, make_facts(stage), extra={name: b""})


def lines(tmp_path: Path, columns: dict[str, tuple[str, str, list[Any]]], subjects: list[str] | None, k: int = 5) -> dict[str, Any]:
    """The dictionary's lines of one table: column -> (role, method, values)."""
    table = pa.table({name: values for name, (_, _, values) in columns.items()})
    (tmp_path / "stage" / "t").mkdir(parents=True)
    pq.write_table(table, tmp_path / "stage" / "t" / "part-00000.parquet")
    if subjects is not None:
        (tmp_path / "subjects" / "t").mkdir(parents=True)
        pq.write_table(pa.table({"__subject": subjects}), tmp_path / "subjects" / "t" / "part-00000.parquet")
    types = {name: str(table.schema.field(name).type) for name in columns}
    known = [ColumnFact(name=name, type=types[name], role=role, method=method) for name, (role, method, _) in columns.items()]
    fact = TableFact(name="t", rows=table.num_rows, subjects=len(set(subjects)) if subjects else None, columns=tuple(known))
    found = describe(tmp_path / "stage", (fact,), k=k, subjects=tmp_path / "subjects" if subjects else None)
    return {line.column.name: line for line in found}


def test_categories_are_counted_in_people_and_hidden_under_k(tmp_path: Path) -> None:
    people = [f"p{n}" for n in range(20)] + ["p0"] * 10  # one person has eleven rows
    wards = ["ICU"] * 8 + ["ER"] * 6 + ["OR"] * 5 + ["morgue"] + ["attic"] * 10
    columns = {"ward": ("plain", "keep", wards), "name": ("identifier", "pseudonym", people), "text": ("text", "scrub", wards)}
    found = lines(tmp_path, columns, people)
    # attic: 10 rows of 1 person; with the morgue's 1 that would be 2 of 20, found by subtraction: so the OR goes with them
    assert found["ward"].categories == (Category("ICU", 8), Category("ER", 6))
    assert found["ward"].more == "and values of fewer than 5 people"
    assert found["name"].categories == found["text"].categories == ()


def test_a_remainder_of_k_and_more_needs_no_further_hiding(tmp_path: Path) -> None:
    people = [f"p{n}" for n in range(24)]
    found = lines(tmp_path, {"ward": ("plain", "keep", ["ICU"] * 8 + ["ER"] * 8 + ["a"] * 4 + ["b"] * 4)}, people)
    assert found["ward"].categories == (Category("ER", 8), Category("ICU", 8))


def test_a_table_about_people_without_their_subjects_has_no_categories(tmp_path: Path) -> None:
    fact = TableFact(name="t", rows=9, subjects=9, columns=(ColumnFact(name="a", type="string", role="plain", method="keep"),))
    (tmp_path / "stage" / "t").mkdir(parents=True)
    pq.write_table(pa.table({"a": ["x"] * 9}), tmp_path / "stage" / "t" / "part-00000.parquet")
    assert describe(tmp_path / "stage", (fact,), k=2)[0].categories == ()
    codes = fact.model_copy(update={"subjects": None})
    assert describe(tmp_path / "stage", (codes,), k=2)[0].categories == (Category("x", 9),)


def test_missing_is_hidden_by_people_not_by_rows(tmp_path: Path) -> None:
    people = ["p0"] * 20 + [f"p{n}" for n in range(1, 81)]
    found = lines(tmp_path, {"lab": ("plain", "keep", [None] * 20 + [1.5] * 80)}, people)
    assert found["lab"].missing == "< 20 %"  # 20 rows are missing, all of one person: the exact share would tell of that person
    assert share(20, 100, 5) == "20.0 %"
    assert share(20, 100, 5, fewest=20) == "20.0 %"
    assert share(80, 100, 5, fewest=1) == "> 80 %"


def test_units_codes_and_odd_values_stand_in_both_dictionaries(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    facts = make_facts(stage)
    note = facts.tables[1]
    lab = note.columns[2].model_copy(update={"unit": "mmol/L", "codes": "http://loinc.org", "description": "<b>glucose</b> | fasting"})
    prepare(stage, facts.model_copy(update={"tables": (facts.tables[0], note.model_copy(update={"columns": (*note.columns[:2], lab)}))}))
    row = list(csv.DictReader(io.StringIO((stage / "dictionary.csv").read_text())))[-1]
    assert (row["unit"], row["codes"], row["description"]) == ("mmol/L", "http://loinc.org", "<b>glucose</b> | fasting")
    page = (stage / "dictionary.html").read_text()
    assert "&lt;b&gt;glucose&lt;/b&gt; | fasting Unit: mmol/L. Codes: http://loinc.org." in page
    assert "Distinct values" in html.unescape(page)
    assert re.search(r"\| `lab` \| double \| .*\| <b>glucose</b> \\\| fasting \[mmol/L\]", (stage / "README.md").read_text())
    assert dictionary_csv([]).decode().startswith("table,column,type,role,method,precision")
