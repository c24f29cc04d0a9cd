"""What every task does before and after its step."""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize import errors, keys
from anonymize.policy.loader import load
from anonymize.run import exclusive
from anonymize.sources.sql import connection_url
from tests.airflow import ward
from tests.conftest import ROOT

steps = pytest.importorskip("anonymize_airflow.steps")
road = pytest.importorskip("anonymize_airflow.road")

VALUE = ward.PLANTED[0]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    ward.write_policies(tmp_path / "policies")
    return tmp_path / "policies"


@pytest.fixture(autouse=True)
def _empty_keyring() -> Iterator[None]:
    yield
    keys._keyring.clear()


# ------------------------------------------------------------------------------------------------------------------ the run's id


@given(st.text(min_size=1, max_size=250), st.text(min_size=1, max_size=250))
def test_a_runs_id_is_a_folders_name_and_two_runs_never_share_one(one: str, other: str) -> None:
    dataset = "d" * 63  # the longest
    name = steps.run_id(dataset, one)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}", name)
    assert (name == steps.run_id(dataset, other)) == (one == other)
    assert name != steps.run_id("d" * 62, one)


# ------------------------------------------------------------------------------------------------- what is let out of a failed task


@pytest.mark.parametrize("final", [errors.GateFailed, errors.ReviewMissing, errors.QuarantineBudgetExceeded, errors.KeyMissing])
def test_what_a_person_must_mend_is_not_tried_again(policies: Path, final: type[Exception]) -> None:
    with pytest.raises(steps.AirflowFailException, match="in words"), steps.opened(str(policies / "ward.yaml"), "ward-1"):
        raise final("in words")


@pytest.mark.parametrize("passing", [errors.SourceError, errors.StoreError, errors.StepFailed])
def test_what_may_pass_is_tried_again(policies: Path, passing: type[Exception]) -> None:
    with pytest.raises(passing, match="in words"), steps.opened(str(policies / "ward.yaml"), "ward-1"):
        raise passing("in words")


def test_a_librarys_message_stays_inside(policies: Path) -> None:
    def step() -> None:
        try:
            int(VALUE)
        except ValueError as error:
            raise KeyError(f"no {VALUE}") from error

    with pytest.raises(errors.StepFailed) as caught, steps.opened(str(policies / "ward.yaml"), "ward-1"):
        step()
    told = "".join(traceback.format_exception(caught.value))
    assert "KeyError" in told
    assert "run ward-1" in told
    assert re.search(r"KeyError at test_steps\.py:\d+ \(message withheld", told), "where to look"
    assert VALUE not in str(caught.value)
    assert f"no {VALUE}" not in told


def test_a_run_opens_again_by_its_id_and_an_ended_one_leaves_no_folder(policies: Path) -> None:
    file = str(policies / "ward.yaml")
    with steps.opened(file, "ward-1") as run:
        started, workspace = run.started, run.workspace
    assert workspace.exists()
    with steps.opened(file, "ward-1") as run:
        assert run.started == started
        run.record.put("end", {"outcome": "published"})
    assert not workspace.exists()


def test_a_step_waits_for_no_command_and_is_tried_again(policies: Path) -> None:
    file = policies / "ward.yaml"
    busy = pytest.raises(errors.WorkspaceBusy, match=r"'ward' is under way here \(process \d+\)")
    with exclusive(load(file)), busy, steps.opened(str(file), "ward-1"):
        pytest.fail("the run was opened")
    assert not (policies.parent / "workspace" / "runs").exists()
    with steps.opened(str(file), "ward-1"):
        pass


def test_no_command_works_beside_a_step_but_other_tables_tasks_do(policies: Path) -> None:
    file = str(policies / "ward.yaml")
    with steps.opened(file, "ward-1"):
        with steps.opened(file, "ward-1"):
            pass
        command = [sys.executable, "-m", "anonymize.cli", "run", file, "--run-id", "ward-1"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert refused.returncode == errors.WorkspaceBusy.exit_code
    assert "'ward' is under way here (tasks of run ward-1). Wait until it ends" in refused.stderr
    with exclusive(load(file)):
        pass


def test_worker_processes_start_without_airflows_main_module() -> None:
    main = sys.modules["__main__"]
    with steps.bare_main():
        bare = sys.modules["__main__"]
        assert bare is not main
        assert getattr(bare, "__file__", None) is None
        assert bare.__spec__ is None
    assert sys.modules["__main__"] is main


# ------------------------------------------------------------------------------------------------------------ keys and connections


def variables(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    monkeypatch.setattr(steps, "Variable", SimpleNamespace(get=lambda name, default: given.get(name, default)))


def test_a_key_comes_from_airflows_secrets_and_stays_out_of_logs(policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(steps, "mask_secret", masked.append)
    variables(monkeypatch, ward_key="k" * 32)
    with steps.opened(str(policies / "ehr.yaml"), "ehr-1") as run:
        assert run.key.reference == "airflow:ward_key"
    assert set(masked) == {"k" * 32}


@pytest.mark.parametrize("secret", [None, "short"])
def test_no_key_no_run(policies: Path, monkeypatch: pytest.MonkeyPatch, secret: str | None) -> None:
    variables(monkeypatch, **({"ward_key": secret} if secret else {}))
    with pytest.raises(steps.AirflowFailException, match="ward_key") as caught, steps.opened(str(policies / "ehr.yaml"), "ehr-1"):
        pytest.fail("the run was opened")
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgres://reader:s%40fe@db.example:5433/ehr", "postgresql+psycopg://reader:s%40fe@db.example:5433/ehr"),
        ("postgresql://reader:x@db/ehr?sslmode=require", "postgresql+psycopg://reader:x@db/ehr?sslmode=require"),
        ("mysql+pymysql://reader:x@db/ehr", "mysql+pymysql://reader:x@db/ehr"),
    ],
)
def test_a_connection_is_a_url_that_the_source_knows(monkeypatch: pytest.MonkeyPatch, uri: str, expected: str) -> None:
    connections(monkeypatch, uri=uri)
    assert connection_url("ehr", steps.connection_url) == expected


def test_a_sqlite_connection_names_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    connections(monkeypatch, conn_type="sqlite", host="/data/ehr.db")
    assert steps.connection_url("ehr") == "sqlite:////data/ehr.db"


def test_no_connection_is_an_error_that_tells_nothing_of_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: str) -> Any:
        raise RuntimeError("vault says: password hunter2 is wrong")

    monkeypatch.setattr(steps, "Connection", SimpleNamespace(get=get))
    with pytest.raises(errors.SourceError, match="no connection 'ehr'") as caught:
        steps.connection_url("ehr")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def connections(monkeypatch: pytest.MonkeyPatch, **described: str) -> None:
    from airflow.sdk import Connection

    made = Connection.from_uri(described["uri"], conn_id="ehr") if "uri" in described else Connection(conn_id="ehr", **described)
    monkeypatch.setattr(steps, "Connection", SimpleNamespace(get=lambda _: made))


# ----------------------------------------------------------------------------------------------------------------------- the asset


@pytest.mark.parametrize(
    ("store", "uri"),
    [
        ("s3://research/sets/?endpoint_override=store:8333&scheme=http", "s3://research/sets/ward"),
        ("s3://${ID_OF_TEST}:${SECRET_OF_TEST}@research", "s3://research/ward"),
        ("/var/research", "file:///var/research/ward"),
        ("${STORE_OF_TEST}", "s3://elsewhere/ward"),
    ],
)
def test_the_assets_uri_is_where_the_dataset_lies(policies: Path, monkeypatch: pytest.MonkeyPatch, store: str, uri: str) -> None:
    given = {"STORE_OF_TEST": "s3://elsewhere", "ID_OF_TEST": "id", "SECRET_OF_TEST": "secret"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    file = policies / "ward.yaml"
    file.write_text(file.read_text().replace("store: ../store", f'store: "{store}"'))
    assert road.asset(load(file)).uri == uri


# ------------------------------------------------------------------------------------------------------------- intervals of a backfill


def test_a_table_by_intervals_gives_the_dag_data_intervals(policies: Path) -> None:
    from airflow.timetables.interval import CronDataIntervalTimetable

    file = policies / "ward.yaml"
    text = file.read_text().replace("dataset: ward", "dataset: ward\nschedule: 0 3 * * *")
    by_interval = "  note:\n    incremental: {cursor: written, row: patient_id, interval: true}\n"
    for words, expected in ((text.replace("  note:\n", by_interval), CronDataIntervalTimetable), (text, str)):
        file.write_text(words)
        assert isinstance(road._schedule(load(file)), expected)


def test_a_run_is_asked_for_its_interval_and_keeps_to_it(policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    from anonymize import pipeline
    from anonymize.lasting import kept

    monkeypatch.setenv("ANONYMIZE_KEY", "k" * 40)
    asked: list[Any] = []
    monkeypatch.setattr(pipeline, "check", lambda run: asked.append(kept.asked(run)))
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    for start, end in ((moments[0], moments[1]), (moments[1], moments[2])):
        dag_run = SimpleNamespace(run_id="scheduled-1", data_interval_start=start, data_interval_end=end)
        road.check.function(str(policies / "ward.yaml"), {"go_on": False, "full_refresh": True}, dag_run)
    assert asked == 2 * [{"full_refresh": True, "start": "2026-01-01T00:00:00+00:00", "end": "2026-01-02T00:00:00+00:00"}]
