"""A data dictionary of CRATE becomes a policy: what is included leaves by our rules, what cannot be honoured is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize.cli import cli
from anonymize.errors import AnonymizeError
from anonymize.importing.crate import import_dictionary
from anonymize.policy.model import Method, Role
from anonymize.policy.ready import checked_text

HEAD = (
    "src_db src_table src_field src_datatype src_flags scrub_src scrub_method decision inclusion_values exclusion_values alter_method "
    "dest_table dest_field comment"
)
ROWS = """\
ehr|patient|patient_id|INTEGER|K*P|patient|number|include||||patient|brcid|The person
ehr|patient|nhs_number|INTEGER|M|patient|number|OMIT||||||
ehr|patient|forename|VARCHAR(50)||patient|words|OMIT||||||
ehr|patient|mother|VARCHAR(50)||thirdparty|words|OMIT||||||
ehr|patient|gender|CHAR(1)||||include||||patient|gender|
ehr|patient|dob|DATE||patient|date|OMIT||||||
ehr|note|note_id|INTEGER|K|||include||||note|note_id|
ehr|note|patient_id|INTEGER|P|||include||||note|brcid|
ehr|note|written_at|DATETIME||||include||||note|written_at|
ehr|note|body|TEXT||||include|||html_untag,scrub|note|body|
ehr|note|ward|VARCHAR(20)||||include||||note|ward|
ehr|code|code|VARCHAR(9)||||include||||code|code|
"""


def dictionary(folder: Path, rows: str) -> Path:
    file = folder / "dd.tsv"
    file.write_text("\t".join(HEAD.split()) + "\n" + rows.replace("|", "\t"))
    return file


def test_a_dictionary_becomes_a_policy(tmp_path: Path) -> None:
    found = import_dictionary(dictionary(tmp_path, ROWS), dataset="x")
    policy = checked_text(tmp_path / "policy.yaml", found.text)
    assert found.refused == []
    patient, note = policy.tables["patient"].columns, policy.tables["note"].columns
    assert policy.subject == "patient.patient_id"
    assert (patient["patient_id"].method, patient["patient_id"].rename, patient["patient_id"].description) == (
        Method.PSEUDONYM,
        "brcid",
        "The person",
    )
    assert (patient["forename"].kind, patient["mother"].kind, patient["nhs_number"].method) == ("name", "name", Method.DROP)
    assert (patient["gender"].role, patient["dob"].method) == (Role.QUASI, Method.DROP)
    assert (note["body"].role, note["written_at"].method, note["note_id"].method, note["ward"].method) == (
        Role.TEXT, Method.SHIFT, Method.PSEUDONYM, Method.KEEP)  # fmt: skip
    assert policy.subject_column("code") is None
    assert policy.sources["ehr"].model_dump()["url"] == "${EHR_URL}"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "ehr|note|signed_by|VARCHAR(50)||patient|words|include||||note|signed_by|",
            "row 14 (note.signed_by): it is included, and searched for",
        ),
        ("ehr|note|surname|VARCHAR(50)||||include||||note|surname|", "points at a person"),
        ("ehr|note|summary|TEXT||||include||||note|summary|", "free text does not leave as it is; say alter_method 'scrub'"),
        ("ehr|note|month|DATE||||include|||truncate_date|note|month|", "the first of the month is no method here"),
        ("ehr|note|file|BLOB||||include|||binary_to_text=ext|note|file|", "files within a column are not turned into text"),
        ("ehr|note|x|INTEGER||||include|||frobnicate|note|x|", "alter_method 'frobnicate'"),
        ("ehr|note|kind|INTEGER||||include||[1,2]||note|kind|", "the whole table stays out"),
        ("ehr|other|a|INTEGER||||include||||note|a|", "goes to the same table as note"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_stays_closed(tmp_path: Path, row: str, words: str) -> None:
    found = import_dictionary(dictionary(tmp_path, ROWS + row + "\n"), dataset="x")
    assert len(found.refused) == 1
    assert words in found.refused[0]
    policy = checked_text(tmp_path / "policy.yaml", found.text)
    column = row.split("|")[2]
    note = policy.tables.get("note")
    assert note is None or column not in note.columns or note.columns[column].method is Method.DROP


def test_by_the_command_line_and_what_is_no_dictionary(tmp_path: Path) -> None:
    file, out = dictionary(tmp_path, ROWS), tmp_path / "policy.yaml"
    told = CliRunner().invoke(cli, ["policy", "import", str(file), "--out", str(out)])
    assert told.exception is None, told.output
    assert out.exists()
    file.write_text("a,b\n1,2\n")
    with pytest.raises(AnonymizeError, match="has no column src_db"):
        import_dictionary(file, dataset="x")
    sheet = tmp_path / "sheet.csv"
    CliRunner().invoke(cli, ["policy", "to-sheet", str(out), str(sheet), "--without-sources"])
    with pytest.raises(AnonymizeError, match="take 'anonymize policy from-sheet"):
        import_dictionary(sheet, dataset="x")
