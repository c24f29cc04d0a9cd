"""A decision is a person's, on exactly the files that were shown."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from anonymize.errors import ReviewMissing
from anonymize.publish import GateFact, review


@pytest.fixture
def desk(stage: Path) -> Path:
    review.request(stage, gates=[GateFact(gate="leak", passed=True, words="none")], folder=stage.parent / "review", facts={"rows": 80})
    return stage.parent / "review"


def asked(desk: Path) -> review.ReviewRequest:
    found = review.read_request(desk)
    assert found is not None
    return found


def test_a_request_names_every_file_and_what_the_gates_said(stage: Path, desk: Path) -> None:
    found = asked(desk)
    assert set(found.files) == {path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()}
    assert found.gates[0].words == "none"
    assert found.facts == {"rows": 80}
    assert review.read_decision(desk) is None


@pytest.mark.parametrize(
    ("steward", "reason"), [("", "fine"), ("  ", "fine"), ("A. Steward", ""), ("A. Steward", " \n"), ("--", "fine"), ("A", "...")]
)
def test_a_blank_name_or_reason_is_refused(desk: Path, steward: str, reason: str) -> None:
    with pytest.raises(ReviewMissing, match="is blank"):
        review.decide(asked(desk), desk, approve=True, steward=steward, reason=reason)
    assert review.read_decision(desk) is None


def test_an_approval_holds_for_the_files_that_were_shown(stage: Path, desk: Path) -> None:
    decision = review.decide(asked(desk), desk, approve=True, steward=" A.  Steward ", reason="looked\nat it")
    assert (decision.steward, decision.reason) == ("A. Steward", "looked at it")
    assert review.read_decision(desk) == decision
    assert review.require(decision, stage) == decision


def test_no_decision_and_a_rejection_publish_nothing(stage: Path, desk: Path) -> None:
    with pytest.raises(ReviewMissing, match="waits for a steward"):
        review.require(review.read_decision(desk), stage)
    decision = review.decide(asked(desk), desk, approve=False, steward="A. Steward", reason="too fine")
    with pytest.raises(ReviewMissing, match=r"A\. Steward rejected this release: too fine"):
        review.require(decision, stage)


def test_a_rejection_cannot_be_turned_into_an_approval(desk: Path) -> None:
    review.decide(asked(desk), desk, approve=False, steward="A. Steward", reason="too fine")
    with pytest.raises(ReviewMissing, match=r"A\. Steward rejected this release already"):
        review.decide(asked(desk), desk, approve=True, steward="B. Other", reason="I think not")


def test_a_decision_that_stands_is_not_written_over(desk: Path) -> None:
    first = review.decide(asked(desk), desk, approve=True, steward="A. Steward", reason="fine")
    assert review.decide(asked(desk), desk, approve=True, steward="A. Steward", reason="again, after a crash") == first
    for approve, steward in ((True, "B. Other"), (False, "A. Steward")):
        with pytest.raises(ReviewMissing, match=r"A\. Steward approved this release already"):
            review.decide(asked(desk), desk, approve=approve, steward=steward, reason="mine")
    assert review.read_decision(desk) == first


def test_a_release_whose_gates_failed_cannot_be_approved(stage: Path) -> None:
    found = review.request(stage, gates=[GateFact(gate="leak", passed=False, words="3 rows"), GateFact(gate="k", passed=True, words="")])
    with pytest.raises(ReviewMissing, match=r"its gates failed \(leak\)"):
        review.decide(found, stage.parent / "review", approve=True, steward="A", reason="B")
    assert not review.decide(found, stage.parent / "review", approve=False, steward="A", reason="B").approve


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stage: (stage / "README.md").write_text("other"), "changed README.md"),
        (lambda stage: (stage / "note" / "x.txt").write_text(""), "added note/x.txt"),
        (lambda stage: (stage / "dictionary.csv").unlink(), "removed dictionary.csv"),
        (lambda stage: (stage / "note" / "part-00000.parquet").rename(stage / "note" / "z.parquet"), "added note/z.parquet; removed"),
    ],
)  # fmt: skip
def test_a_file_that_differs_is_refused(stage: Path, desk: Path, change: object, words: str) -> None:
    decision = review.decide(asked(desk), desk, approve=True, steward="A. Steward", reason="fine")
    change(stage)  # type: ignore[operator]
    with pytest.raises(ReviewMissing, match=words):
        review.require(decision, stage)


# ----------------------------------------------------------------------------------------------------------------------- two stewards


def sign(desk: Path, steward: str, *, approve: bool = True, **settings: str) -> review.Decision:
    return review.decide(asked(desk), desk, approve=approve, steward=steward, reason=f"{steward} looked", stewards=2, **settings)  # type: ignore[arg-type]


def test_where_two_are_asked_for_one_signature_publishes_nothing(stage: Path, desk: Path) -> None:
    first = sign(desk, "A. Steward")
    assert first.signatures == 1
    with pytest.raises(ReviewMissing, match=r"A\. Steward approved this release, and the policy asks for two"):
        review.require(first, stage, stewards=2)
    both = sign(desk, "B. Other")
    assert review.require(review.read_decision(desk), stage, stewards=2) == both
    assert (both.signatures, both.steward, both.fact().second) == (2, "A. Steward", both.second)
    assert both.second is not None
    assert (both.second.steward, both.second.reason) == ("B. Other", "B. Other looked")


@pytest.mark.parametrize("name", ["A. Steward", " a.  STEWARD "])
def test_the_second_steward_is_not_the_first(desk: Path, name: str) -> None:
    first = sign(desk, "A. Steward")
    assert sign(desk, name) == first
    assert review.read_decision(desk) == first


@pytest.mark.parametrize("who", ["A. Steward", "B. Other"])
def test_between_two_signatures_anyone_may_reject(stage: Path, desk: Path, who: str) -> None:
    sign(desk, "A. Steward")
    assert sign(desk, who, approve=False).signatures == 0
    with pytest.raises(ReviewMissing, match="rejected this release"):
        review.require(review.read_decision(desk), stage, stewards=2)
    with pytest.raises(ReviewMissing, match="rejected this release already"):
        sign(desk, "C. Third")


def test_after_two_signatures_it_is_decided(desk: Path) -> None:
    sign(desk, "A. Steward")
    both = sign(desk, "B. Other")
    assert sign(desk, "B. Other") == both
    assert sign(desk, "A. Steward") == both
    for who, approve in (("C. Third", True), ("B. Other", False)):
        with pytest.raises(ReviewMissing, match="approved this release already"):
            sign(desk, who, approve=approve)


def test_a_decision_is_on_what_was_shown(stage: Path, desk: Path) -> None:
    lines = sorted(f"{review.hash_file(path)}  {path.relative_to(stage).as_posix()}\n" for path in stage.rglob("*") if path.is_file())
    shown = hashlib.sha256("".join(sorted(lines, key=lambda line: line.split("  ", 1)[1])).encode()).hexdigest()
    with pytest.raises(ReviewMissing, match="not what waits now"):
        sign(desk, "A. Steward", shown="0" * 64)
    assert review.read_decision(desk) is None
    assert sign(desk, "A. Steward", shown=shown).signatures == 1
