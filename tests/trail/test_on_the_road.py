"""What a run leaves on the audit trail, from the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize import pipeline, trail
from anonymize.cli import cli
from anonymize.errors import ReviewMissing
from anonymize.policy.loader import load
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.trail import verify
from anonymize.trail.lines import Line, parse
from tests.road import hospital

SMALL = hospital.POLICY.replace("body: text", "body: drop")


def lines(folder: Path) -> list[Line]:
    found = [parse(line) for line in trail.open_trail(load(folder / "policy.yaml")).lines()]
    assert all(found)
    return [line for line in found if line is not None]


def test_a_run_is_on_the_trail_from_its_asking_to_its_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hospital.build(tmp_path / "hospital")
    with trail.acting("Erin Engineer"):
        run = Run.open(load(hospital.policy(folder, SMALL)))
        pipeline.to_review(run)
    with monkeypatch.context() as patch:  # the one who decides is killed after the decision, before its line
        patch.setattr(trail, "record", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.decide(run, approve=True, steward="Ada Steward", reason="k holds")
    with pytest.raises(ReviewMissing):
        pipeline.decide(run, approve=False, steward="Ada Steward", reason="changed her mind")
    with trail.acting("the publisher"):
        pipeline.publish(run)
    found = lines(folder)
    actions = [line.action for line in found]
    assert actions[0] == "asked"
    assert actions[-3:] == ["approved", "publishing", "published"]
    assert set(actions[1:-3]) == {"ran"}
    steps = [(line.said["facts"]["step"], line.said["facts"]["table"]) for line in found if line.action == "ran"]
    assert len(steps) == len(set(steps))
    assert {("check", None), ("extract", "stay"), ("deidentify", "note"), ("stage", "patient"), ("validate", None)} <= set(steps)
    whose = [line.said["who"] for line in found]
    assert whose[0] == whose[1] == "Erin Engineer"
    assert whose[-3:] == ["Ada Steward", "the publisher", "the publisher"]
    assert {line.said["run"] for line in found} == {run.id}
    assert {line.said["policy_sha256"] for line in found} == {run.policy.sha256}
    assert {line.said["key_id"] for line in found} == {run.key.id}

    manifest = open_version(folder / "store", "small").manifest
    last = found[-1].said["facts"]
    assert (last["version"], last["content_sha256"]) == (manifest.version, manifest.content_sha256)
    assert last["files"] == {file.path: file.sha256 for file in manifest.files()}
    assert found[-3].said["facts"]["files"] == manifest.decision.files  # type: ignore[union-attr]
    assert verify(trail.open_trail(run.policy)).findings == ()

    def held() -> str:
        return CliRunner().invoke(cli, ["audit", "verify", str(run.policy.file), "--store"], catch_exceptions=False).output

    assert "the store holds what the trail says, and nothing else" in held()
    version = folder / "store" / "small" / "versions" / manifest.version
    version.rename(version.with_name("hidden"))
    assert f"version {manifest.version} was published and is gone from the store, without a tombstone" in held()
    stranger = version.with_name(manifest.version[:-1] + "x")
    shutil.copytree(version.with_name("hidden"), stranger)
    assert f"version {stranger.name} stands in the store, and the trail has no line of its publication" in held()

    everything = json.dumps([line.said for line in found])
    for number in range(1, 61):
        _, mrn, family, given, _, _, _, phone, _ = hospital.patient(number)
        for value in (mrn, phone):
            assert str(value) not in everything
        for name in (family, given):
            assert not re.search(rf"\b{re.escape(str(name))}\b", everything)


def test_a_rejected_and_a_discarded_run_are_on_the_trail(tmp_path: Path) -> None:
    folder = hospital.build(tmp_path / "hospital")
    policy = load(hospital.policy(folder, SMALL))
    run = Run.open(policy, run_id="first")
    pipeline.check(run)
    pipeline.discard(run)
    pipeline.discard(run)
    assert [line.action for line in lines(folder)] == ["asked", "ran", "ran", "discarded"]
