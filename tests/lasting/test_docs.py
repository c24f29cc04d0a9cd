"""The policies that the pages print work as printed, and every reason code stands in a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anonymize import pipeline
from anonymize.policy.lasting import Cohort, Deletes, Incremental, Linkage
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from tests.conftest import ROOT
from tests.road import hospital


def printed(page: str) -> str:
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "sources" / page).read_text(), re.DOTALL)
    assert text is not None
    return text[1]


@pytest.mark.parametrize("page", ["incremental.md", "linkage.md"])
def test_the_policy_of_the_page_works_as_printed(tmp_path: Path, page: str) -> None:
    hospital.build(tmp_path)
    lines = [f"EHR,{number},P{number}\nLIS,L-{number},P{number}" for number in range(1, 61)]
    (tmp_path / "map.csv").write_text("system,key,person\n" + "\n".join(lines) + "\n")
    (tmp_path / "results.csv").write_text("lab_id,taken,value\n" + "".join(f"L-{n},2024-01-10,{n}.5\n" for n in range(1, 62)))
    (tmp_path / "policy.yaml").write_text(printed(page) + "engine: {local: {workers: 1}}\n")
    for _ in range(2):
        run = Run.open(load(tmp_path / "policy.yaml"), fresh=True)
        pipeline.to_review(run)
        pipeline.decide(run, approve=True, steward="A. Steward", reason="a test")
        pipeline.publish(run)
    version = open_version(tmp_path / "store", run.policy.dataset)
    tables = {name: version.dataset(name).count_rows() for name in run.policy.tables}
    assert tables["patient"] > 50
    if page == "linkage.md":
        assert (run.record.get("extract", "result") or {})["reasons"] == {"no-person (lab_id)": 1}
    else:
        assert (run.record.get("extract", "stay") or {})["incremental"]["whole"] == ""


def test_every_word_and_every_reason_stands_in_a_page() -> None:
    pages = "".join(file.read_text() for file in (ROOT / "docs").rglob("*.md"))
    words = {field.alias or name for model in (Incremental, Deletes, Cohort, Linkage) for name, field in model.model_fields.items()}
    assert not sorted(word for word in words if f"`{word}`" not in pages and f"{word}:" not in pages)
    ours = (ROOT / "anonymize" / "extracting.py").read_text() + (ROOT / "anonymize" / "lasting" / "merging.py").read_text()
    reasons = set(re.findall(r'(?:yield |DUPLICATE = )"([a-z]+-[a-z-]+)"', ours)) | {"no-person"}
    assert len(reasons) >= 4
    assert not sorted(reason for reason in reasons if f"`{reason}`" not in pages)
