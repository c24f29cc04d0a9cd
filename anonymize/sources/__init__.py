"""Where records come from: one module a kind of source, each a catalogue and one generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from anonymize.policy import origins
from anonymize.policy.environment import expand
from anonymize.policy.model import Policy
from anonymize.sources.base import Source

if TYPE_CHECKING:
    from anonymize.sources.places import Tree

__all__ = ["Source", "open_source"]

Connections = Callable[[str], str]


def open_source(
    name: str, settings: origins.Source, policy: Policy, connections: Connections | None = None, *, room: Path | None = None
) -> Source:
    """A policy's source, ready to be read.

    connections: resolves an Airflow connection's id to its URL; without it `AIRFLOW_CONN_<ID>` of the environment is read. room: the run's
    private folder for what a source has to fetch or part first; without one (a policy that is checked by hand) nothing is fetched.
    Raises SourceError where the source is not there, AnonymizeError where a name in it is not set.
    """

    def said(text: str) -> str:
        return expand(text, f"source '{name}'")

    if isinstance(settings, origins.SqlSource):
        from anonymize.sources.sql import connection_url, open_database

        url = said(settings.url) if settings.url else connection_url(settings.connection or "", connections)
        return open_database(name, url, settings, folder=policy.file.parent)
    where = said(settings.path or "")
    if isinstance(settings, origins.FileSource):
        from anonymize.sources.files import FileFolder

        return FileFolder(name, _tree(name, settings, where, policy, connections), settings, policy.file.parent)
    mapping, beside = said(settings.mapping), policy.file.parent
    if isinstance(settings, origins.DicomSource):
        from anonymize.sources.dicom import DicomFolder

        return DicomFolder(name, _tree(name, settings, where, policy, connections), settings, mapping=mapping, policy_folder=beside)
    if isinstance(settings, origins.TranscriptSource):
        from anonymize.sources.transcripts import Transcripts

        return Transcripts(name, _tree(name, settings, where, policy, connections), settings, mapping=mapping, policy_folder=beside)
    tables = [spec.from_ or table for table, spec in policy.tables.items() if policy.source_of(table)[0] == name]
    if isinstance(settings, origins.FhirSource) and settings.url is not None:
        from anonymize.sources.fhir.server import FhirServer

        return FhirServer(
            name,
            settings.model_copy(update={"auth": _expanded(settings.auth, name)}),
            url=said(settings.url),
            mapping=mapping,
            policy_folder=beside,
            room=room / name if room else None,
            tables=tables,
            connections=connections,
            ca=policy.path(settings.ca) if settings.ca else None,
        )
    folder = Path(where) if Path(where).is_absolute() else policy.path(where)
    if isinstance(settings, origins.CdaSource):
        from anonymize.sources.cda import CdaFolder

        return CdaFolder(name, folder, mapping=mapping, policy_folder=beside, files=settings.files, id_roots=settings.id_roots, told=tables)
    if isinstance(settings, origins.Hl7Source):
        from anonymize.sources.hl7v2 import Hl7Folder

        return Hl7Folder(
            name,
            folder,
            mapping=mapping,
            policy_folder=beside,
            files=settings.files,
            encoding=settings.encoding,
            id_types=settings.id_types,
            id_authorities=settings.id_authorities,
            merges=settings.merges,
            told=tables,
        )
    from anonymize.sources.fhir.folder import FhirFolder

    lenient = settings.absent == "empty"
    return FhirFolder(name, folder, mapping=mapping, policy_folder=beside, room=room / name if room else None, lenient=lenient)


def _tree(
    name: str,
    settings: origins.FileSource | origins.DicomSource | origins.TranscriptSource,
    where: str,
    policy: Policy,
    connections: Connections | None,
) -> Tree:
    """The folder, archive or object store that a source's files lie in."""
    from anonymize.sources.connections import connection_text
    from anonymize.sources.places import open_place

    secret = connection_text(settings.connection, connections) if settings.connection else None
    return open_place(name, where, policy.path, secret)


def _expanded(auth: origins.FhirAuth | None, name: str) -> origins.FhirAuth | None:
    """With what the environment says in the place of `${NAME}`."""
    given = {word: getattr(auth, word) for word in ("client", "kid", "scope", "token_url")} if auth else {}
    return auth.model_copy(update={word: expand(text, f"source '{name}'") for word, text in given.items() if text}) if auth else None
