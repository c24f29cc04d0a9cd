"""Each ready-made policy is whole, has a reason for every column, and closes what a draft would close."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize.check import check
from anonymize.cli import cli
from anonymize.draft import draft
from anonymize.errors import AnonymizeError
from anonymize.policy import overlay, ready
from anonymize.policy.loader import load
from anonymize.policy.model import Method, Policy, Rule
from anonymize.safe_harbor import coverage
from tests.conftest import ROOT

NAMES = overlay.ready_names()
BOTH = {name.removesuffix("-limited") for name in NAMES}
SMALL = """\
# A small schema, for tests. It has two tables.
#
# More words.
dataset: small
profile: hipaa-safe-harbor
subject: patient.id
sources:
  ehr: {type: csv, path: "${SMALL_FOLDER}"}
tables:
  patient:
    columns:
      id: identifier pseudonym         # the subject's key
      name: identifier drop name       # (A)
      born: {role: quasi, hierarchy: "birth-year:2099", description: Year of birth.}
  lab:
    columns:
      id: identifier pseudonym         # the subject's key
      value: sensitive                 # a result
release: {store: "${SMALL_STORE}"}
"""
LIMITED = """\
# The same as limited data set.
extends: small
profile: hipaa-limited-data-set
tables:
  patient:
    columns:
      born: {role: quasi, hierarchy: date}   # (e)(2) keeps days
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ready-made policies of our own."""
    folder = tmp_path / "ready"
    folder.mkdir()
    (folder / "small.yaml").write_text(SMALL)
    (folder / "small-limited.yaml").write_text(LIMITED)
    monkeypatch.setattr(overlay, "READY", folder)
    return folder


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip(reason="there is no ready-made policy yet"))])
def test_every_column_has_a_decision_and_its_reason(name: str) -> None:
    policy = load(overlay.READY / f"{name}.yaml")
    without = [
        f"{table}.{column}"
        for table, spec in policy.tables.items()
        for column, rule in spec.columns.items()
        if not (rule.description or policy.reason("tables", table, "columns", column))
    ]
    assert without == []
    assert ready._purpose(policy), "the head of the file says what it is for"


@pytest.mark.parametrize("name", sorted(BOTH) or [pytest.param("", marks=pytest.mark.skip(reason="there is no ready-made policy yet"))])
def test_both_profiles_are_there_and_hold(name: str) -> None:
    assert {name, f"{name}-limited"} <= set(NAMES)
    strict, limited = (load(overlay.READY / f"{one}.yaml") for one in (name, f"{name}-limited"))
    assert (strict.profile, limited.extends) == ("hipaa-safe-harbor", name)
    assert [(one.letter, one.violated) for one in coverage(strict, {}) if one.violated] == []
    # Whatever profile it says, it is held against the law: 45 CFR 164.514(e)(2).
    held = limited.model_copy(update={"profile": "hipaa-limited-data-set"})
    assert [(one.letter, one.violated) for one in coverage(held, {}) if one.violated] == []
    assert limited.profile != "hipaa-safe-harbor"
    assert set(limited.tables) <= set(strict.tables)


#: Real data of a schema, from which a draft can be made.
DRAFTED = {"synthea-csv": "synthea_csv", "fhir-r4-us-core": "fhir_bulk_synthea_10"}


@pytest.mark.parametrize("name", DRAFTED)
def test_a_draft_of_the_same_source_keeps_nothing_that_the_policy_closes(name: str, tmp_path: Path, data_dir: Path) -> None:
    if name not in NAMES:
        pytest.skip(f"there is no ready-made policy '{name}' yet")
    file = tmp_path / "draft.yaml"
    file.write_text(draft(str(data_dir / DRAFTED[name])))
    drafted = _by_source(load(file))
    closed = {at for at, rule in _by_source(load(overlay.READY / f"{name}.yaml")).items() if not rule.leaves and rule.kind is not None}
    assert closed & set(drafted)
    # A pseudonym or a scrubbed text opens nothing for its values.
    opened = {Method.KEEP, Method.ROUND, Method.CODE, Method.SHIFT, Method.YEAR, Method.GENERALIZE}
    assert sorted(at for at in closed & set(drafted) if drafted[at].method in opened) == []


def _by_source(policy: Policy) -> dict[tuple[str, str], Rule]:
    """A policy's rules by the source's names."""
    tables = ((spec.from_ or table, spec) for table, spec in policy.tables.items())
    return {(name.rsplit(".", 1)[0].lower(), column.lower()): rule for name, spec in tables for column, rule in spec.columns.items()}


def test_the_page_of_ready_made_policies_names_each() -> None:
    page = (ROOT / "docs" / "ready-made.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []


def test_list_show_and_copy(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    listed = run(cli, ["policies", "list"]).output
    assert "small\n  A small schema, for tests.\n  hipaa-safe-harbor; 4 of 5 columns leave, of 2 tables: patient, lab" in listed
    assert "small-limited\n  The same as limited data set.\n  hipaa-limited-data-set" in listed
    assert run(cli, ["policies", "show", "small"]).output == SMALL
    whole = run(cli, ["policies", "show", "small-limited"]).output
    assert '      born: {role: quasi, hierarchy: date, description: "Year of birth."}   # (e)(2) keeps days\n' in whole
    monkeypatch.chdir(tmp_path)
    told = run(cli, ["policies", "copy", "small-limited", "My Hospital.yaml"]).output
    assert "Set SMALL_FOLDER, SMALL_STORE in the environment" in told
    site = load(tmp_path / "My Hospital.yaml")
    assert (site.dataset, site.extends, list(site.tables)) == ("my-hospital", "small-limited", ["patient", "lab"])
    again = run(cli, ["policies", "copy", "small", "My Hospital.yaml"])
    assert isinstance(again.exception, AnonymizeError)
    assert "exists already" in str(again.exception)
    for name in ("small", "small-limited"):
        run(cli, ["policies", "copy", name, f"whole-{name}.yaml", "--whole"])
        copy, origin = load(tmp_path / f"whole-{name}.yaml"), load(shelf / f"{name}.yaml")
        assert copy.extends is None
        assert copy.model_dump(exclude={"extends"}) == origin.model_dump(exclude={"extends"})
    # The lines that a small copy holds back for its site are true: without their signs they load.
    text = re.sub(r"(?m)^# (sources|privacy|release)", r"\1", (tmp_path / "My Hospital.yaml").read_text())
    (tmp_path / "opened.yaml").write_text(text)
    assert load(tmp_path / "opened.yaml").model_dump(exclude={"extends"}) == site.model_dump(exclude={"extends"})


def test_a_copy_is_fitted_to_what_the_site_has(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "patient.csv").write_text("id,born\n1,1950-01-01\n")
    monkeypatch.setenv("SMALL_FOLDER", str(data))
    monkeypatch.setenv("SMALL_STORE", str(tmp_path / "store"))
    for whole in ([], ["--whole"]):
        file = tmp_path / f"site{len(whole)}.yaml"
        told = CliRunner().invoke(cli, ["policies", "copy", "small", str(file), "--fit", *whole])
        assert "fitted to its sources: no table lab; patient without name" in told.output, told.output
        policy = load(file)
        assert {table: list(spec.columns) for table, spec in policy.tables.items()} == {"patient": ["id", "born"]}
        assert check(policy).problems == []
    assert "name: null   # nothing at the source fills it" in (tmp_path / "site0.yaml").read_text()
    assert shelf.is_dir()


def test_a_name_that_is_none_is_told_with_the_nearest(shelf: Path) -> None:
    with pytest.raises(AnonymizeError, match=r"no ready-made policy and no file 'smal'\. Did you mean 'small'"):
        ready.shown("smal")
    assert shelf.is_dir()
