"""A record whose de-identification kills whoever works on it: given up alone, counted, shown, tried again by the next run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from anonymize import pipeline, releasing, summary
from anonymize.engine import batches, local
from anonymize.errors import QuarantineBudgetExceeded
from anonymize.evidence.gathering import gather
from anonymize.lasting import mending
from anonymize.lasting.given_up import came
from anonymize.policy.loader import load
from anonymize.publish.readme import limits
from anonymize.run import Run
from anonymize.sources.base import Malformed
from anonymize.sources.quarantine import Quarantine
from tests.lasting.deadly import NOTE, DeadlyDeidentify
from tests.road import hospital

OFF = ("patterns", "places", "safe-words", "rampart", "context")  # each new process would read their lists
POLICY = f"{hospital.POLICY.replace('workers: 1', 'workers: 2')}text: {{detectors: {{{', '.join(f'{name}: false' for name in OFF)}}}}}\n"


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "Deidentify", DeadlyDeidentify)
    monkeypatch.setattr(local, "SMALL_TEXT", -1)  # worker processes for the smallest table of texts
    monkeypatch.setattr(batches, "BATCH_BYTES", 1_000)  # so that not many processes die until the record is found


@pytest.mark.usefixtures("deadly")
def test_a_record_that_kills_is_quarantined_and_the_release_is_made_without_it(tmp_path: Path) -> None:
    folder = hospital.build(tmp_path)
    run = Run.open(load(hospital.policy(folder, POLICY)))
    pipeline.to_review(run)
    cleaned = run.record.get("deidentify", "note") or {}
    extracted = run.record.get("extract", "note") or {}
    assert (cleaned["rows"], cleaned["quarantined"], cleaned["reasons"]) == (extracted["rows"] - 1, 1, {"worker-died": 1})
    assert came(run.record, "note").quarantined == extracted["quarantined"] + 1
    waiting = {(one.table, one.reason): one for one in mending.waiting(run.policy, run.id)}
    assert waiting["note", "worker-died"].rows == (NOTE,)
    held = next(held for held in gather(run).held_back.by_table if held.table == "note")
    assert (held.rows_in, held.quarantined, held.reasons["worker-died"]) == (cleaned["rows"], extracted["quarantined"] + 1, 1)
    assert "note: 1 of the quarantined killed whoever de-identified them" in summary.text(run)
    facts = releasing.facts(run)
    assert facts.held_back["not de-identified"] == 1
    assert "1 record could not be de-identified and left out." in limits(facts)
    notes = pq.read_table(run.folder("stage", "note"))
    assert len(set(notes["patient_id"].to_pylist())) == notes.num_rows == (run.record.get("generalize", "note") or {})["rows"]


@pytest.mark.usefixtures("deadly")
def test_what_was_given_up_counts_against_the_budget_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hospital.build(tmp_path)
    text = POLICY.replace("quarantine: 0.05", "quarantine: 0.01")  # one of 120 stays, and not one of 60 notes
    run = Run.open(load(hospital.policy(folder, text)))
    with pytest.raises(QuarantineBudgetExceeded, match=rf"deidentify note: 1 of 60 records .*1 worker-died; first rows {NOTE}\)"):
        pipeline.to_review(run)
    assert pq.read_metadata(run.folder("quarantine") / "note.deidentify.parquet").num_rows == 1
    run.close()
    monkeypatch.undo()
    monkeypatch.setenv("ANONYMIZE_KEY", "test-key-not-a-secret-0123456789abcdef")
    again = Run.open(load(hospital.policy(folder, text)))
    assert again.id == run.id
    pipeline.to_review(again)
    assert not (run.folder("quarantine") / "note.deidentify.parquet").exists()
    assert came(again.record, "note").given_up == 0


def test_the_budget_is_one_for_both_steps(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "t.deidentify.parquet", "t", step="deidentify") as quarantine:
        quarantine.add(Malformed(7, "worker-died", "", raw=""))
        quarantine.check_budget(98, 0.02, before=1)
        with pytest.raises(
            QuarantineBudgetExceeded, match=r"1 of 100 records quarantined \(1 worker-died; first rows 7, and 1 before this step\)"
        ):
            quarantine.check_budget(98, 0.01, before=1)
