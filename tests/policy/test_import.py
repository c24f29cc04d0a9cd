"""Rules of other FHIR anonymizers: each is honoured on the columns that it is about, or refused by name, and no key is taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.check import check
from anonymize.cli import cli
from anonymize.errors import AnonymizeError, PolicyError, RulesRefused
from anonymize.importing.fhir_path import Fit, Unreadable, nodes_of, paths, readable
from anonymize.importing.fhir_rules import Imported, import_rules
from anonymize.policy.loader import load
from anonymize.policy.model import Method, Policy, Role
from anonymize.policy.ready import checked_text
from anonymize.sources.mapping import read_mapping

US_CORE = read_mapping("us-core", Path())
#: In the shape of the published configurations, in words of our own.
RULES = [
    ("nodesByType('Extension')", "redact"),
    ("Organization.address", "keep"),
    ("nodesByType('HumanName').use", "keep"),
    ("nodesByType('Address').state | nodesByType('Address').country", "keep"),
    ("Resource.id", "cryptoHash"),
    ("Bundle.entry.fullUrl", "redact"),
    ("Condition.onset", "redact"),
    ("Observation.value as Quantity", "keep"),
    ("Observation.value", "redact"),
    ("nodesByType('Coding')", "keep"),
    ("nodesByType('Identifier').value", "redact"),
    ("nodesByType('Reference').display", "redact"),
    ("nodesByType('Reference').reference", "cryptoHash"),
    ("nodesByType('base64Binary')", "redact"),
    ("nodesByType('date')", "dateshift"),
    ("nodesByType('dateTime')", "dateShift"),
    ("nodesByType('Address')", "redact"),
    ("nodesByType('HumanName')", "redact"),
    ("nodesByType('ContactPoint')", "redact"),
    ("Patient.gender", "keep"),
]
PARAMETERS = {"dateShiftKey": "", "dateShiftScope": "resource", "enablePartialDatesForRedact": True, "enablePartialZipCodesForRedact": True}


def configuration(folder: Path, rules: Any, **parameters: Any) -> Path:
    listed = [rule if isinstance(rule, dict) else {"path": rule[0], "method": rule[1]} for rule in rules]
    file = folder / "rules.json"
    file.write_text(json.dumps({"fhirVersion": "R4", "fhirPathRules": listed, "parameters": {**PARAMETERS, **parameters}}, indent="\t"))
    return file


def imported(folder: Path, rules: Any, **parameters: Any) -> tuple[Imported, Policy]:
    found = import_rules(configuration(folder, rules, **parameters), dataset="imported")
    return found, checked_text(folder / "policy.yaml", found.text)


def test_a_configuration_in_the_published_shape_is_honoured_column_by_column(tmp_path: Path) -> None:
    found, policy = imported(tmp_path, RULES)
    assert found.refused == []
    patient, condition, observation = (policy.tables[table].columns for table in ("patient", "condition", "observation"))
    assert (patient["family"].method, patient["family"].kind) == (Method.DROP, "name")
    assert (patient["ssn"].kind, patient["phone"].kind, patient["street"].kind) == ("ssn", "phone", "address")
    assert (patient["id"].method, patient["state"].hierarchy, patient["postal_code"].hierarchy) == (Method.PSEUDONYM, "us-state", "us-zip3")
    assert patient["gender"].role is Role.QUASI
    assert patient["race"].method is Method.DROP  # an extension, and the first rule about a column holds
    assert (condition["onset"].method, condition["abatement"].method) == (Method.YEAR, Method.SHIFT)
    assert (observation["value"].method, observation["value_text"].method, observation["value_date"].method) == (
        Method.KEEP, Method.DROP, Method.YEAR)  # fmt: skip
    assert policy.tables["document_reference"].columns["text"].method is Method.DROP
    assert policy.tables["encounter"].columns["patient_display"].kind == "name"
    assert policy.subject_column("condition") == "patient_id"
    assert condition["note"].method is Method.DROP  # no rule is about it
    assert policy.reason("tables", "condition", "columns", "note") == "no rule is about it"
    assert [line.split(" (")[0] for line in found.elsewhere] == ["rule 6"]
    assert len(found.honoured) == len(RULES) - 1
    assert any("intervals are lost" in note for note in found.notes)


def test_the_imported_policy_is_honoured_by_a_real_export(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_EXPORT", str(data_dir / "fhir_bulk_synthea_10"))
    file, out = configuration(tmp_path, RULES), tmp_path / "policy.yaml"
    told = CliRunner().invoke(cli, ["policy", "import", str(file), "--out", str(out), "--fit"])
    assert "not at the source, so left out: no table" in told.output, told.output
    assert check(load(out)).problems == []


@pytest.mark.parametrize(
    ("path", "method", "words"),
    [
        ("Patient.name", "encrypt", "can be turned back by whoever holds the key"),
        ("Patient.name", "perturb", "no noise is added"),
        ("Patient.birthDate", "generalize", "name a hierarchy"),
        ("Patient.name", "cryptohsh", "no method 'cryptohsh'. Did you mean 'cryptohash'?"),
        ("Patient.name", "keep", "point at a person"),
        ("Observation.note", "keep", "free text does not leave as it is"),
        ("Condition.id", "keep", "points at a record of the hospital"),
        ("Patient.gender", "dateShift", "it holds no date"),
        ("Organization.meta.lastUpdated.foo()", "redact", "its path cannot be read: the function 'foo' is not known"),
        ("Patient.telecom.where(rank > 1).value", "redact", "its path cannot be read"),
        ("Patient.telecom.where(use = 'home').value", "cryptoHash", "some of the column's elements"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_and_stays_closed(tmp_path: Path, path: str, method: str, words: str) -> None:
    found, policy = imported(tmp_path, [(path, method), ("Patient", "keep"), ("Condition", "keep"), ("Observation", "keep")])
    refused = [line for line in found.refused if line.startswith(f"rule 1 ({path}: {method.lower()})")]
    assert refused
    assert words in refused[0]
    named = refused[0].partition("Columns: ")[2].split(", ")
    for name in named if "none" not in named[0] else ():
        table, _, column = name.partition(".")
        assert table not in policy.tables or policy.tables[table].columns[column].method is Method.DROP


def test_refused_rules_set_the_exit_code_unless_they_are_allowed(tmp_path: Path) -> None:
    file, out = configuration(tmp_path, [("Patient.name", "encrypt"), ("Patient.gender", "keep")]), tmp_path / "policy.yaml"
    told = CliRunner().invoke(cli, ["policy", "import", str(file), "--out", str(out)])
    assert isinstance(told.exception, RulesRefused)
    assert "REFUSED" in told.output
    assert not out.exists()
    told = CliRunner().invoke(cli, ["policy", "import", str(file), "--out", str(out), "--allow-refused"])
    assert told.exception is None, told.output
    assert load(out).tables["patient"].columns["family"].method is Method.DROP


def test_a_key_in_a_configuration_is_spent_and_never_written(tmp_path: Path) -> None:
    keys = {"dateShiftKey": "hush-hush-one", "cryptoHashKey": "hush-hush-two", "encryptKey": "hush-hush-three"}
    found, policy = imported(tmp_path, RULES, **keys)
    assert "hush-hush" not in found.text + found.report()
    assert sum("is spent" in note for note in found.notes) == 3
    assert policy.key == "env:ANONYMIZE_KEY"
    broken = tmp_path / "broken.json"
    broken.write_text('{"parameters": {"encryptKey": "hush-hush"}, "fhirPathRules": [')
    with pytest.raises(AnonymizeError) as raised:
        import_rules(broken, dataset="x")
    assert "hush-hush" not in str(raised.value)


def test_the_yaml_of_fhir_pseudonymizer(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("""\
fhirVersion: R4
fhirPathRules:
  - path: nodesByType('Identifier').where(type.coding.where(system='http://terminology.hl7.org/CodeSystem/v2-0203' and code='MR').exists()).value
    method: pseudonymize
    domain: patient-identifiers
  - {path: nodesByType('id'), method: cryptoHash}
  - {path: "nodesByType('Reference').reference", method: pseudonymize, namespace: references}
  - {path: Patient.descendants().ofType(HumanName), method: redact}
  - {path: Condition.code.coding, method: keep}
parameters: {cryptoHashKey: fhir-pseudonymizer}
""")
    found = import_rules(file, dataset="x", kind="fhir-pseudonymizer")
    policy = checked_text(tmp_path / "policy.yaml", found.text)
    assert found.refused == []
    patient, condition = policy.tables["patient"].columns, policy.tables["condition"].columns
    assert (patient["mrn"].method, patient["mrn"].namespace, patient["mrn"].kind) == (Method.PSEUDONYM, "patient-identifiers", "mrn")
    assert patient["ssn"].method is Method.DROP
    assert patient["identifiers"].method is Method.DROP  # it holds other identifiers too
    assert (condition["patient_id"].namespace, condition["encounter_id"].namespace) == (None, "references")  # the subject's is our own
    assert (patient["contact_name"].kind, condition["code"].method) == ("name", Method.KEEP)
    with pytest.raises(AnonymizeError, match="say --kind fhir-pseudonymizer"):
        import_rules(file, dataset="x", kind="fhir-rules")


def test_rules_on_top_of_a_policy_leave_the_rest_to_it(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("""\
dataset: base
subject: patient.id
sources: {fhir: {type: fhir, path: export}}
tables:
  patient: {columns: {id: identifier pseudonym, gender: plain, birth_date: drop}}
release: {store: store}
""")
    found = import_rules(configuration(tmp_path, [("Patient.birthDate", "dateShift")]), dataset="x", on="base.yaml")
    policy = checked_text(tmp_path / "policy.yaml", found.text)
    columns = policy.tables["patient"].columns
    assert (columns["gender"].method, columns["birth_date"].method) == (Method.KEEP, Method.SHIFT)


@pytest.mark.parametrize("text", ["{}", "[]", "fhirPathRule: []\n", "- 1\n", "\x00"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises((AnonymizeError, PolicyError)):
        import_rules(file, dataset="x")


def fit(path: str, table: str, column: str) -> Fit:
    nodes = nodes_of(US_CORE[table], US_CORE[table].columns[column])[0]
    return max((one.fit(nodes) for one in paths(path)), key=[Fit.NOT, Fit.PART, Fit.ALL].index)


@pytest.mark.parametrize(
    ("path", "table", "column", "expected"),
    [
        ("Patient.name.family", "patient", "family", Fit.ALL),
        ("Patient.name", "patient_name", "family", Fit.ALL),
        ("Patient.contact.name", "patient", "family", Fit.NOT),
        ("Practitioner.name", "patient", "family", Fit.NOT),
        ("Resource.id", "condition", "id", Fit.ALL),
        ("Resource.id", "condition", "patient_id", Fit.NOT),
        ("nodesByType('HumanName')", "patient_contact", "family", Fit.ALL),
        ("nodesByType('HumanName').use", "patient_name", "use", Fit.ALL),
        ("nodesByType('HumanName').use", "patient_name", "family", Fit.NOT),
        ("nodesByName('display')", "condition", "display", Fit.ALL),
        ("Patient.descendants().ofType(Identifier)", "patient", "mrn", Fit.ALL),
        ("Patient.identifier.where(type.coding.code = 'MR')", "patient", "mrn", Fit.ALL),
        ("Patient.identifier.where(type.coding.code = 'MR').value", "patient", "ssn", Fit.NOT),
        ("Patient.identifier.where(type.coding.code = 'MR').value", "patient", "identifiers", Fit.PART),
        ("Patient.telecom.where(system='phone' and use='home')", "patient", "phone", Fit.PART),
        ("Observation.value.ofType(Quantity).value", "observation", "value", Fit.ALL),
        ("Observation.value as Quantity", "observation", "value_text", Fit.NOT),
        ("Observation.valueString", "observation", "value_text", Fit.ALL),
        ("Observation.effective", "observation", "effective", Fit.ALL),
        ("nodesByType('dateTime')", "observation", "effective", Fit.ALL),
        ("nodesByType('date')", "patient", "birth_date", Fit.ALL),
        ("nodesByType('Coding').code", "patient", "race_code", Fit.ALL),
        ("nodesByType('Period')", "encounter", "start", Fit.ALL),
        ("Encounter.location.location.display", "encounter", "location_name", Fit.ALL),
        ("Patient.gender | Patient.birthDate", "patient", "birth_date", Fit.ALL),
    ],
)
def test_what_a_path_is_about(path: str, table: str, column: str, expected: Fit) -> None:
    assert fit(path, table, column) is expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from("Patient . name where ( ) = 'x' | and as ofType nodesByType descendants exists ; > 1 % id [ ]".split()), max_size=12
    )
)
def test_any_path_is_read_or_refused(words: list[str]) -> None:
    text = " ".join(words)
    try:
        assert all(path.steps for path in paths(text))
    except Unreadable:
        readable(text)
