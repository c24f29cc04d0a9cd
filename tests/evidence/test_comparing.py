"""What two releases are told to differ in, and what a steward is told first: small cases in, words out."""

from __future__ import annotations

import pytest

from anonymize.evidence import compare, gather, gather_before
from anonymize.evidence.comparing import Comparison
from anonymize.evidence.model import ColumnOut, Evidence, HeldBack, PrivacyAsked, TableHeld, TableOut, TableRisk, TextFound
from anonymize.evidence.noting import notes
from anonymize.evidence.wording import percent
from anonymize.publish.manifest import GateFact
from tests.evidence.conftest import Hospital, audit, made


def table(name: str = "patient", rows: int = 100, *columns: ColumnOut) -> TableOut:
    return TableOut(name=name, rows=rows, subjects=rows, columns=columns or (column(),))


def column(name: str = "zip", precision: str = "3 digits") -> ColumnOut:
    return ColumnOut(name=name, type="string", role="quasi", method="generalize", precision=precision)


def risk(**known: float) -> TableRisk:
    figures = {"highest": 0.2, "average": 0.05, "at_risk": 0.0, "threshold": 0.2, "journalist": 0.2, "marketer": 0.05, "unique": 0.0}
    return TableRisk(table="patient", subjects=100, classes=5, population_unique=0.0, model="", **{**figures, **known})  # type: ignore[arg-type]


def test_the_first_release_is_compared_with_none() -> None:
    comparison = compare(made(), None)
    assert comparison == Comparison()
    assert comparison.first


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ((table(),), (table(),), []),
        ((table(),), (table(), table("note")), [("added", "note", "", "table of 1 columns")]),
        ((table(), table("note")), (table(),), [("removed", "note", "table of 1 columns", "")]),
        (
            (table("patient", 100, column()),),
            (table("patient", 100, column(precision="2 digits")),),
            [("changed", "patient.zip", "string, quasi, generalize: 3 digits", "string, quasi, generalize: 2 digits")],
        ),
        (
            (table("patient", 100, column("sex")),),
            (table("patient", 100, column("age")),),
            [
                ("added", "patient.age", "", "string, quasi, generalize: 3 digits"),
                ("removed", "patient.sex", "string, quasi, generalize: 3 digits", ""),
            ],
        ),
    ],
)
def test_schema(old: tuple[TableOut, ...], new: tuple[TableOut, ...], said: list[tuple[str, ...]]) -> None:
    changed = compare(made(tables=new), made(tables=old)).schema_
    assert [(one.change, one.what, one.before, one.now) for one in changed] == said


def test_policy_rows_people_and_risk() -> None:
    old = made(tables=(table(rows=100),), policy={"privacy.k": "5", "privacy.l": "none"}, risk=(risk(),), version="a")
    new = made(tables=(table(rows=60),), policy={"privacy.k": "8", "privacy.t": "x"}, risk=(risk(highest=0.125, average=0.06),))
    found = compare(new, old)
    assert found.last == "a"
    assert [(one.change, one.what) for one in found.policy] == [("changed", "privacy.k"), ("removed", "privacy.l"), ("added", "privacy.t")]
    assert [(one.what, one.before, one.now, one.difference) for one in found.rows] == [("patient", 100, 60, -40)]
    verdicts = {one.what: one.worse for one in found.risk}
    assert (verdicts["patient: prosecutor, highest"], verdicts["patient: prosecutor, average"]) == (False, True)
    assert verdicts["patient: marketer, all"] is None


def test_two_releases_of_the_hospital(two: Hospital) -> None:
    found = compare(gather(two.second), gather_before(two.second))
    assert found.last == two.version
    assert ("removed", "stay.charge") in [(one.change, one.what) for one in found.schema_]
    assert {one.what: (one.before, one.now) for one in found.policy}["privacy.k"] == ("3", "4")
    assert {one.what for one in found.rows} == {"patient", "stay", "note", "empty"}
    assert any(one.what.startswith("patient: prosecutor") for one in found.risk)
    assert any("precision kept" in one.what for one in found.utility)


FAILED = GateFact(gate="k-anonymity", passed=False, words="patient: FALLS SHORT OF k = 5")
TEXT = TextFound(columns=("note.body",))
JOINED = GateFact(gate="differences", passed=True, words="patient: 1,200 stand out among fewer than k = 5")
ALONE = GateFact(gate="differences", passed=True, words="patient: 0 stand out among fewer than k = 5")


def held(**known: object) -> HeldBack:
    return HeldBack(by_table=(TableHeld.model_validate({"table": "patient", "rows_in": 100, **known}),))


@pytest.mark.parametrize(
    ("evidence", "weight", "words"),
    [
        (made(gates=()), "stop", "have not judged"),
        (made(gates=(FAILED,)), "stop", "Gate k-anonymity failed: patient: FALLS SHORT OF k = 5."),
        (made(gates=(JOINED,)), "look", "1,200 stand out"),
        (made(), "good", "at least 5 others"),
        (made(risk=(risk(at_risk=0.1),)), "look", "10\u00a0% of the people of patient can be found"),
        (made(risk=(risk(at_risk=0.1, unique=0.1),)), "stop", "over the threshold"),
        (made(risk=(risk().model_copy(update={"told": {"ward": 0.3}}),)), "look", "patient.ward is told of 30\u00a0%"),
        (made(held_back=held(quarantined=3, reasons={"not-date (born)": 3})), "look", "3 malformed rows of patient"),
        (made(held_back=held(suppressed=5)), "look", "5 of 100 rows of patient are suppressed"),
        (made(held_back=held(suppressed=1)), "good", "1 of 100 rows of patient are suppressed"),
        (made(held_back=held(unreadable={"pdf": 2})), "look", "pdf 2"),
        (made(text=TEXT), "look", "nobody has labelled a sample"),
        (made(text=TEXT.model_copy(update={"audit": audit()})), "look", "recall 100\u00a0%"),
        (made(text=TEXT.model_copy(update={"audit": audit(recall_low=0.995)})), "good", "99.5\u00a0% or more"),
        (made(profile="hipaa-expert-determination", purpose="A study"), "look", "names no recipient of the release"),
        (made(utility={"patient": {"columns": {"race": {"loss": 1.0}, "sex": {"loss": 0.1}}}}), "look", "Nothing is left of patient.race:"),
    ],
)
def test_what_a_steward_is_told_first(evidence: Evidence, weight: str, words: str) -> None:
    found = notes(evidence, compare(evidence, None))
    assert [note.weight for note in found if words in note.words] == [weight]
    assert [note.weight for note in found] == sorted((note.weight for note in found), key=["stop", "look", "good"].index)


def test_nobody_who_stands_out_is_no_thing_to_look_at() -> None:
    assert not any("stand out" in note.words for note in notes(made(gates=(ALONE,)), Comparison(last="a")))


def test_what_changed_since_the_last_release_is_told() -> None:
    old, new = made(tables=(table(rows=100),), policy={"privacy.k": "5"}), made(tables=(table(rows=70),), policy={"privacy.k": "4"})
    said = [note.words for note in notes(new, compare(new, old))]
    assert "1 setting of the policy changed since the last release." in said
    assert "patient has 70 rows; the last release had 100." in said
    same = [note.words for note in notes(old, compare(old, old))]
    assert any("Schema and policy are those of the last release" in words for words in same)


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0"), (1, "1"), (0.0001, "under 0.1"), (0.99999, "over 99.9"), (0.2, "20"), (0.0414, "4.1"), (0.9994, "99.9")]
)
def test_no_share_reads_as_all_or_none_that_is_not(share: float, words: str) -> None:
    assert percent(share) == ("100" if share == 1 else words) + "\u00a0%"


def test_privacy_asked_is_told_of_what_was_reached() -> None:
    short = made(privacy=PrivacyAsked(k=5, reached=4))
    assert not any(note.weight == "good" and "others" in note.words for note in notes(short, Comparison()))
