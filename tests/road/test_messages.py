"""The ready-made policies of HL7 v2 and C-CDA on real messages and documents, down the whole road. What is published is searched here by code
of its own, from the raw files, for what tells who somebody is."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anonymize import pipeline
from anonymize.policy.loader import load
from anonymize.publish import Version, open_version
from anonymize.run import Run
from tests.conftest import KEY
from tests.road.ready import laid_on, printed

pytestmark = pytest.mark.slow

NS = "{urn:hl7-org:v3}"
#: Words that are names in these samples and words of the language or of the clinic too: they are judged by hand, not by a search.
WORDS = {"test", "sample", "lab", "hospital", "son", "john"}


def travelled(kind: str, profile: str, folder: Path, road: Path, patch: pytest.MonkeyPatch) -> tuple[Version, dict[str, dict[str, object]]]:
    """The release of a folder by the policy that a page prints, on top of the ready-made one, with the counts of its extraction.

    profile: "" as printed, or "-limited".
    """
    for word, value in ((f"{kind}_FOLDER", folder), (f"{kind}_STORE", road / "store")):
        patch.setenv(word, str(value))
    patch.setenv("ANONYMIZE_KEY", KEY)
    text = re.sub(r"(extends: \S+)", rf"\1{profile}", printed(kind.lower()))
    run = Run.open(load(laid_on(text, {}, road)))
    pipeline.to_review(run)
    pipeline.decide(run, approve=True, steward="Test Steward", reason="a test")
    pipeline.publish(run)
    return open_version(road / "store", run.policy.dataset, verify=True), run.record.tables("extract")


PROFILES = pytest.mark.parametrize("profile", ["", "-limited"], scope="module", ids=["safe harbor", "limited"])


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, profile: str) -> tuple[Version, dict[str, dict[str, object]]]:
    road = tmp_path_factory.mktemp("feed")
    folder = road / "messages"
    folder.mkdir()
    for part in ("hl7v2/data/SampleData/Hl7v2", "hl7v2_cdc"):
        for file in (data_dir / part).iterdir():
            (folder / file.name).symlink_to(file)
    (folder / "broken.hl7").write_bytes(b"\x01\x02 no message")
    with pytest.MonkeyPatch.context() as patch:
        return travelled("HL7V2", profile, folder, road, patch)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, profile: str) -> tuple[Version, dict[str, dict[str, object]]]:
    with pytest.MonkeyPatch.context() as patch:
        folder = data_dir / "hl7v2" / "data" / "SampleData" / "Ccda"
        return travelled("CCDA", profile, folder, tmp_path_factory.mktemp("ccda"), patch)


def everything(version: Version) -> str:
    """All values of all columns, as one text."""
    tables = [version.dataset(table.name).to_table().to_pylist() for table in version.manifest.tables]
    return json.dumps(tables, default=str, ensure_ascii=False)


def rows_with(version: Version, found: Callable[[str], bool]) -> Counter[str]:
    """Where a value stands: `table.column` -> rows."""
    places: Counter[str] = Counter()
    for table in version.manifest.tables:
        for row in version.dataset(table.name).to_table().to_pylist():
            places.update(f"{table.name}.{column}" for column, value in row.items() if value is not None and found(str(value)))
    return places


def people_of_messages(data_dir: Path) -> Iterator[tuple[set[str], set[str]]]:
    """Of each PID the names, and the numbers, streets and telephones; by splitting lines, as no code of the source does."""
    for part in ("hl7v2/data/SampleData/Hl7v2", "hl7v2_cdc"):
        for file in sorted((data_dir / part).iterdir()):
            for line in re.split(r"[\r\n]+", file.read_text(encoding="utf-8-sig", errors="replace")):
                if line.startswith("PID|"):
                    fields = [*line.split("|"), *[""] * 40]
                    names = {
                        word
                        for rep in fields[5].split("~")
                        for part in rep.split("^")[:2]
                        for word in re.findall(r"[^\W\d_]{3,}", part.split("&")[0])
                    }
                    numbers = {rep.split("^")[0] for n in (2, 3, 4, 18, 19) for rep in fields[n].split("~")}
                    streets = {rep.split("^")[0].split("&")[0] for rep in fields[11].split("~")}
                    phones = {rep.split("^")[0] for n in (13, 14) for rep in fields[n].split("~")}
                    yield (
                        names,
                        {value.strip() for value in numbers | phones if len(re.sub(r"\W", "", value)) >= 6} | {s for s in streets if len(s) > 7},
                    )


def people_of_documents(folder: Path) -> Iterator[tuple[set[str], set[str]]]:
    for file in sorted(folder.iterdir()):
        for role in ET.parse(file).getroot().iter(f"{NS}patientRole"):
            texts = [e.text or "" for e in role.iter() if e.tag in (f"{NS}family", f"{NS}given")]
            names = {word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text)}
            numbers = {e.get("extension", "") for e in role.findall(f"{NS}id")} | {
                e.get("value", "").partition(":")[2] for e in role.iter(f"{NS}telecom")
            }
            streets = {(e.text or "").strip() for e in role.iter(f"{NS}streetAddressLine")}
            yield names, {value for value in numbers if len(re.sub(r"\W", "", value)) >= 6} | {s for s in streets if len(s) > 7}


def nobody_is_told(version: Version, people: list[tuple[set[str], set[str]]]) -> None:
    seen = everything(version)
    words = {word.casefold() for word in re.findall(r"[^\W\d_]+", seen)}
    names = {name.casefold() for some, _ in people for name in some} - WORDS
    assert len(names) > 20
    assert {name: rows_with(version, lambda v, n=name: n in re.findall(r"[^\W\d_]+", v.casefold())) for name in names & words} == {}  # type: ignore[misc]
    exact = {value for _, some in people for value in some}
    assert len(exact) > 40
    assert {value: rows_with(version, lambda v, w=value: w in v) for value in exact if value in seen} == {}  # type: ignore[misc]


@PROFILES
def test_the_feed_is_published_and_tells_of_nobody(feed: tuple[Version, dict[str, dict[str, object]]], data_dir: Path) -> None:
    version, extracted = feed
    nobody_is_told(version, list(people_of_messages(data_dir)))
    assert extracted["message"]["rows"] == 161
    assert extracted["message"]["reasons"] == {"no-msh": 1}
    assert (extracted["observation"]["rows"], extracted["observation"]["quarantined"]) == (254 + 1744, 0)
    assert version.manifest.table("observation").rows > 1_500
    assert version.manifest.table("note").rows > 150


@PROFILES
def test_the_feeds_tables_join_and_hold_what_research_needs(feed: tuple[Version, dict[str, dict[str, object]]], profile: str) -> None:
    version, _ = feed
    people = set(version.dataset("person").to_table()["patient_id"].to_pylist())
    results = version.dataset("observation").to_table().to_pylist()
    orders = set(version.dataset("order").to_table()["order_key"].to_pylist())
    assert {row["patient_id"] for row in results} <= people
    assert {row["order_key"] for row in results if row["order_key"]} <= orders
    assert sum(row["number"] is not None for row in results) > 50
    assert sum(row["code"] is not None for row in results) > 500
    assert {len(str(row["observed"])) == 4 for row in results if row["observed"]} == {profile == ""}, "a year, or a day"
    assert all(row["age"] is None or row["age"] <= 90 for row in results)


@PROFILES
def test_the_documents_are_published_and_tell_of_nobody(documents: tuple[Version, dict[str, dict[str, object]]], data_dir: Path) -> None:
    version, extracted = documents
    nobody_is_told(version, list(people_of_documents(data_dir / "hl7v2" / "data" / "SampleData" / "Ccda")))
    assert (extracted["document"]["rows"], extracted["document"]["quarantined"]) == (22, 0)
    assert extracted["encounter"]["reasons"] == {"not-date (time)": 1}
    assert version.manifest.table("section").rows > 80
    assert version.manifest.table("result").rows > 20
    people = set(version.dataset("person").to_table()["patient_id"].to_pylist())
    assert {row["patient_id"] for row in version.dataset("entry").to_table().to_pylist()} <= people
