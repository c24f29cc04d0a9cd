"""What is malformed waits, is counted without being told, and comes in once it is mended."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from anonymize import pipeline
from anonymize.cli import cli
from anonymize.errors import AnonymizeError
from anonymize.lasting import mending
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.lasting.changing import POLICY, Changing, rows

QUERY = "UPDATE stays SET admitted='2024-01-12' WHERE admitted='2024-02-30'"
REVIEWED = POLICY.replace("{required: false}", "{required: true}")


def counts(policy: object, run: str) -> dict[str, int]:
    return {f"{one.table} {one.reason}": one.count for one in mending.waiting(policy, run)}  # type: ignore[arg-type]


def test_what_waits_is_told_by_counts_and_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    run = place.run(monkeypatch, "inc")
    with place.db() as db:
        there = db.execute("SELECT sum(admitted='2024-02-30' AND patient_id IS NOT NULL), sum(patient_id IS NULL) FROM stays").fetchone()
    assert counts(run.policy, run.id) == {"stay not-date": there[0], "stay no-subject": there[1]}
    told = CliRunner().invoke(cli, ["quarantine", "list", str(run.policy.file)])
    assert told.exit_code == 0
    assert run.id in told.output
    assert f"stay: {there[0]} not-date (admitted); rows " in told.output
    assert "2024-02-30" not in told.output
    refused = CliRunner().invoke(cli, ["quarantine", "list", run.id, "--show"], env={"ANONYMIZE_POLICIES": str(tmp_path)})
    assert refused.exit_code == 2
    assert "2024-02-30" not in refused.output


def test_on_a_terminal_the_records_are_shown_and_the_trail_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    run = place.run(monkeypatch, "inc")
    monkeypatch.setattr(
        "anonymize.lasting.command.sys", type("Terminal", (), {"stdout": type("Out", (), {"isatty": lambda: True}), "maxsize": 9})
    )
    shown = CliRunner().invoke(cli, ["quarantine", "list", str(run.policy.file), "--show"])
    assert "2024-02-30" in shown.output
    lines = "".join(file.read_text() for file in (tmp_path / "inc" / "workspace" / "trail").rglob("*") if file.is_file())
    assert '"looked"' in lines
    assert "2024-02-30" not in lines


def test_a_run_that_waits_takes_in_what_was_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lasting.changing.POLICY", REVIEWED)
    place = Changing(tmp_path)
    monkeypatch.setenv("CHANGING", str(tmp_path / "inc"))
    run = Run.open(load(place.policy()), fresh=True)
    pipeline.to_review(run)
    before, waited = rows(run), counts(run.policy, run.id)
    with place.db() as db:
        db.execute(QUERY)  # and nothing says when
    again = pipeline.replay(run.policy, run.id)
    assert again.id == run.id
    assert again.record.get("request") is None
    pipeline.to_review(again)
    assert len(rows(again)) == len(before) + waited["stay not-date"]
    assert counts(run.policy, run.id) == {"stay no-subject": waited["stay no-subject"]}
    pipeline.decide(again, approve=True, steward="A. Steward", reason="a test")
    pipeline.publish(again)


def test_of_a_published_run_a_new_one_takes_in_what_was_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    for _ in range(4):  # so that the window leaves out what is mended
        place.day(deletes="never")
    run = place.run(monkeypatch, "inc", whole_road=True)
    waited = counts(run.policy, run.id)
    assert oct(mending.home(run.policy).stat().st_mode)[-3:] == "700"
    with place.db() as db:
        old = "stay_id < 40 AND patient_id IS NOT NULL AND admitted='2024-02-30'"
        mended = db.execute(f"SELECT count(*) FROM stays WHERE {old}").fetchone()[0]
        db.execute(f"{QUERY} AND {old}")
    new = pipeline.replay(run.policy, run.id, "stay")
    assert new.id != run.id
    pipeline.to_review(new)
    pipeline.publish(new)
    assert mended > 0
    assert counts(new.policy, new.id)["stay not-date"] == waited["stay not-date"] - mended
    full = place.run(monkeypatch, "full", full=True)
    incremental = (new.record.get("extract", "stay") or {})["incremental"]
    assert incremental["whole"] == ""
    assert (new.record.get("extract", "stay") or {})["rows"] == len(rows(full))


def test_a_quarantine_has_its_days_and_a_discarded_run_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Changing(tmp_path)
    run = place.run(monkeypatch, "inc", whole_road=True)
    assert mending.purge(run.policy) == 0
    record = run.record.get("end") or {}
    run.record.put("end", record | {"at": "2020-01-01T00:00:00+00:00"})
    assert mending.purge(run.policy) == 1
    with pytest.raises(AnonymizeError, match="its time is over"):
        mending.waiting(run.policy, run.id)
    other = place.run(monkeypatch, "inc")
    pipeline.discard(other)
    with pytest.raises(AnonymizeError, match="it was discarded"):
        pipeline.replay(other.policy, other.id)
