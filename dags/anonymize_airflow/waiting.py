"""A FHIR server's export takes minutes to days: it is asked for, waited for by the triggerer without holding a worker, and fetched.

The state of the export lies in the run's workspace, which workers and triggerer share; what Airflow stores are names alone, no address.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from anonymize.errors import AnonymizeError, without_values
from anonymize_airflow.steps import connection_url, named, opened

if TYPE_CHECKING:
    from airflow.sdk import Context

    from anonymize.policy.model import Policy
    from anonymize.sources.fhir.bulk import Export, Waiting


def exports(policy: Policy, file: str) -> list[ExportOperator]:
    """A task for each of the policy's sources that has to be asked for an export."""
    from anonymize.policy.origins import FhirSource

    asked = {name: one for name, one in policy.sources.items() if isinstance(one, FhirSource) and one.url is not None}
    return [
        ExportOperator(task_id=f"export-{name}", policy_file=file, source=name, patience=timedelta(hours=one.timeout_hours))
        for name, one in asked.items()
    ]


def export(policy_file: str, run: str, source: str) -> Export:
    """The export of a run's source. Raises SourceError where the source is no server."""
    from anonymize.errors import SourceError
    from anonymize.policy.loader import load
    from anonymize.sources import open_source
    from anonymize.sources.fhir.server import FhirServer

    policy = load(policy_file)
    room = policy.path(policy.workspace) / "runs" / run / "sources"
    found = open_source(source, policy.sources[source], policy, connection_url, room=room)
    if not isinstance(found, FhirServer) or found.export is None:
        raise SourceError(f"source '{source}' is no server that exports")
    return found.export


class ExportTrigger(BaseTrigger):
    """Asks whether an export is done, as often as the server says; one event when it is, or when it cannot be."""

    def __init__(self, policy_file: str, run: str, source: str) -> None:
        super().__init__()
        self.policy_file, self.run_name, self.source = policy_file, run, source

    def serialize(self) -> tuple[str, dict[str, Any]]:
        given = {"policy_file": self.policy_file, "run": self.run_name, "source": self.source}
        return "anonymize_airflow.waiting.ExportTrigger", given

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            while (waiting := await sync_to_async(self._ask, thread_sensitive=False)()) is not None:
                await asyncio.sleep(waiting.seconds)
        except AnonymizeError as error:
            yield TriggerEvent({"error": str(error)})
            return
        yield TriggerEvent({"error": None})

    def _ask(self) -> Waiting | None:
        with without_values(f"run {self.run_name}, source '{self.source}'"):
            return export(self.policy_file, self.run_name, self.source).poll()


class ExportOperator(BaseOperator):
    """Has the export of one source in the run's workspace before any other task reads it. Tried again, it goes on with the same export."""

    def __init__(self, *, policy_file: str, source: str, patience: timedelta, **settings: Any) -> None:
        super().__init__(**settings)
        self.policy_file, self.source, self.patience = policy_file, source, patience

    def execute(self, context: Context) -> Any:
        run = named(self.policy_file, context["params"], context["dag_run"])
        with opened(self.policy_file, run):
            export(self.policy_file, run, self.source).begin()
        self._wait(run)

    def fetch(self, context: Context, event: dict[str, Any]) -> dict[str, int]:
        """The export is done, or cannot be."""
        run = named(self.policy_file, context["params"], context["dag_run"])
        if event["error"] is not None:
            raise AirflowException(event["error"])
        with opened(self.policy_file, run):
            found = export(self.policy_file, run, self.source)
            fetched = found.load()
            if not fetched:
                found.begin()
        if not fetched:
            self._wait(run)
        return found.counts()

    def _wait(self, run: str) -> NoReturn:
        self.defer(trigger=ExportTrigger(self.policy_file, run, self.source), method_name="fetch", timeout=self.patience)
