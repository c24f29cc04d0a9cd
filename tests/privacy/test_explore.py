"""`anonymize explore`: the frontier of risk against loss."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize.cli import cli
from anonymize.exploring import Point, _with_frontier, explore, picture
from anonymize.policy.loader import load
from anonymize.privacy import SearchSettings, search
from anonymize.run import Run
from tests.privacy.test_search import HIERARCHIES, Row, tally
from tests.road import hospital

PEOPLE: list[Row] = [(age, zip_, sex) for age in ("3", "4", "17", "90") for zip_ in ("02139", "02138", "59001") for sex in "FFM"]


def test_each_point_is_what_a_search_finds() -> None:
    points = explore("people", tally(PEOPLE), HIERARCHIES, SearchSettings(k=3, suppression=0.1), ks=(2, 5), suppressions=(0.0,))
    assert {point.k for point in points} == {2, 3, 5}
    assert {point.exact for point in points} == {"", *HIERARCHIES}
    for point in points:
        if point.mode == "optimal" and not point.exact and point.reached:
            solution = search(tally(PEOPLE), HIERARCHIES, SearchSettings(k=point.k, suppression=point.suppression))
            assert point.loss == pytest.approx(solution.loss, abs=1e-6)
            assert point.highest == pytest.approx(1 / solution.k, abs=1e-6)
    plain = next(p for p in points if (p.mode, p.k, p.suppression, p.exact) == ("optimal", 3, 0.1, ""))
    assert all(p.loss >= plain.loss for p in points if p.exact and p.reached), "to keep a column exact costs the others"


def test_the_frontier_is_what_nothing_beats() -> None:
    def point(k: int, loss: float, suppressed: float = 0.0) -> Point:
        return Point("t", "optimal", k, 0.0, "", True, loss, suppressed)

    points = [point(2, 0.3), point(5, 0.2), point(5, 0.4), point(11, 0.5), point(5, 0.1, 0.2)]
    assert [p.frontier for p in _with_frontier(points)] == [False, True, False, True, True]


def test_a_picture_of_nothing_is_a_picture() -> None:
    ET.fromstring(picture([Point("t", "optimal", 5, 0.0, "", reached=False)], "a <title>"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    return hospital.policy(hospital.build(tmp_path / "hospital"))


def test_a_policy_is_explored_and_its_run_goes_on(file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["explore", str(file), "--out", str(tmp_path / "out"), "--k", "3", "--k", "5"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "patient" in done.output
    with (tmp_path / "out" / "patient.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["k"] for row in rows} == {"3", "5"}
    assert any(row["frontier"] == "True" for row in rows)
    drawn = ET.parse(tmp_path / "out" / "patient.svg").getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == sum(row["reached"] == "True" and not row["exact"] for row in rows)
    run = Run.open(load(file))
    assert run.record.get("deidentify", "patient") is not None, "the next run goes on from here"
    run.close()
