"""What Airflow knows of a run: who asked for it, how it stands, and the question that waits for a steward."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.jobs.job import Job
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import func, select

TASKS = ("review", "countersign")
SETTLING = timedelta(seconds=10)
"""A task that is answered before the scheduler has taken note that its worker ended is failed by the scheduler (Airflow 3.3)."""
PATIENCE_SECONDS = 45


@dataclass(frozen=True)
class Asked:
    """A DAG run: who asked for it (empty: a schedule), and its state in Airflow's words."""

    dag_run_id: str
    by: str
    state: str
    started: datetime


@dataclass(frozen=True)
class Question:
    """The task that waits for a steward's answer."""

    dataset: str
    dag_run_id: str
    task: str
    since: datetime


def dag_runs(datasets: Collection[str]) -> dict[tuple[str, str], Asked]:
    """The DAG runs of some datasets, by dataset and id."""
    fields = (DagRun.dag_id, DagRun.run_id, DagRun.triggering_user_name, DagRun.state, DagRun.queued_at, DagRun.run_after)
    with create_session(scoped=False) as session:
        found = session.execute(select(*fields).where(DagRun.dag_id.in_(datasets))).all()
    return {(dag, run): Asked(run, by or "", str(state), queued or after) for dag, run, by, state, queued, after in found}


def question(dataset: str, dag_run_id: str | None) -> Question | None:
    """The question of a DAG run that waits for an answer; None where none does."""
    if dag_run_id is None:
        return None
    waiting = (
        select(TaskInstance.task_id, TaskInstance.updated_at, HITLDetail.created_at)
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(TaskInstance.dag_id == dataset, TaskInstance.run_id == dag_run_id, TaskInstance.task_id.in_(TASKS))
        .where(TaskInstance.state == TaskInstanceState.AWAITING_INPUT, HITLDetail.responded_at.is_(None))
    )
    with create_session(scoped=False) as session:
        found = session.execute(waiting).first()
    return Question(dataset, dag_run_id, found[0], found[1] or found[2]) if found else None


def settled(asked: Question) -> bool:
    """Whether the scheduler has gone its round well after the task began to wait, so that an answer cannot meet it half-way."""
    beat = select(func.max(Job.latest_heartbeat)).where(Job.job_type == "SchedulerJob")
    with create_session(scoped=False) as session:
        latest = session.scalar(beat)
    return latest is not None and latest > asked.since + SETTLING


def wait_until_settled(asked: Question) -> bool:
    """Wait for it; False where it takes too long, as where no scheduler runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not settled(asked):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def answer(asked: Question, user: BaseUser, *, approve: bool, reason: str, shown: str) -> None:
    """Give a steward's answer as Airflow's own page does, so that the DAG goes on at once. Raises HTTPException as Airflow's API does: 409
    where another was quicker, 404 where the task was cleared meanwhile."""
    said = UpdateHITLDetailPayload(chosen_options=["Approve" if approve else "Reject"], params_input={"reason": reason, "shown": shown})
    with create_session(scoped=False) as session:
        session.add(_logged(asked, user))
        update_hitl_detail(asked.dataset, asked.dag_run_id, asked.task, said, user, session, map_index=-1)


def _logged(asked: Question, user: BaseUser) -> Log:
    """The line of Airflow's own log of events that its API writes for an answer."""
    name = user.get_name()
    where = {"dag_id": asked.dataset, "run_id": asked.dag_run_id, "task_id": asked.task}
    return Log(event="update_hitl_detail", task_instance=None, owner=name, owner_display_name=name, extra='{"from": "desk"}', **where)
