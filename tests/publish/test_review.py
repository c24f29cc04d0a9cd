"""A decision is a person's, on exactly the files that were shown."""

from __future__ import annotations

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
