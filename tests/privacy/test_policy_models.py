"""What a policy asks of sensitive values: searched for, recounted at the gate, and refused before the first record where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymize import judging, pipeline
from anonymize.errors import GateFailed, PolicyError
from anonymize.policy.loader import load
from anonymize.recount import Wanted
from anonymize.run import Run
from tests.road import hospital


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    return hospital.build(tmp_path / "hospital")


def policy(folder: Path, privacy: str, **columns: str) -> Path:
    file = hospital.policy(folder)
    text = file.read_text().replace("privacy: {k: 3, suppression: 0.2}", f"privacy: {{k: 3, suppression: 0.2, {privacy}}}")
    rules = {"sex": "quasi flat", "ward": "plain", "charge": "plain round -2"}
    for column, rule in columns.items():
        assert f"{column}: {rules[column]}" in text
        text = text.replace(f"{column}: {rules[column]}", f"{column}: {rule}")
    file.write_text(text)
    return file


CHARGE = 'quasi ranges:0..10000:500,2000'


@pytest.mark.parametrize("mode", ["optimal", "local"])
def test_each_class_holds_what_is_asked(folder: Path, mode: str) -> None:
    asked = f'mode: {mode}, l: ["sex:2"], t: ["ward:0.45"]'
    run = Run.open(load(policy(folder, asked, sex="sensitive", ward="sensitive", charge=f'"{CHARGE}"')))
    pipeline.to_review(run)
    gates = {gate["gate"]: gate for gate in (run.record.get("validate") or {})["gates"]}
    assert gates["sensitive values"]["passed"]
    assert len(gates["sensitive values"]["words"]) == 2
    levels = (run.record.get("generalize", "patient") or {})["levels"]
    assert set(levels) == {"birth_date", "zip"}


def test_a_class_that_breaks_it_stops_the_release(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(load(policy(folder, 'l: ["sex:2"]', sex="sensitive")))
    monkeypatch.setattr(judging.asking, "wanted", lambda *_: Wanted(3, diversity=(("sex", "distinct", (3.0,)),)))
    with pytest.raises(GateFailed, match="classes are not distinct 3-diverse in sex"):
        pipeline.to_review(run)


@pytest.mark.parametrize(
    ("privacy", "columns", "said"),
    [
        ('l: ["nosuch:2"]', {}, "no table publishes a column 'nosuch'"),
        ('l: ["sex:2"]', {}, "'sex' is a quasi-identifier"),
        ('l: ["ward:2"]', {"ward": "sensitive"}, "the table of 'ward' has no quasi-identifiers"),
        ('l: ["sex:1"]', {"sex": "sensitive"}, "no l-diversity"),
        ('t: ["sex:hierarchical:0.2"]', {"sex": "sensitive"}, "needs a hierarchy in its rule"),
        ('t: ["sex:far:0.2"]', {"sex": "sensitive"}, "privacy.t"),
    ],
)
def test_what_cannot_be_asked_stops_the_run_before_the_first_record(folder: Path, privacy: str, columns: dict[str, str], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        pipeline.check(Run.open(load(policy(folder, privacy, **columns))))
