"""A policy's mistakes are told all at once, each with its line and the nearest valid word."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import PolicyError, Problem
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


#: Words of the schema's library, which nobody who writes a policy should meet.
JARGON = ("pydantic", "input should", "valid string", "parse string", "instance of", "extra_forbidden", "traceback")


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
    assert len(found) == 5  # a misspelt `release` is not also a missing one
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
        ("id: identifier pseudonym", "id: plain round x", "no number of decimal digits"),
        ("id: identifier pseudonym", "id: no", "no role 'no'"),
        ("id: identifier pseudonym", "id: true", "'true' is no role"),
        ("id: identifier pseudonym", "id:", "says nothing"),
        ("id: identifier pseudonym", "id: {method: keep}", "'role' is missing. Known: identifier"),
        ("id: identifier pseudonym", "id: {role: plain, hierarchy: age}", "'hierarchy' does nothing under method 'keep'"),
        ("id: identifier pseudonym", "id: {role: plain, min-level: 1}", "'min-level' does nothing under method 'keep'"),
        ("id: identifier pseudonym", "id: {role: plain, values: [02139]}", "stands in quotes, '02139'"),
        ("id: identifier pseudonym", "id: {role: plain, values: [1.10]}", "YAML reads 1.10 as a number"),
        ("id: identifier pseudonym", "id: {role: plain, values: [true]}", "YAML reads true as true or false"),
        ("quasi us-zip3", "quasi us-zip4", "no hierarchy 'us-zip4'. Did you mean 'us-zip3'?"),
        ("quasi us-zip3", "quasi age:5", "hierarchy 'age' takes no argument"),
        ("quasi us-zip3", "quasi csv", "it is written 'csv:FILE'"),
        ("quasi us-zip3", "quasi pseudonym", "has no method 'pseudonym'"),
        ("subject: patient.id", "subject: patinet.id", "no table 'patinet'. Did you mean 'patient'?"),
        ("subject: patient.id", "subject: patient.", "names no column"),
        ("    columns:", "    source: her\n    columns:", "no source 'her'"),
        ("type: csv, path: data}", "type: csv, path: data}\n  b: {type: csv, path: x}", "policy.yaml:7  tables.patient: must say which source"),
        ("dataset: small", "dataset: small\nprivacy: {k: true}", "must be a whole number, not true or false"),
        ("dataset: small", "dataset: small\nprivacy: {suppression: .nan}", "privacy.suppression: must be a finite number"),
        ("zip: quasi us-zip3", "zip: {role: quasi, hierarchy: flat, weight: .inf}", "must be a finite number"),
        ("dataset: small", "dataset: small\nprivacy: {k: five}", "must be a whole number; it is 'five'"),
        ("dataset: small", "dataset: small\nprivacy: {k: 2, supression: 0.1}", "Did you mean 'suppression'"),
        ("dataset: small", "dataset: small\nprofile: hipaa-safe-habor", "Did you mean 'hipaa-safe-harbor'"),
        ("dataset: small", "dataset: small\ntext: {dates: years}", "text.dates: dates in texts take 'shift', 'tag', 'year', or 'year:YEAR'"),
        ("dataset: small", "dataset: small\nengine: {local: {wokers: 2}}", "Did you mean 'workers'"),
        ("dataset: small", "dataset: small\nengine: {local: {workers: 2}, spark: {}}", "names two engines"),
        ("dataset: small", "dataset: small\nengine: {local: {memory: 10MB}}", "10MB is too little for one worker: this takes at least"),
        ("dataset: small", "dataset: small\nengine: {local: {memory: much}}", "'memory' is no size: write a number and its unit"),
        ("dataset: small", "dataset: small\nengine: {spark: {conf: {spark.executorEnv.ANONYMIZE_KEY: x}}}", "gives the key itself"),
        ("dataset: small", "dataset: small\ndescription: !!python/name:os.system x", "has a tag"),
        ("dataset: small", "dataset: small\n\tdescription: x", "a tab"),
        ("dataset: small", "dataset: &small [*small]", "an alias that holds itself"),
        ("id: identifier pseudonym", "id: text shift", "no method 'shift'"),
        ("id: identifier pseudonym", "id: [1, 2]", "needs a role"),
        ("dataset: small", "dataset: Small Data", "is not of the form that is allowed here: a name of lower-case letters"),
        ("dataset: small", "dataset: small\ndataset: other", "policy.yaml:2  dataset: stands twice: here and in line 1"),
        ("dataset: small", "dataset: [", "policy.yaml:3  yaml: a bracket"),
        ("zip: quasi us-zip3", "zip: {role: quasi, hierarchy: flat, weigth: 2}", "Did you mean 'weight'"),
    ],
)
def test_mistakes_and_their_words(tmp_path: Path, old: str, new: str, words: str) -> None:
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(words in line for line in found), found
    assert not any(word in line.lower() for line in found for word in JARGON)
    assert len(found) == 1, found


SQL = '{{type: sql, url: "{}"}}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{type: csv, path: data}", SQL.format("postgresql://u:hush-hush@host/db")),
        ("{type: csv, path: data}", SQL.format("postgresql://u:hush/hush-hush@host/db")),
        ("{type: csv, path: data}", SQL.format("postgresql://:hush-hush@host/db")),
        ("{type: csv, path: data}", SQL.format("postgresql://${WHO}:hush-hush@host/db")),
        ("{type: csv, path: data}", SQL.format("postgresql://u:${PW}hush-hush@host/db")),
        ("{type: csv, path: data}", SQL.format("postgresql://host/db?user=u&password=hush-hush")),
        ("{type: csv, path: data}", SQL.format("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhush-hush")),
        ("{type: csv, path: data}", "{type: sql, connection: ehr, password: hush-hush}"),
        ("{store: store}", "{store: 's3://AKIA0:hush-hush@bucket/prefix'}"),
        ("{store: store}", "{store: 's3://bucket?secret_key=hush-hush'}"),
        ("dataset: small", "dataset: small\nkey: hush-hush-0123456789abcdef0123456789abcdef"),
        ("dataset: small", "dataset: small\nprofile: postgresql://u:hush-hush@host/db"),
    ],
)
def test_a_secret_in_a_policy_is_refused_and_never_repeated(tmp_path: Path, old: str, new: str) -> None:
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(word in line for line in found for word in ("holds a", "credentials", "no place in a policy"))
    assert "hush-hush" not in "\n".join(found)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host:5432/db?application_name=a@b",
        "postgresql://u@host/db",
        "sqlite:////data/a@b.db",
        "postgresql://host/db?password=${PW}",
    ],
)
def test_an_address_without_a_secret_is_fine(tmp_path: Path, url: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD.replace("{type: csv, path: data}", SQL.format(url)))
    assert load(file).sources["ehr"].type == "sql"


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path: Path) -> None:
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert "aliases" in problems(tmp_path, f"a0: &a0 [x]\n{laughs}")[0]


def test_aliases_that_nest_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    nested = "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3_000))
    assert "more than 50 deep" in problems(tmp_path, f"a0: &a0 [x]\n{nested}")[0]


def test_columns_may_bear_any_name_and_share_their_rules(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    shared = "  visit:\n    columns:\n      <<: *all\n      true: drop\n      1.10: drop\n      no: plain\n"
    file.write_text(GOOD.replace("    columns:", "    columns: &all").replace("release:", f"{shared}release:"))
    columns = load(file).tables["visit"].columns
    assert set(columns) == {"id", "name", "zip", "born", "true", "1.10", "no"}


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


PIECES = st.sampled_from(
    [
        *GOOD.split("\n"),
        *GOOD.split(),
        "null",
        "[",
        "}",
        ": ",
        "- x",
        "&a",
        "*a",
        "<<: *a",
        "true",
        "007",
        "? x",
        "!!set {a}",
        "1e999",
        "\t",
        "---",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), PIECES), min_size=1, max_size=4))
def test_no_mutation_of_a_policy_breaks_the_loader_or_shows_its_library(tmp_path: Path, edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, length, piece in edits:
        text = text[:at] + piece + text[at + length :]
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    found: list[Problem] | None = None
    try:
        load(file)
    except PolicyError as error:
        found = error.problems
    assert found is None or found
    for problem in found or ():
        assert 1 <= int(problem.where.rpartition(":")[2]) <= text.count("\n") + 1
        assert not any(word in problem.what.lower() for word in JARGON), problem


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
