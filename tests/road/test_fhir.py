"""FHIR down the whole road by the ready-made policies: 1,215 notes and their resources, as files and by a server of ours. What is proven here
is proven by searches of its own, not by the gates."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.policy.overlay import READY
from anonymize.publish import Version, open_version
from anonymize.run import Run
from tests.conftest import ROOT
from tests.fhir_server import FhirService

pytestmark = pytest.mark.slow

Travel = Callable[[str], tuple[Version, Run]]
PAGE = ROOT / "docs" / "sources" / "fhir.md"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
#: What both ways have in common, so that they can be compared; of the server's, some tables are enough.
COMMON = "project: fhir-road\nworkspace: {road}/workspace\n"
FEW = "privacy: {{k: 2, suppression: 0.6}}\ntables: {{{absent}}}\n"
KEPT = ("patient", "encounter", "condition", "practitioner", "document_reference")


def printed(way: str) -> str:
    """The policy that the page prints for files (the first), or for a server."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return str(blocks[("files", "server").index(way)])


@pytest.fixture(scope="module")
def travel(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Travel:
    """Take the export to a published version, by the policies that the page prints: of files, or of a server that fails on the way."""
    done: dict[str, tuple[Version, Run]] = {}
    export = data_dir / "fhir_bulk_synthea_10"

    def go(way: str) -> tuple[Version, Run]:
        if way not in done:
            road = tmp_path_factory.mktemp(way)
            faults = ["429", "401", "half", "expired", "500-file"]
            with pytest.MonkeyPatch.context() as patch, FhirService(export, KEY.public_key(), polls=1, faults=faults) as service:
                pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
                given = {"FHIR_EXPORT": str(export), "FHIR_STORE": str(road / "store"), "FHIR_PRIVATE_KEY": pem}
                for name, value in {**given, "ANONYMIZE_KEY": "test-key-not-a-secret-0123456789abcdef"}.items():
                    patch.setenv(name, value)
                absent = ", ".join(f"{table}: null" for table in load(READY / "fhir-r4-us-core.yaml").tables if table not in KEPT)
                few = FEW.format(absent=absent) if way == "server" else ""
                file = road / "policy.yaml"
                text = printed(way).replace("https://fhir.hospital.example/r4", service.url)
                file.write_text(text + COMMON.format(road=road) + few)
                run = Run.open(load(file))
                pipeline.to_review(run)
                pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
                pipeline.publish(run)
                assert not run.workspace.exists()
                if way == "server":
                    assert (service.exports, service.removed, service.faults) == (1, 1, [])
                    assert ("GET", "/fhir/Group/research-2026/$export") in service.said
                    assert service.asked[0]["_type"] == ["Condition,DocumentReference,Encounter,Patient,Practitioner"]
                done[way] = open_version(road / "store", f"fhir-{way}", verify=True), run
        return done[way]

    return go


def resources(data_dir: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_dir / "fhir_bulk_synthea_10" / f"{kind}.000.ndjson").read_text().splitlines()]


def tables(version: Version) -> dict[str, pa.Table]:
    return {table.name: version.dataset(table.name).to_table() for table in version.manifest.tables}


def told_of(patient: dict[str, Any]) -> tuple[set[str], set[str]]:
    """A patient's names, word by word, and everything else that nobody may read of them: numbers, telephones, streets, coordinates, ids."""
    names = {word for name in patient["name"] for part in [name.get("family", ""), *name.get("given", [])] for word in part.split()}
    mother = [one["valueString"] for one in patient["extension"] if one["url"].endswith("mothersMaidenName")]
    names |= {word for one in mother for word in one.split()}
    others = {patient["id"], patient["birthDate"], *(one["value"] for one in patient["identifier"] + patient["telecom"])}
    for address in patient["address"]:
        others |= {*address["line"], *(str(part["valueDecimal"]) for one in address.get("extension", []) for part in one["extension"])}
    return names, {one for one in others if one}


def published_words(version: Version) -> tuple[set[str], str]:
    """All words of all cells, and all cells as one text, unwrapped where they are base64."""
    cells: set[str] = set()
    for table in tables(version).values():
        for column in table.columns:
            cells |= {str(value) for value in pc.unique(column).to_pylist() if value is not None}
    for cell in list(cells):
        if re.fullmatch(r"[A-Za-z0-9+/]{16,}={0,2}", cell) and len(cell) % 4 == 0:
            cells.add(base64.b64decode(cell).decode("utf-8", "replace"))
    whole = "\n".join(cells)
    return set(re.findall(r"[\w'-]+", whole)), whole


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["files", "server"])
def test_no_table_tells_who_the_1215_notes_and_their_resources_are_about(travel: Travel, data_dir: Path, way: str) -> None:
    version, run = travel(way)
    words, whole = published_words(version)
    lower = {word.lower() for word in words}
    people = resources(data_dir, "Patient")
    assert len(people) == 13
    for number, patient in enumerate(people):
        names, others = told_of(patient)
        assert len(names) >= 3
        assert len(others) >= 7
        assert not {name.lower() for name in names} & lower, f"a name of patient {number} is published"
        assert not [one for one in others if one.lower() in whole.lower()], f"an identifier of patient {number} is published"
        digits = {re.sub(r"\D", "", one) for one in others}
        bare = re.sub(r"[^\w\n]", "", whole)
        assert not [one for one in digits if len(one) >= 7 and one in bare], f"a number of patient {number} is published"
    extracted = run.record.tables("extract")
    assert (extracted["document_reference"]["rows"], extracted["encounter"]["rows"]) == (1215, 1215)
    assert sum(counts["quarantined"] for counts in extracted.values()) == 0
    assert version.manifest.table("document_reference").rows > 500
    texts = tables(version)["document_reference"]["text"].to_pylist()
    assert all("[NAME]" in text and "Chief Complaint" in text for text in texts)
    assert not re.search(r"\b(19|20)\d\d-\d\d", whole), "Safe Harbor has no month and no day"


@pytest.mark.timeout(900)
def test_a_server_and_its_files_give_the_same_columns(travel: Travel) -> None:
    by_files, by_server = (travel(way)[0] for way in ("files", "server"))
    one, other = tables(by_files), tables(by_server)
    assert set(other) == set(KEPT)
    rules = load(READY / "fhir-r4-us-core.yaml").tables
    for name, table in other.items():
        # Texts may differ: fewer tables know fewer names that are looked for in them.
        same = [column for column in table.schema.names if rules[name].columns[column].method != "scrub"]
        assert table.select(same).equals(one[name].select(same)), name


@pytest.mark.timeout(900)
def test_the_references_of_the_release_meet(travel: Travel) -> None:
    found = tables(travel("files")[0])
    people, visits = set(found["patient"]["id"].to_pylist()), set(found["encounter"]["id"].to_pylist())
    for name in ("encounter", "condition", "procedure", "document_reference", "medication_request"):
        assert set(found[name]["patient_id"].to_pylist()) <= people
    for name in ("condition", "procedure", "document_reference"):
        assert set(found[name]["encounter_id"].to_pylist()) <= visits | {None}
    assert set(found["encounter"]["provider_id"].to_pylist()) & set(found["practitioner"]["id"].to_pylist()), "by NPI at the source"
    assert set(found["encounter"]["organization_id"].to_pylist()) & set(found["organization"]["id"].to_pylist())
    assert set(found["practitioner_role"]["practitioner_id"].to_pylist()) <= set(found["practitioner"]["id"].to_pylist())


@pytest.mark.timeout(900)
def test_what_was_not_seen_before_stands_in_the_record(travel: Travel) -> None:
    extracted = travel("files")[1].record.tables("extract")
    assert extracted["patient"]["unseen"] == {
        "Patient.extension[url=http://synthetichealth.github.io/synthea/quality-adjusted-life-years]": 13,
        "Patient.extension[url=http://synthetichealth.github.io/synthea/disability-adjusted-life-years]": 13,
    }
