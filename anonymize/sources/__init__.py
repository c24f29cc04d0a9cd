"""Where records come from: one module a kind of source, each a catalogue and one generator."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from anonymize.errors import SourceError
from anonymize.policy.model import FhirSource, FileSource, Policy, SqlSource
from anonymize.sources.base import Source

__all__ = ["Source", "open_source"]

Connections = Callable[[str], str]


def open_source(name: str, settings: SqlSource | FileSource | FhirSource, policy: Policy, connections: Connections | None = None) -> Source:
    """A policy's source, ready to be read.

    connections: resolves an Airflow connection's id to its URL; without it `AIRFLOW_CONN_<ID>` of the environment is read.
    Raises SourceError where the source is not there or a name in it is not set.
    """
    if isinstance(settings, SqlSource):
        from anonymize.sources.sql import SqlDatabase, connection_url

        url = expand(settings.url, name) if settings.url else connection_url(settings.connection or "", connections)
        return SqlDatabase(name, url, schema=settings.schema_name, batch_rows=settings.batch_rows, folder=policy.file.parent)
    folder = Path(expand(settings.path, name))
    folder = folder if folder.is_absolute() else policy.path(str(folder))
    if isinstance(settings, FhirSource):
        from anonymize.sources.fhir import FhirFolder

        return FhirFolder(name, folder, mapping=settings.mapping, policy_folder=policy.file.parent)
    from anonymize.sources.files import FileFolder

    return FileFolder(name, folder, settings)


def expand(text: str, source: str) -> str:
    """Put the environment's values in the place of `${NAME}`. Raises SourceError that names what is not set."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise SourceError(f"source '{source}': ${{{match[1]}}} is not set in the environment")
        return found

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)
