"""A policy's mistakes are told all at once, each with its line and the nearest valid word."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import PolicyError
from anonymize.policy.loader import load
from anonymize.policy.model import METHODS, Method, Role, Rule

GOOD = """\
dataset: small
subject: patient.id
sources:
  ehr: {type: csv, path: data}
tables:
  patient:
    columns:
      id: identifier pseudonym
      name: drop
      zip: quasi us-zip3
      born: {role: date, method: shift, description: "Born."}
release: {store: store}
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(PolicyError) as raised:
        load(file)
    return [str(problem).replace(str(file), "policy.yaml") for problem in raised.value.problems]


def test_short_and_long_forms(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD)
    policy = load(file)
    columns = policy.tables["patient"].columns
    assert (columns["id"].role, columns["id"].method) == (Role.IDENTIFIER, Method.PSEUDONYM)
    assert columns["name"].method is Method.DROP
    assert columns["zip"].hierarchy == "us-zip3"
    assert policy.where("tables", "patient", "columns", "zip") == f"{file}:10"
    assert (policy.subject_table, policy.subject_column("patient")) == ("patient", "id")
    assert len(policy.sha256) == 64


def test_five_different_mistakes_are_five_problems(tmp_path: Path) -> None:
    text = (
        GOOD.replace("type: csv", "type: cvs")
        .replace("identifier pseudonym", "identifier psuedonym")
        .replace("quasi us-zip3", "quasi")
        .replace("method: shift", "method: shfit")
        .replace("release: {store", "relase: {store")
    )
    found = problems(tmp_path, text)
    assert len(found) == 6  # a misspelt `release` is also a missing one
    assert any(line.startswith("policy.yaml:4  sources.ehr") and "Did you mean 'csv'" in line for line in found)
    assert any(line.startswith("policy.yaml:8  tables.patient.columns.id") and "Did you mean 'pseudonym'" in line for line in found)
    assert any(line.startswith("policy.yaml:10 ") and "needs a hierarchy" in line for line in found)
    assert any(line.startswith("policy.yaml:11 ") and "Did you mean 'shift'" in line for line in found)
    assert any(line.startswith("policy.yaml:12 ") and "Did you mean 'release'" in line for line in found)
    assert not any("pydantic" in line.lower() or "extra_forbidden" in line for line in found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("path: data", "path: data, url: x", "no such word 'url'"),
        ("id: identifier pseudonym", "id: plain round 1 2", "one word too many"),
        ("id: identifier pseudonym", "id: text shift", "no method 'shift'"),
        ("id: identifier pseudonym", "id: [1, 2]", "needs a role"),
        ("dataset: small", "dataset: Small Data", "is not of the form that is allowed here: lower-case letters"),
        ("dataset: small", "dataset: small\ndataset: other", "duplicate"),
        ("dataset: small", "dataset: [", "expected"),
        ("{type: csv, path: data}", '{type: sql, url: "postgresql://u:secret@host/db"}', "holds a password"),
        ("zip: quasi us-zip3", "zip: {role: quasi, hierarchy: flat, weigth: 2}", "Did you mean 'weight'"),
    ],
)
def test_mistakes_and_their_words(tmp_path: Path, old: str, new: str, words: str) -> None:
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(words in line for line in found), found
    assert not any("secret" in line for line in found)


def test_a_password_from_the_environment_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD.replace("{type: csv, path: data}", '{type: sql, url: "postgresql://u:${PW}@host/db"}'))
    assert load(file).sources["ehr"].type == "sql"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        load(tmp_path / "none.yaml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_loader(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(PolicyError):
        load(file)


@given(st.sampled_from(list(Role)), st.data())
def test_the_short_form_says_what_the_long_form_says(role: Role, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS[role]))
    words = {Method.GENERALIZE: " flat", Method.ROUND: " 1"}.get(method, "")
    if method is Method.CODE:
        return
    short = Rule.model_validate(f"{role} {method}{words}")
    long = {"role": role.value, "method": method.value}
    long |= {Method.GENERALIZE: {"hierarchy": "flat"}, Method.ROUND: {"digits": 1}}.get(method, {})  # type: ignore[arg-type]
    assert short == Rule.model_validate(long)
