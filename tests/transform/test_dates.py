"""Dates move by their subject's own constant; what is no date is found out before."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anonymize.keys import Key
from anonymize.transform import dates
from anonymize.transform.written_dates import shift_written, year_written

DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2100, 12, 31))


@given(st.lists(DAYS, min_size=2, max_size=20), st.integers(-365, 365).filter(bool))
def test_intervals_of_a_subject_stay_exact(days: list[dt.date], offset: int) -> None:
    moved = dates.shift(pa.array(days), pa.array([offset] * len(days), pa.int32())).to_pylist()
    assert [b - a for a, b in pairwise(moved)] == [b - a for a, b in pairwise(days)]
    assert all(a != b for a, b in zip(days, moved, strict=True))


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40), st.integers(1, 400))
def test_offsets_are_never_zero_and_within_bounds(subjects: list[str], days: int) -> None:
    import os

    os.environ["ANONYMIZE_KEY"] = "k" * 40
    drawn = dates.offsets(pa.array(subjects), Key("env:ANONYMIZE_KEY", "p"), days=days).to_pylist()
    assert all(d and -days <= d <= days for d in drawn)
    assert len({(s.strip(), d) for s, d in zip(subjects, drawn, strict=True)}) <= len(set(subjects))


def test_time_of_day_and_zone_stay() -> None:
    column = pa.array([dt.datetime(2020, 3, 1, 23, 59, 1, 5, tzinfo=dt.UTC)], pa.timestamp("us", "America/New_York"))
    moved = dates.shift(column, pa.array([-1], pa.int32()))
    assert moved.type == column.type
    assert moved.cast(pa.int64())[0].as_py() == column.cast(pa.int64())[0].as_py() - 86_400_000_000


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("1987-11-19T00:22:16.824-05:00", "1987-11-29T00:22:16.824-05:00"),
        ("2014-02-25", "2014-03-07"),
        ("2014-03", "2014"),
        ("2014", "2014"),
        (None, None),
    ],
)
def test_iso_texts_keep_their_form(text: str | None, moved: str | None) -> None:
    assert dates.shift(pa.array([text], pa.string()), pa.array([10], pa.int32())).to_pylist() == [moved]


def test_texts_in_another_form() -> None:
    moved = dates.shift(pa.array(["03/01/2020 07:30"]), pa.array([-1], pa.int32()), format="%m/%d/%Y %H:%M")
    assert moved.to_pylist() == ["02/29/2020 07:30"]


def test_signs_do_not_tell_the_offset() -> None:
    signs = [dt.date(9999, 12, 31), dt.date(1800, 1, 1)]
    assert dates.shift(pa.array(signs), pa.array([100, 100], pa.int32())).to_pylist() == signs


def test_a_date_of_nobody_does_not_leave() -> None:
    assert dates.shift(pa.array([dt.date(2020, 1, 1)]), pa.array([None], pa.int32())).to_pylist() == [None]
    assert dates.shift(pa.array(["2020-01-01"]), pa.array([None], pa.int32())).to_pylist() == [None]


def test_year_is_all_that_safe_harbor_leaves() -> None:
    assert dates.year(pa.array([dt.date(2020, 5, 6), None])).to_pylist() == [2020, None]
    assert dates.year(pa.array(["2020-05-06T10:00", "2019"])).to_pylist() == [2020, 2019]


@pytest.mark.parametrize("text", ["2020-02-30", "yesterday", "13/2020", "", "2020-13", "20200101x"])
def test_what_is_no_date_is_found_out(text: str) -> None:
    assert dates.parsable(pa.array([text])).to_pylist() == [False]


@given(DAYS, st.integers(-400, 400).filter(bool))
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%Y", "%B %d, %Y", "%d %b %Y", "%A, %B %d, %Y", "%Y%m%d", "%d.%m.%Y", "%b %d %Y"])
def test_written_dates_move_and_keep_their_form(form: str, day: dt.date, days: int) -> None:
    # `May` does not tell whether June is written `Jun` or `June`.
    assume(day.month != 5 or "%b" not in form)
    moved, expected = shift_written(day.strftime(form), days), (day + dt.timedelta(days=days)).strftime(form)
    # `March 10` does not tell whether the ninth is written `9` or `09`.
    assert moved is not None
    assert re.sub(r"\b0", "", moved) == re.sub(r"\b0", "", expected) if "%b" in form.lower() else moved == expected


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("3/4/2020 10:30 pm", "3/14/2020 10:30 pm"),
        ("03.21.2020 10:30", "03.31.2020 10:30"),
        ("21.03.2020 10:30", "31.03.2020 10:30"),
        ("3/4/20 at 9:05", "3/14/20 at 9:05"),
        ("2020-03-04T10:30:00.824-05:00", "2020-03-14T10:30:00.824-05:00"),
        ("2020-03-04 1:02:03Z", "2020-03-14 1:02:03Z"),
        ("March 4, 2020, 10:30 a.m.", "March 14, 2020, 10:30 a.m."),
    ],
)
def test_a_time_of_day_stays_beside_a_written_date(text: str, moved: str) -> None:
    assert shift_written(text, 10) == moved
    assert year_written(text, 2026) == "2020"


@pytest.mark.parametrize(
    "text",
    [
        "March 4-9, 2020",
        "3/4-12/9/2020",
        "3/4/2020 - 3/9/2020",
        "March 4 to April 9, 2020",
        "Mar 2020",
        "8/6",
        "Feb 30, 2020",
        "in March",
        "99/99/9999",
        "",
    ],
)
def test_what_is_no_whole_date_cannot_be_moved(text: str) -> None:
    assert shift_written(text, 10) is None


@given(st.dates(dt.date(1937, 1, 1), dt.date(2099, 12, 31)))
@pytest.mark.parametrize(
    "form", ["%Y-%m-%d", "%m/%d/%Y", "%B %d, %Y", "%d %b %Y", "%A, %B %d, %Y", "%Y%m%d", "%d.%m.%Y", "%B %Y", "%m/%Y", "%Y-%m-%dT%H:%M"]
)
def test_of_a_written_date_the_year_stays_alone(form: str, day: dt.date) -> None:
    assert year_written(day.strftime(form), 2026) == str(day.year)


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("3/4/20", "2020"),
        ("12/31/1936", None),
        ("1/1/1937", "1937"),
        ("3/4/31", None),
        ("8/6", None),
        ("Jan '19", None),
        ("2019-2020", None),
        ("9999-12-31", None),
        ("", None),
    ],
)
def test_no_year_that_is_unsure_or_tells_an_age_over_89(text: str, year: str | None) -> None:
    assert year_written(text, 2026) == year


def test_the_year_of_days_within_one_year_stays() -> None:
    assert year_written("March 4-9, 2020", 2026) == year_written("3/4-12/9/2020", 2026) == "2020"
    assert year_written("12/28/2019 - 1/3/2020", 2026) is None
