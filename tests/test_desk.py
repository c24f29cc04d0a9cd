"""What the desk tells of runs, from records alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anonymize import desk, pipeline
from anonymize.cli import cli
from anonymize.desk import State
from anonymize.policy.loader import load
from anonymize.policy.model import Policy
from anonymize.run import Record, Run
from anonymize.taking_back import retracting
from anonymize.taking_back.proving import Proof, VersionProof
from tests.road import hospital

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
GATES = {"gates": [{"gate": "k-anonymity", "passed": True, "words": ["holds"]}, {"gate": "leaks", "passed": False, "words": ["3 rows"]}]}


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return load(hospital.policy(tmp_path))


def record(policy: Policy, name: str, hours: int = 0, **steps: Any) -> Record:
    made = Record(policy.path(policy.workspace) / "records" / name)
    made.put("run", {"id": name, "dataset": policy.dataset, "started": (START + timedelta(hours=hours)).isoformat()})
    for step, counts in steps.items():
        made.put(step, counts)
    return made


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ({}, State.UNDER_WAY),
        ({"judged": GATES}, State.STOPPED),
        ({"request": {}}, State.WAITING),
        ({"request": {}, "signature": {"steward": "A"}}, State.SIGNED),
        ({"request": {}, "review": {"approved": True}}, State.APPROVED),
        ({"request": {}, "review": {}, "end": {"outcome": "published"}}, State.PUBLISHED),
        ({"request": {}, "review": {}, "end": {"outcome": "rejected"}}, State.REJECTED),
        ({"end": {"outcome": "discarded"}}, State.DISCARDED),
    ],
)
def test_a_record_tells_what_became_of_a_run(policy: Policy, steps: dict[str, Any], state: State) -> None:
    record(policy, "one", **steps)
    [seen] = desk.runs(policy)
    assert seen.state is state


def test_the_gates_are_told_as_they_were_judged_last(policy: Policy) -> None:
    record(policy, "one", judged=GATES)
    [seen] = desk.runs(policy)
    assert [(gate.name, gate.passed, gate.words) for gate in seen.gates] == [("k-anonymity", True, ("holds",)), ("leaks", False, ("3 rows",))]


def test_a_run_is_held_against_the_release_before_it(policy: Policy) -> None:
    for hours, (name, outcome) in enumerate({"a": "published", "b": "rejected", "c": "published", "d": "discarded"}.items()):
        record(policy, name, hours, end={"outcome": outcome})
    found = {seen.id: desk.before(seen) for seen in desk.runs(policy)}
    assert {name: seen.id if seen else None for name, seen in found.items()} == {"a": None, "b": "a", "c": "a", "d": "c"}


def test_a_version_that_people_were_taken_out_of_is_told_so(policy: Policy) -> None:
    published = {"publish": {"version": "v1"}, "end": {"outcome": "published"}}
    record(policy, "one", **published)
    record(policy, "two", 1, **{**published, "publish": {"version": "v2"}})
    version = VersionProof(version="v1", content_sha256_before="0", files_before={}, rows_of_theirs={"patient": 1}, replaced_by="v1r")
    known = {"reason": "asked to", "by": "A. Steward", "asked": START, "subjects": 1, "key_id": "k", "policy_sha256": "p", "code_version": "1"}
    for name, dataset in (("r1", policy.dataset), ("r2", "of-somebody-else")):
        changed = {"retraction": name, "dataset": dataset, "versions": (version,), "rows_of_theirs_in_what_stands": {}}
        folder = retracting.home(policy) / name
        folder.mkdir(parents=True)
        (folder / retracting.PROOF).write_text(Proof.model_validate({**known, **changed}).model_dump_json())
    assert [proof.retraction for proof in desk.retractions(policy)] == ["r1"]
    assert {seen.id: seen.state for seen in desk.runs(policy)} == {"one": State.TAKEN_BACK, "two": State.PUBLISHED}
    one, two = (desk.find(policy, name) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert (one.taken, two.taken) == (version, None)
    before = desk.before(two)
    assert before is not None
    assert before.id == "one", "it is what the next one is held against"


@pytest.mark.parametrize("name", ["../one", "..", "", ".one", "a/b", "one\n", "a" * 129, "two", "other"])
def test_what_can_be_no_runs_id_is_no_path(policy: Policy, name: str) -> None:
    record(policy, "one")
    other = record(policy, "other")
    other.put("run", {**(other.get("run") or {}), "dataset": "of-somebody-else"})
    (policy.path(policy.workspace) / "one").mkdir(parents=True)
    assert desk.find(policy, name) is None
    assert desk.find(policy, "one") is not None


def test_two_stewards_sign_on_the_command_line(tmp_path: Path) -> None:
    folder = hospital.build(tmp_path / "hospital")
    file = hospital.policy(folder, hospital.POLICY + "review: {stewards: 2}\n")
    run = Run.open(load(file))
    pipeline.to_review(run)
    run.close()

    def review(name: str) -> str:
        done = CliRunner().invoke(cli, ["review", str(file), "--approve", "--as", name, "--reason", f"{name} looked"])
        assert done.exit_code == 0, done.output
        return done.output

    for _ in range(2):
        assert "signed by A. Steward; the policy asks for two stewards, so the release waits for another one" in review("A. Steward")
    assert [seen.state for seen in desk.runs(load(file))] == [State.SIGNED]
    assert "published" in review("B. Other")
    [seen] = desk.runs(load(file))
    assert (seen.state, seen.decision["steward"], seen.decision["second"]["steward"]) == (State.PUBLISHED, "A. Steward", "B. Other")
