"""What every task does before and after its step: open the run, hand in its key and connections, let no value out."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection, Variable, get_current_context
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.log import mask_secret

from anonymize import keys
from anonymize.errors import GateFailed, KeyMissing, PolicyError, QuarantineBudgetExceeded, ReviewMissing, SourceError, without_values
from anonymize.policy.loader import load
from anonymize_airflow.metrics import Metrics

if TYPE_CHECKING:
    from anonymize.policy.model import Policy
    from anonymize.run import Run

#: What trying again cannot mend: a person must act first.
FINAL = (PolicyError, KeyMissing, GateFailed, ReviewMissing, QuarantineBudgetExceeded)
log = logging.getLogger("anonymize")


def run_id(dataset: str, dag_run_id: str) -> str:
    """The run's id, derived from the DAG run's: a retried or cleared task, on whatever worker, opens the same run again.

    Airflow's ids may hold characters that a folder's name may not, and two datasets' runs may have the same one: hence dataset and hash.
    """
    readable = re.sub(r"[^A-Za-z0-9_.+-]", "-", dag_run_id)[:48]
    return f"{dataset}-{readable}-{hashlib.sha256(dag_run_id.encode()).hexdigest()[:8]}"


def named(policy_file: str, params: Any, dag_run: Any) -> str:
    """The id of the run that a DAG run's tasks are of: its own, or where it goes on with one, the newest unfinished one's, whose workspace
    was kept. Once the run is open, every task finds the same."""
    from anonymize.run import unfinished

    policy = load(policy_file)
    before = unfinished(policy.path(policy.workspace), policy) if params["go_on"] else None
    return before or run_id(policy.dataset, dag_run.run_id)


@contextmanager
def opened(policy_file: str, run_id: str) -> Iterator[Run]:
    """The run of that id, with its key and connections from Airflow. While it is open no command works on the dataset; other tasks may.

    Raises AirflowFailException, which is not tried again, where a person must act first; any other error of the library as it is, so
    WorkspaceBusy while a command works on the dataset; and whatever else happens as StepFailed without its message, which could hold a
    record's value.
    """
    from anonymize import trail
    from anonymize.run import Run, shared

    try:
        with without_values(f"run {run_id}"), bare_main(), trail.acting(asked_by()):
            policy = load(policy_file)
            provide_key(policy)
            with shared(policy, run_id):
                run = Run.open(policy, run_id=run_id, connections=connection_url, watcher=Metrics(policy.dataset, log.info))
                try:
                    yield run
                finally:
                    run.close(remove=run.record.get("end") is not None)  # opening a run that has ended makes its folder again
    except FINAL as error:
        raise AirflowFailException(str(error)) from None


def asked_by() -> str | None:
    """Who triggered the DAG run that a task is of, for the audit trail; `airflow (scheduled)` where nobody did."""
    try:
        dag_run = get_current_context()["dag_run"]
    except (RuntimeError, KeyError):
        return None
    return dag_run.triggering_user_name or f"airflow ({dag_run.run_type})"


@contextmanager
def bare_main() -> Iterator[None]:
    """Let the engine's worker processes start bare. A spawned process imports its parent's main module first; here that is Airflow, which
    refuses to be set up again within a task, and nothing of ours is defined there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def provide_key(policy: Policy) -> None:
    """Hand the keys that `airflow:NAME` names, Variables in any secrets backend, to the library; keep every key out of the logs."""
    for reference in (policy.key, policy.trail.key or ""):
        scheme, _, name = reference.partition(":")
        if scheme == "airflow":
            secret = Variable.get(name, default=None)
            if secret:
                keys.provide(reference, secret)
                mask_secret(secret)
    mask_secret(keys.resolve(policy.key).decode(errors="replace"))


def connection_url(connection_id: str) -> str:
    """The URL of an Airflow connection, from any secrets backend. Raises SourceError where there is none, without what was said of it."""
    try:
        connection = Connection.get(connection_id)
    except Exception:
        raise SourceError(f"no connection '{connection_id}': define it in Airflow (Admin > Connections)") from None
    if connection.conn_type == "sqlite":  # its file stands in `host` or `schema`, which is no SQLAlchemy URL
        return f"sqlite:///{connection.schema or connection.host}"
    return connection.get_uri()
