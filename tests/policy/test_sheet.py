"""A policy as a sheet, out and in: what nobody changed comes back byte for byte, and each change is said."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from anonymize.cli import cli
from anonymize.errors import AnonymizeError, PolicyError
from anonymize.importing.columns import columns_at_source
from anonymize.importing.sheets import harmless, read_sheet, write_sheet
from anonymize.policy.editing import as_written
from anonymize.policy.loader import load
from anonymize.policy.model import METHODS, Method, Rule
from anonymize.policy.sheet import HEADINGS, Row, review, to_rows
from anonymize.policy.writing import column_line
from tests.conftest import ROOT

POLICY = """\
# The head of it.
dataset: small
subject: patient.id
sources:
  ehr: {type: csv, path: data}
tables:
  patient:
    from: patients.csv
    columns:
      # numbers
      id: identifier pseudonym
      'mrn': identifier drop mrn   # (H) (decided by A. Steward)

      # kept: this comment stands alone

      born:
        role: quasi     # somebody may know it
        hierarchy: birth-year:2099
        weight: 2.5
        description: "=1+1 is no formula, nor is -1"
      zip: {role: quasi, hierarchy: us-zip3, min-level: 1, rename: zip3, values: ["021", "-1", "a, b"]}
      charge: plain round -1       # -tens
  # after the first table
  lab:
    columns:
      id: identifier pseudonym
      value: sensitive
# the end
release: {store: store}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "patients.csv").write_text(
        "id,mrn,born,zip,charge,nick,note\n" + "".join(f"{i},m{i},1950-01-0{i},02139,1,SECRET{i},\n" for i in range(1, 9))
    )
    (data / "lab.csv").write_text("id,value\n1,2\n")
    (data / "visit.csv").write_text("id,ward\n1,SECRET ward\n")
    (data / "codes.csv").write_text("code,text\n1,SECRET\n")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    return policy


def rows_of(file: Path) -> list[Row]:
    policy = load(file)
    return to_rows(policy, columns_at_source(policy))


def changed(rows: list[Row], table: str, column: str, /, **cells: str) -> list[Row]:
    words = {word.replace("_", " "): value for word, value in cells.items()}
    return [Row({**row.cells, **words}, row.number) if row.at == (table, column) else row for row in rows]


def told(file: Path, rows: list[Row]) -> list[str]:
    with pytest.raises(PolicyError) as raised:
        review(load(file), rows, "sheet.xlsx")
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_sheet_that_nobody_changed_gives_the_same_file(file: Path, tmp_path: Path, ending: str) -> None:
    sheet, out = tmp_path / f"sheet.{ending}", tmp_path / "new.yaml"
    told = CliRunner().invoke(cli, ["policy", "to-sheet", str(file), str(sheet)])
    assert "13 columns, of which 6 are not in the policy and stay out" in told.output, told.output
    assert "SECRET" not in sheet.read_text(errors="replace")
    again = CliRunner().invoke(cli, ["policy", "from-sheet", str(sheet), "--policy", str(file), "--out", str(out)])
    assert "0 changes" in again.output, again.output
    assert out.read_bytes() == file.read_bytes()
    assert [row.cells for row in read_sheet(sheet)] == [{k: v for k, v in row.cells.items() if v} for row in rows_of(file)]


def test_the_sample_hospitals_policy_and_each_ready_made_one_come_back_the_same(tmp_path: Path) -> None:
    policies = [ROOT / "policies" / "sample-hospital.yaml", *sorted((ROOT / "anonymize" / "policy" / "ready").glob("*.yaml"))]
    for file in policies:
        policy = load(file)
        sheet = tmp_path / f"{file.stem}.csv"
        write_sheet(to_rows(policy), sheet)
        reviewed = review(policy, read_sheet(sheet), sheet.name)
        assert (reviewed.changes, reviewed.kept, reviewed.text) == ((), (), file.read_text()), file.name


def test_a_change_touches_its_own_lines_alone(file: Path) -> None:
    rows = changed(rows_of(file), "patient", "born", role="drop", method="", argument="date", options="", description="", reason="too exact",
                   decided_by="B. Steward")  # fmt: skip
    rows = changed(rows, "patient", "charge", argument="-2")
    rows = changed(rows, "patient", "mrn", reason="(H): a number")
    rows = changed(rows, "patient", "nick", role="identifier", method="drop", argument="name", reason="(A)")
    reviewed = review(load(file), rows, "sheet.csv")
    assert reviewed.changes == (
        "patient.mrn: its reason is another",
        'patient.born: {role: quasi, hierarchy: "birth-year:2099", weight: 2.5} -> drop date, and its reason is another',
        "patient.charge: plain round -1 -> plain round -2",
        "patient.nick: named for the first time: identifier drop name",
    )
    was, now = POLICY.splitlines(), reviewed.text.splitlines()
    assert [line for line in now if line not in was] == [
        "      mrn: identifier drop mrn   # (H): a number (decided by A. Steward)",
        "      born: drop date   # too exact (decided by B. Steward)",
        "      charge: plain round -2   # -tens",
        "      nick: identifier drop name   # (A)",
    ]
    assert len(was) - len(now) == 4 - 1  # five lines of `born` became one, and one line is new
    assert [line for line in was if line.lstrip().startswith("#")] == [line for line in now if line.lstrip().startswith("#")]
    assert now.index("      nick: identifier drop name   # (A)") == now.index("      charge: plain round -2   # -tens") + 1


def test_a_table_that_the_policy_does_not_name_can_be_opened(file: Path) -> None:
    rows = changed(rows_of(file), "visit", "ward", role="plain")
    reviewed = review(load(file), rows, "sheet.csv")
    assert len(reviewed.changes) == 1
    file.write_text(reviewed.text)
    after = load(file)
    assert list(after.tables) == ["patient", "lab", "visit"]
    assert after.tables["visit"].columns["ward"].method is Method.KEEP
    assert "# kept: this comment stands alone" in reviewed.text
    assert "# the end" in reviewed.text


def test_a_sheet_of_a_policy_on_top_of_another_changes_the_one_on_top(file: Path, tmp_path: Path) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("extends: policy.yaml   # the base\ndataset: over\n")
    rows = changed(rows_of(over), "patient", "zip", role="drop", method="drop", argument="", options="", rename="", reason="closed")
    rows = changed(rows, "patient", "born", description="")
    rows = changed(rows, "patient", "nick", role="drop")
    reviewed = review(load(over), rows, "sheet.csv")
    assert len(reviewed.changes) == 3
    over.write_text(reviewed.text)
    policy = load(over)
    assert policy.tables["patient"].columns["zip"].model_dump() == Rule.model_validate("drop").model_dump()
    assert policy.reason("tables", "patient", "columns", "zip") == "closed"
    assert (policy.tables["patient"].columns["born"].description, policy.tables["patient"].columns["born"].weight) == ("", 2.5)
    assert "extends: policy.yaml   # the base" in reviewed.text
    assert file.read_text() == POLICY
    again = changed(rows_of(over), "patient", "zip", role="plain")
    assert "extends: policy.yaml   # the base" in review(policy, changed(again, "patient", "zip", method=""), "sheet.csv").text


@pytest.mark.parametrize(
    ("column", "cells", "words"),
    [
        ("mrn", {"role": "identifer"}, "row 3, column 'role'  patient.mrn: no role 'identifer'. Did you mean 'identifier'?"),
        ("mrn", {"method": "shift"}, "row 3, column 'method'  patient.mrn: role 'identifier' has no method 'shift'"),
        ("mrn", {"argument": "nmae"}, "row 3, column 'argument'  patient.mrn: no kind 'nmae'. Did you mean 'name'?"),
        ("mrn", {"role": ""}, "row 3, column 'role'  patient.mrn: is empty, and the policy names the column: write 'drop' to close it"),
        ("mrn", {"options": "weight: 2"}, "row 3, column 'options'  patient.mrn: 'weight' does nothing under method 'drop'"),
        ("mrn", {"options": "weight 2"}, "row 3, column 'options'  patient.mrn: cannot be read. It is written 'WORD: VALUE, WORD: VALUE'"),
        ("mrn", {"options": "rename: x"}, "row 3, column 'options'  patient.mrn: 'rename' has a column of its own"),
        ("mrn", {"column": "id"}, "row 3, column 'column'  patient.id: stands twice: here and in row 2"),
        ("mrn", {"table": ""}, "row 3, column 'table'  ?.mrn: is empty"),
        ("zip", {"argument": "us-zip4"}, "row 5, column 'argument'  patient.zip: no hierarchy 'us-zip4'. Did you mean 'us-zip3'?"),
        ("zip", {"argument": ""}, "row 5, column 'argument'  patient.zip: a quasi-identifier needs a hierarchy"),
        ("zip", {"options": "wieght: 2"}, "row 5, column 'options'  patient.zip: no such word 'wieght'. Did you mean 'weight'?"),
        ("charge", {"argument": "x"}, "row 6, column 'argument'  patient.charge: must be a whole number"),
        ("nick", {"method": "keep"}, "column 'role'  patient.nick: is empty, and something is decided"),
        ("zip", {"table": "patents", "from": ""}, "row 5, column 'table'  patents.zip: the policy has no table 'patents'"),
    ],
)
def test_a_mistake_is_told_with_row_and_column(file: Path, column: str, cells: dict[str, str], words: str) -> None:
    found = told(file, changed(rows_of(file), "patient", column, **cells))
    assert any(f"sheet.xlsx {words}" in line or words in line for line in found), found


def test_a_new_table_without_the_subject_key_is_not_opened_by_a_sheet(file: Path) -> None:
    rows = [Row({**row.cells, "role": "plain"}, row.number) if row["column"] == "code" else row for row in rows_of(file)]
    assert any("has no column 'id', the subject key" in line for line in told(file, rows))


def test_no_cell_of_a_sheet_is_a_formula_and_steward_chooses_from_lists(file: Path, tmp_path: Path) -> None:
    rows = rows_of(file)
    write_sheet(rows, tmp_path / "a.xlsx")
    write_sheet(rows, tmp_path / "a.csv")
    sheet = load_workbook(tmp_path / "a.xlsx")["columns"]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row if cell.value is not None} == {"s"}
    lists = {str(rule.sqref): rule.formula1 for rule in sheet.data_validations.dataValidation}
    letters = [chr(65 + HEADINGS.index(heading)) for heading in ("role", "method")]
    assert lists.keys() == {f"{letter}2:{letter}{len(rows) + 1}" for letter in letters}
    methods = {method.value for allowed in METHODS.values() for method in allowed}
    assert methods == set(str(lists[f"{letters[1]}2:{letters[1]}{len(rows) + 1}"]).strip('"').split(","))
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as text:
        cells = [cell for line in csv.reader(text) for cell in line]
    assert not [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell) and not re.fullmatch(r"-?\d+", cell)]
    assert "'=1+1 is no formula, nor is -1" in cells


def test_what_a_spreadsheet_makes_of_texts_and_a_foreign_csv_are_read(file: Path, tmp_path: Path) -> None:
    write_sheet(rows_of(file), tmp_path / "a.xlsx")
    book = load_workbook(tmp_path / "a.xlsx")
    sheet = book["columns"]
    sheet.cell(6, HEADINGS.index("argument") + 1).value = -2  # a number, as Excel makes one
    sheet.cell(3, HEADINGS.index("reason") + 1).value = "=1+1"
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(PolicyError, match=r"b\.xlsx row 3, column 'reason'  sheet: is a date or a formula"):
        read_sheet(tmp_path / "b.xlsx")
    sheet.cell(3, HEADINGS.index("reason") + 1).value = "plain"
    book.save(tmp_path / "b.xlsx")
    assert "patient.charge: plain round -1 -> plain round -2" in review(load(file), read_sheet(tmp_path / "b.xlsx"), "b").changes
    (tmp_path / "c.csv").write_text("Table;Column;Role;Method;Argument;Options;Rename;Description;Reason;Decided by\npatient;mrn;drop;;;;;;;\n")
    reviewed = review(load(file), read_sheet(tmp_path / "c.csv"), "c")
    assert reviewed.changes[0].startswith("patient.mrn: identifier drop mrn -> drop")
    assert "patient.id" in reviewed.kept
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PolicyError, match=r"d\.csv row 1  sheet: has no column 'table'"):
        read_sheet(tmp_path / "d.csv")


def test_nothing_is_overwritten(file: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "a.csv"
    write_sheet(rows_of(file), sheet)
    with pytest.raises(AnonymizeError, match="exists already"):
        write_sheet(rows_of(file), sheet)
    result = CliRunner().invoke(cli, ["policy", "from-sheet", str(sheet), "--policy", str(file), "--out", str(file)])
    assert isinstance(result.exception, AnonymizeError)
    assert file.read_text() == POLICY


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=10).map(str.strip)
RULES: Any = st.one_of(
    st.builds(lambda d, u: {"role": "plain", "description": d, "unit": u}, WORDS, WORDS),
    st.builds(lambda v, r: {"role": "sensitive", "values": v, **({"rename": r} if r else {})}, st.lists(WORDS, max_size=3), WORDS),
    st.builds(lambda n: {"role": "plain", "method": "round", "digits": n}, st.integers(-5, 5)),
    st.builds(lambda w, m: {"role": "quasi", "hierarchy": "flat", "weight": w, "min-level": m}, st.floats(0.01, 100), st.integers(0, 3)),
    st.builds(lambda f: {"role": "date", "format": f}, WORDS),
    st.builds(lambda t, b: {"role": "plain", "method": "code", "top": t, "bottom": b}, st.integers(0, 99), st.floats(-9, 0)),
    st.sampled_from(["identifier", "text rtf", "drop name", "date year", "quasi us-zip3"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=RULES, after=RULES, ending=st.sampled_from(["csv", "xlsx"]))
def test_any_rule_goes_out_and_in(file: Path, before: Any, after: Any, ending: str) -> None:
    """Whatever the steward's sheet says of a column is what the policy says afterwards."""
    rule = Rule.model_validate(after)
    assert Rule.model_validate(as_written(rule)).model_dump() == rule.model_dump()
    file.write_text(POLICY.replace("      value: sensitive\n", column_line("value", as_written(Rule.model_validate(before)), "") + "\n"))
    wanted = file.with_name("wanted.yaml")
    wanted.write_text(POLICY.replace("      value: sensitive\n", column_line("value", as_written(rule), "") + "\n"))
    sheet = file.with_name(f"a.{ending}")
    sheet.unlink(missing_ok=True)
    write_sheet(to_rows(load(wanted)), sheet)
    file.write_text(review(load(file), read_sheet(sheet), "a").text)
    assert load(file).tables["lab"].columns["value"].model_dump() == rule.model_dump()
    assert harmless("=a") == "'=a"
