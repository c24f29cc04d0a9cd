"""Where records come from: one module a kind of source, each a catalogue and one generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anonymize.policy import origins
from anonymize.policy.environment import expand
from anonymize.policy.model import Policy
from anonymize.sources.base import Source

__all__ = ["Source", "open_source"]

Connections = Callable[[str], str]


def open_source(name: str, settings: origins.Source, policy: Policy, connections: Connections | None = None) -> Source:
    """A policy's source, ready to be read.

    connections: resolves an Airflow connection's id to its URL; without it `AIRFLOW_CONN_<ID>` of the environment is read.
    Raises SourceError where the source is not there, AnonymizeError where a name in it is not set.
    """
    if isinstance(settings, origins.SqlSource):
        from anonymize.sources.sql import connection_url, open_database

        url = expand(settings.url, f"source '{name}'") if settings.url else connection_url(settings.connection or "", connections)
        return open_database(name, url, settings, folder=policy.file.parent)
    folder = Path(expand(settings.path, f"source '{name}'"))
    folder = folder if folder.is_absolute() else policy.path(str(folder))
    if isinstance(settings, origins.FhirSource):
        from anonymize.sources.fhir.folder import FhirFolder

        return FhirFolder(name, folder, mapping=expand(settings.mapping, f"source '{name}'"), policy_folder=policy.file.parent)
    from anonymize.sources.files import FileFolder

    return FileFolder(name, folder, settings)
