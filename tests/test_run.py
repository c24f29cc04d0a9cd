"""A run, opened and opened again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from anonymize.policy.loader import load
from anonymize.run import Run
from tests.road import hospital

AGELESS = hospital.POLICY.replace('"birth-year:2026"', "birth-year").replace("dataset: small", "dataset: small\ntext: {dates: year}")


def opened(folder: Path, text: str, run_id: str | None = None) -> Run:
    return Run.open(load(hospital.policy(folder, text)), run_id=run_id)


def hierarchy(run: Run) -> str | None:
    return run.policy.tables["patient"].columns["birth_date"].hierarchy


def test_ages_are_counted_in_the_year_in_which_the_release_may_be_signed_at_the_latest(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for name, review, last in (
        ("a", "{timeout-days: 14}", now + timedelta(days=14)),
        ("b", "{timeout-days: 400}", now + timedelta(days=400)),
        ("c", "{required: false, timeout-days: 400}", now),
    ):
        (tmp_path / name).mkdir()
        run = opened(tmp_path / name, f"{AGELESS}review: {review}\n")
        assert (hierarchy(run), run.policy.text.dates) == (f"birth-year:{last.year}", f"year:{last.year}")
        assert (run.record.get("run") or {})["ages_in"] == last.year


def test_a_run_that_goes_on_next_year_counts_ages_as_it_began(tmp_path: Path) -> None:
    run = opened(tmp_path, AGELESS)
    run.record.put("run", (run.record.get("run") or {}) | {"ages_in": 2031})
    again = opened(tmp_path, AGELESS, run.id)
    assert (hierarchy(again), again.policy.text.ages_in, again.policy.sha256) == ("birth-year:2031", 2031, run.policy.sha256)


@pytest.mark.parametrize("year", [2026, 2099])
def test_a_year_that_the_policy_names_stays(tmp_path: Path, year: int) -> None:
    text = AGELESS.replace("hierarchy: birth-year", f'hierarchy: "birth-year:{year}"').replace("dates: year", f"dates: year:{year}")
    run = opened(tmp_path, text)
    assert (hierarchy(run), run.policy.text.dates) == (f"birth-year:{year}", f"year:{year}")
