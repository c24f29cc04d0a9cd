"""What becomes of the dates within texts: they move, are cut to the year, or go, as the policy says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anonymize.detect.base import Finding, Identifier
from anonymize.keys import Key
from anonymize.policy.model import Kind, Method, Role, Rule, Text
from anonymize.transform.batch import IDENTIFIER_LIST, IDENTIFIERS, KEY, ROW, Deidentify
from anonymize.transform.text import How, Own, scrub

NOTE = "DOB 3/4/1950\nSeen on March 4, 2024 and 5/6/2024, last in March 2024; a fall on 7/8/1930."


def deidentified(dates: str, replace: str = "tags") -> str:
    """The note as a policy's `text: {dates: …}` leaves it."""
    columns = [pa.array([1]), pa.array(["17"]), pa.array([NOTE]), pa.array([[]], IDENTIFIER_LIST)]
    batch = pa.RecordBatch.from_arrays(columns, names=[ROW, KEY, "body", IDENTIFIERS])
    text = Text.model_validate({"dates": dates, "replace": replace})
    rules = (("body", Rule(role=Role.TEXT, method=Method.SCRUB)),)
    return str(Deidentify(rules, "patient", Key("env:ANONYMIZE_KEY", "p"), 365, text)(batch)["body"][0].as_py())


@pytest.mark.parametrize("replace", ["tags", "surrogates"])
def test_dates_are_cut_to_years_of_which_none_tells_an_age_over_89(replace: str) -> None:
    assert deidentified("year:2026", replace) == "DOB [DATE]\nSeen on 2024 and 2024, last in 2024; a fall on [DATE]."


@pytest.mark.parametrize("replace", ["tags", "surrogates"])
def test_dates_become_tags(replace: str) -> None:
    assert deidentified("tag", replace) == "DOB [DATE]\nSeen on [DATE] and [DATE], last in [DATE]; a fall on [DATE]."


def test_dates_move_together_unless_the_policy_says_otherwise() -> None:
    assert Text().dates == "shift"
    left = deidentified("shift")
    assert re.fullmatch(r"DOB \[DATE\]\nSeen on [A-Z][a-z]+ \d+, 20\d\d and \d+/\d+/20\d\d, last in \[DATE\]; a fall on \d+/\d+/19\d\d\.", left)
    assert not any(date in left for date in ("March 4, 2024", "5/6/2024", "7/8/1930"))


def test_a_date_in_the_record_of_its_subject_goes_whatever_the_policy_says() -> None:
    settings: list[dict[str, Any]] = [{"ages_in": 2026}, {"ages_in": None}]
    findings = [[Finding(Kind.DATE, 8, 16, 1.0, "own-record+patterns")]]
    assert {scrub(pa.array(["died on 5/6/2024"]), findings, How(**one))[0][0].as_py() for one in settings} == {"died on [DATE]"}


@pytest.mark.parametrize(("moved", "left"), [(3, "admitted [DATE]"), (4, "admitted 08.11.2023"), (250, "admitted 11.07.2024")])
def test_a_date_that_moves_onto_a_day_of_the_record_goes(moved: int, left: str) -> None:
    own = Own.of([Identifier(Kind.DATE, "2023-07-11 00:00:00", "birth_date"), Identifier(Kind.NAME, "May Lee", "name")])
    assert own.names == {"may", "lee"}
    findings = [[Finding(Kind.DATE, 9, 19, 1.0, "patterns")]]
    scrubbed, _ = scrub(pa.array(["admitted 04.11.2023"]), findings, How(shift_days=np.array([moved]), own=[own]))
    assert scrubbed.to_pylist() == [left]
