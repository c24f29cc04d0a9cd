"""The DAG of a policy: the six steps in their order, tables side by side, a steward before the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk import DAG, Asset, Param, chain, task
from airflow.sdk.exceptions import AirflowSkipException

from anonymize.policy.environment import expand
from anonymize_airflow.review import ReviewOperator, form
from anonymize_airflow.steps import named, opened
from anonymize_airflow.waiting import exports

if TYPE_CHECKING:
    from anonymize.policy.model import Policy

Counts = dict[str, Any]

#: Every step may be tried again: what is done is not done twice. A source that is down for minutes does not end the run.
DEFAULTS = {"owner": "anonymize", "retries": 3, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": True}
TABLE_NAME = "{{ task.op_kwargs['table'] }}"


def road(policy: Policy) -> DAG:
    """The DAG of a policy; its id is the dataset. Raises whatever Airflow says of a schedule that it does not know."""
    with DAG(
        dag_id=policy.dataset,
        dag_display_name=policy.release.title or policy.dataset,
        description=policy.description or None,
        doc_md=_page(policy),
        schedule=_schedule(policy),
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULTS,
        params=_params(),
        tags=["anonymize"],
        auto_register=False,
    ) as dag:
        file, tables = str(policy.file), list(policy.tables)
        run = check(file)
        for export in exports(policy, file):
            chain(export, run)
        steps = [
            extract.partial(policy_file=file, run=run).expand(table=tables),
            collect(file, run),
            deidentify.partial(policy_file=file, run=run).expand(table=tables),
            generalize(file, run),
            validate(file, run),
        ]
        if policy.review.required:
            steps += reviews(policy, file, run)
        chain(*steps, publish.override(outlets=[asset(policy)])(file, run))
    dag.validate()
    return dag


def asset(policy: Policy) -> Asset:
    """The published dataset: other DAGs may be scheduled on it. Its URI is where the dataset lies, without options or credentials."""
    store = expand(policy.release.store, policy.where("release", "store"))
    if "://" not in store:
        store = policy.path(store).as_uri()
    parts = urlsplit(store)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/{policy.dataset}", query="", fragment="")
    return Asset(name=policy.dataset, uri=urlunsplit(place))


def _schedule(policy: Policy) -> Any:
    """The policy's; where a table is read by Airflow's intervals, one that has them. Airflow's own of a cron line has none."""
    if policy.schedule is None or not any(spec.incremental and spec.incremental.interval for spec in policy.tables.values()):
        return policy.schedule
    from airflow.timetables.interval import CronDataIntervalTimetable

    return CronDataIntervalTimetable(policy.schedule, timezone="UTC")


def _params() -> dict[str, Param]:
    return {
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Stop after the gates: no steward is asked, nothing is published.",
        ),
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description="Read everything from the sources anew, also of tables that are read by increments.",
        ),
        "go_on": Param(
            False,
            type="boolean",
            title="Go on",
            description="Go on with this dataset's newest unfinished run, where there is one, whose workspace was kept after a failure or a dry "
            "run. Off: begin a new run.",
        ),
    }


def reviews(policy: Policy, file: str, run: Any) -> list[ReviewOperator]:
    """The stewards' tasks, one a signature. They have no retries: who did not answer in time is asked again by a person who clears the task."""
    names = ("review", "countersign")[: policy.review.stewards]
    patience = timedelta(days=policy.review.timeout_days)
    common: dict[str, Any] = {"policy_file": file, "run": run, "response_timeout": patience, "retries": 0}
    return [ReviewOperator(task_id=name, params=form(), second=name == "countersign", **common) for name in names]


def _page(policy: Policy) -> str:
    """The DAG's page in the UI: which tables and columns leave, and how."""
    lines = [policy.description, "", f"Policy: `{policy.file.name}`. k = {policy.privacy.k}, counted in subjects.", ""]
    lines += ["| table | columns that leave |", "| --- | --- |"]
    for name, table in policy.tables.items():
        leaving = [f"{rule.rename or column} ({rule.role}, {rule.method})" for column, rule in table.columns.items() if rule.leaves]
        lines.append(f"| {name} | {', '.join(leaving)} |")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------- the tasks: each calls one step


@task(multiple_outputs=False)
def check(policy_file: str, params: Any = None, dag_run: Any = None) -> str:
    """Hold the policy against the live sources, and name the run for all tasks after."""
    from anonymize import pipeline
    from anonymize.lasting import kept

    with opened(policy_file, named(policy_file, params, dag_run)) as run:
        run.record.put("airflow", {"dag_run_id": dag_run.run_id})
        start, end = (moment.isoformat() if moment else None for moment in (dag_run.data_interval_start, dag_run.data_interval_end))
        kept.ask(run, full_refresh=params["full_refresh"], start=start, end=end)
        pipeline.check(run)
        return run.id


@task(multiple_outputs=False, map_index_template=TABLE_NAME, max_active_tis_per_dagrun=4)
def extract(policy_file: str, run: str, table: str) -> Counts:
    from anonymize import pipeline

    with opened(policy_file, run) as this:
        return pipeline.extract(this, table)


@task(multiple_outputs=False)
def collect(policy_file: str, run: str) -> Counts:
    from anonymize import pipeline

    with opened(policy_file, run) as this:
        return pipeline.collect(this)


# One table at a time: the engine uses every core for each.
@task(multiple_outputs=False, map_index_template=TABLE_NAME, max_active_tis_per_dagrun=1)
def deidentify(policy_file: str, run: str, table: str) -> Counts:
    from anonymize import pipeline

    with opened(policy_file, run) as this:
        return pipeline.deidentify(this, table)


@task(multiple_outputs=False)
def generalize(policy_file: str, run: str) -> Counts:
    from anonymize import pipeline

    with opened(policy_file, run) as this:
        return pipeline.generalize(this)


@task(multiple_outputs=False)
def validate(policy_file: str, run: str) -> Counts:
    from anonymize import pipeline

    with opened(policy_file, run) as this:
        return pipeline.validate(this)


@task(multiple_outputs=False)
def publish(policy_file: str, run: str, params: Any = None, task: Any = None, outlet_events: Any = None) -> Counts:
    from anonymize import pipeline

    if params["dry_run"]:
        raise AirflowSkipException("a dry run publishes nothing")
    with opened(policy_file, run) as this:
        counts = pipeline.publish(this)
    outlet_events[task.outlets[0]].extra = counts
    return counts
