"""A policy on top of another: what is merged, what is given anew, what is taken away, and where a mistake is said to stand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import AnonymizeError, PolicyError
from anonymize.evidence.wording import policy_in_words
from anonymize.policy.loader import load
from anonymize.policy.model import Method, Policy, Role
from anonymize.policy.reading import read
from anonymize.policy.reasons import reasons
from anonymize.policy.writing import written
from anonymize.run import Run
from anonymize.safe_harbor import coverage

BASE = """\
# A base for tests.
dataset: base
profile: hipaa-safe-harbor
subject: patient.id
text: {dates: tag}
sources:
  ehr: {type: sql, url: "sqlite:///${EHR}"}
tables:
  patient:
    description: One row a person.
    columns:
      # numbers: they point at one person
      id: identifier pseudonym
      mrn: identifier drop mrn

      name: identifier drop name       # (A): goes, and is looked up in texts
                                       # of this person
      zip: {role: quasi, hierarchy: us-zip3, weight: 2, description: First digits of the ZIP.}
      born:
        role: quasi                    # somebody may know it
        hierarchy: birth-year:2099
        description: Year of birth.
        rename: birth_year
      seen: {role: date, method: year, format: "%d.%m.%Y", description: Seen.}
  lab:
    columns:
      id: identifier pseudonym
      value: sensitive
privacy: {k: 11, suppression: 0.02, l: ["zip:3"]}
checks: {quarantine: 0.002}
release: {store: store, title: Base, encryption: {server: sse-s3}}
"""


def laid(tmp_path: Path, over: str, base: str = BASE) -> Policy:
    (tmp_path / "base.yaml").write_text(base)
    file = tmp_path / "site.yaml"
    file.write_text("extends: base.yaml\n" + over)
    return load(file)


def told(tmp_path: Path, over: str, base: str = BASE) -> list[str]:
    with pytest.raises(PolicyError) as raised:
        laid(tmp_path, over, base)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in raised.value.problems]


def test_words_are_merged_and_lists_take_the_place_of_others(tmp_path: Path) -> None:
    policy = laid(tmp_path, 'dataset: site\nprivacy: {k: 5, l: ["born:2"]}\nrelease: {contact: office@hospital.example}\n')
    assert (policy.dataset, policy.privacy.k, policy.privacy.suppression, policy.privacy.l) == ("site", 5, 0.02, ("born:2",))
    assert (policy.release.title, policy.release.contact, policy.release.encryption.server) == ("Base", "office@hospital.example", "sse-s3")
    assert list(policy.tables) == ["patient", "lab"]


def test_a_column_with_a_role_is_decided_anew_and_stays_what_it_is(tmp_path: Path) -> None:
    policy = laid(
        tmp_path,
        "tables:\n  patient:\n    columns:\n"
        "      zip: drop\n      born: {role: date, method: shift}\n      seen: date shift\n      new: plain\n",
    )
    columns = policy.tables["patient"].columns
    assert (columns["zip"].method, columns["zip"].weight, columns["zip"].description) == (Method.DROP, 1.0, "First digits of the ZIP.")
    assert (columns["born"].role, columns["born"].hierarchy, columns["born"].rename) == (Role.DATE, None, "birth_year")
    assert (columns["seen"].method, columns["seen"].format) == (Method.SHIFT, "%d.%m.%Y")  # as the source writes it
    assert list(columns) == ["id", "mrn", "name", "zip", "born", "seen", "new"]


def test_a_column_without_a_role_has_words_added_and_taken_away(tmp_path: Path) -> None:
    policy = laid(tmp_path, "tables:\n  patient:\n    columns:\n      zip: {min-level: 1, weight: null}\n      name: {description: Gone.}\n")
    columns = policy.tables["patient"].columns
    assert (columns["zip"].hierarchy, columns["zip"].min_level, columns["zip"].weight) == ("us-zip3", 1, 1.0)
    assert (columns["name"].method, columns["name"].kind, columns["name"].description) == (Method.DROP, "name", "Gone.")


def test_tables_and_columns_are_taken_away_by_null(tmp_path: Path) -> None:
    policy = laid(tmp_path, "tables:\n  lab: null\n  patient:\n    columns: {mrn: ~}\nprivacy: null\n")
    assert list(policy.tables) == ["patient"]
    assert "mrn" not in policy.tables["patient"].columns
    assert policy.privacy.k == 5


def test_null_for_a_tables_subject_keeps_its_meaning(tmp_path: Path) -> None:
    assert laid(tmp_path, "tables: {lab: {subject: null}}\n").subject_column("lab") is None


def test_a_source_with_its_type_is_given_anew_and_another_is_merged(tmp_path: Path) -> None:
    assert laid(tmp_path, "sources: {ehr: {type: sql, connection: ehr}}\n").sources["ehr"].model_dump()["url"] is None
    assert laid(tmp_path, "sources: {ehr: {batch-rows: 10}}\n").sources["ehr"].model_dump()["url"] == "sqlite:///${EHR}"


def test_reasons_and_descriptions_of_the_base_stay(tmp_path: Path) -> None:
    policy = laid(tmp_path, "tables:\n  patient:\n    columns:\n      name: drop\n      mrn: drop mrn   # the site's own reason\n")
    assert policy.reason("tables", "patient", "columns", "name") == "(A): goes, and is looked up in texts of this person"
    assert policy.reason("tables", "patient", "columns", "mrn") == "the site's own reason"
    assert policy.reason("tables", "patient", "columns", "id") == "numbers: they point at one person"
    assert policy.reason("tables", "patient", "columns", "born") == "somebody may know it"
    assert policy.reason("tables", "patient", "columns", "zip") == ""  # after a blank line, the heading is another's
    assert policy.tables["patient"].description == "One row a person."


def test_a_mistake_stands_in_the_file_that_made_it(tmp_path: Path) -> None:
    base = BASE.replace("value: sensitive", "value: sensitiv").replace("suppression", "supression")
    found = told(tmp_path, "tables:\n  patient:\n    columns:\n      zip: quasi us-zip4\n      mrn: {weight: 2}\n", base)
    assert [line.split("  ")[0] for line in found] == ["site.yaml:5", "site.yaml:6", "base.yaml:28", "base.yaml:29"]
    assert "no hierarchy 'us-zip4'" in found[0]
    assert "'weight' does nothing under method 'drop'" in found[1]
    assert "Did you mean 'sensitive'" in found[2]
    assert "Did you mean 'suppression'" in found[3]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ("tables: {labs: null}\n", "site.yaml:2  tables.labs: nothing to take away: base.yaml has no 'labs'. Did you mean 'lab'?"),
        ("tables:\n  lab:\n", "site.yaml:3  tables.lab: says nothing. To take away what base.yaml has, write lab: null"),
        ("tables:\n  patient:\n    columns:\n      mrn:\n", "site.yaml:5  tables.patient.columns.mrn: says nothing. To take away"),
        ("tables:\n  patient:\n    columns:\n      mnr: null\n", "no 'mnr'. Did you mean 'mrn'?"),
        ("extend: x\n", "no such word 'extend'. Did you mean 'extends'?"),
        ("subject: patinet.id\n", "site.yaml:2  subject: no table 'patinet'"),
        ("sources: {ehr: {connection: x}}\n", "give either 'url' or 'connection'"),
    ],
)
def test_mistakes_of_an_overlay(tmp_path: Path, over: str, words: str) -> None:
    found = told(tmp_path, over)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("bse.yaml", "no file 'bse.yaml'"),
        ("bse.yaml", "Did you mean 'base.yaml'?"),
        ("no-such-policy", "no ready-made policy 'no-such-policy'."),
        ("[a, b]", "takes one name of a ready-made policy, or one file"),
        ("site.yaml", "goes round in a circle: site.yaml -> site.yaml"),
        ("''", "takes one name"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, extends: str, words: str) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "site.yaml").write_text(f"dataset: site\nextends: {extends}\n")
    with pytest.raises(PolicyError) as raised:
        load(tmp_path / "site.yaml")
    (problem,) = raised.value.problems
    assert problem.where == f"{tmp_path}/site.yaml:2"
    assert words in problem.what


def test_a_chain_of_several_and_a_circle_of_several(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "folder" / "middle.yaml").write_text("extends: ../base.yaml\nprivacy: {k: 7}\ntables: {lab: {columns: {value: drop}}}\n")
    top = tmp_path / "top.yaml"
    top.write_text("extends: folder/middle.yaml\ntables: {lab: {columns: {value: {description: Result.}}}}\n")
    policy = load(top)
    assert (policy.privacy.k, policy.tables["lab"].columns["value"].method) == (7, Method.DROP)
    assert [file.name for file in policy.files] == ["top.yaml", "middle.yaml", "base.yaml"]
    assert policy.where("privacy", "k") == f"{tmp_path}/folder/../base.yaml:29".replace("folder/../base.yaml:29", "folder/middle.yaml:2")
    assert policy.where("checks") == f"{tmp_path}/folder/../base.yaml:30"
    (tmp_path / "base.yaml").write_text(f"extends: top.yaml\n{BASE}")
    with pytest.raises(PolicyError, match=r"circle: top.yaml -> middle.yaml -> base.yaml -> top.yaml"):
        load(top)


def test_the_whole_loads_by_itself_as_the_same_policy(tmp_path: Path) -> None:
    policy = laid(tmp_path, "tables:\n  patient:\n    columns:\n      zip: drop   # closed here\n")
    (tmp_path / "whole.yaml").write_text(policy.whole)
    again = load(tmp_path / "whole.yaml")
    assert again.model_dump(exclude={"extends"}) == policy.model_dump(exclude={"extends"})
    for column in policy.tables["patient"].columns:
        assert again.reason("tables", "patient", "columns", column) == policy.reason("tables", "patient", "columns", column)
    assert policy.sha256 == hashlib.sha256(policy.whole.encode()).hexdigest() == again.sha256


def test_a_changed_base_is_a_changed_policy_and_a_run_keeps_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    policy = laid(tmp_path, "dataset: site\n")
    run = Run.open(policy)
    run.close()
    kept = (run.record.folder / "policy.yaml").read_bytes()
    assert hashlib.sha256(kept).hexdigest() == policy.sha256 == (run.record.get("run") or {})["policy_sha256"]
    changed = laid(tmp_path, "dataset: site\n", BASE.replace("k: 11", "k: 12"))
    assert changed.sha256 != policy.sha256
    with pytest.raises(AnonymizeError, match="the policy, or one that it extends, changed"):
        Run.open(changed, run_id=run.id)
    differ = {path for path, words in policy_in_words(changed).items() if policy_in_words(policy).get(path) != words}
    assert differ == {"privacy.k"}


def test_safe_harbor_is_judged_on_the_whole(tmp_path: Path) -> None:
    def violated(over: str) -> set[str]:
        return {column for one in coverage(laid(tmp_path, over), {}) for _, column, _ in one.violated}

    assert violated("") == set()
    assert violated("tables:\n  patient:\n    columns: {seen: date shift, name: plain}\n") == {"seen", "name"}


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from(list("#:'\"{}[],&*!|>%@` \t\n")), max_size=12)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(WORDS, VALUES, min_size=1, max_size=3), columns=st.dictionaries(WORDS, WORDS | VALUES, max_size=4), why=WORDS)
def test_what_is_written_reads_back_as_the_same_values(tmp_path: Path, values: dict[str, Any], columns: dict[str, Any], why: str) -> None:
    whole = {**{key: value for key, value in values.items() if key != "tables"}, "tables": {"t": {"columns": columns}}}
    said = " ".join(why.split())
    text = written(whole, {("tables", "t", "columns", column): said for column in columns if said})
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    document = read(file)
    assert document.values == whole
    found = reasons(document.text, document.lines)
    assert all(found.get(("tables", "t", "columns", column), "") == said for column in columns)
