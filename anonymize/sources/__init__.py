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


def open_source(
    name: str, settings: origins.Source, policy: Policy, connections: Connections | None = None, *, room: Path | None = None
) -> Source:
    """A policy's source, ready to be read.

    connections: resolves an Airflow connection's id to its URL; without it `AIRFLOW_CONN_<ID>` of the environment is read. room: the run's
    private folder for what a source has to fetch or part first; without one (a policy that is checked by hand) nothing is fetched.
    Raises SourceError where the source is not there, AnonymizeError where a name in it is not set.
    """
    if isinstance(settings, origins.SqlSource):
        from anonymize.sources.sql import connection_url, open_database

        url = expand(settings.url, f"source '{name}'") if settings.url else connection_url(settings.connection or "", connections)
        return open_database(name, url, settings, folder=policy.file.parent)
    if isinstance(settings, origins.FhirSource) and settings.url is not None:
        from anonymize.sources.fhir.server import FhirServer

        return FhirServer(
            name,
            settings.model_copy(update={"auth": _expanded(settings.auth, name)}),
            url=expand(settings.url, f"source '{name}'"),
            mapping=expand(settings.mapping, f"source '{name}'"),
            policy_folder=policy.file.parent,
            room=room / name if room else None,
            tables=[spec.from_ or table for table, spec in policy.tables.items() if policy.source_of(table)[0] == name],
            connections=connections,
            ca=policy.path(settings.ca) if settings.ca else None,
        )
    where = expand(settings.path or "", f"source '{name}'")
    if isinstance(settings, origins.FileSource):
        from anonymize.sources.connections import connection_text
        from anonymize.sources.files import FileFolder
        from anonymize.sources.places import open_place

        secret = connection_text(settings.connection, connections) if settings.connection else None
        return FileFolder(name, open_place(name, where, policy.path, secret), settings, policy.file.parent)
    if isinstance(settings, origins.DicomSource):
        from anonymize.sources.connections import connection_text
        from anonymize.sources.dicom import DicomFolder
        from anonymize.sources.places import open_place

        secret = connection_text(settings.connection, connections) if settings.connection else None
        tree = open_place(name, where, policy.path, secret)
        return DicomFolder(name, tree, settings, mapping=expand(settings.mapping, f"source '{name}'"), policy_folder=policy.file.parent)
    if isinstance(settings, origins.TranscriptSource):
        from anonymize.sources.connections import connection_text
        from anonymize.sources.places import open_place
        from anonymize.sources.transcripts import Transcripts

        secret = connection_text(settings.connection, connections) if settings.connection else None
        tree = open_place(name, where, policy.path, secret)
        return Transcripts(name, tree, settings, mapping=expand(settings.mapping, f"source '{name}'"), policy_folder=policy.file.parent)
    folder = Path(where)
    folder = folder if folder.is_absolute() else policy.path(str(folder))
    if isinstance(settings, origins.Hl7Source | origins.CdaSource):
        told = [spec.from_ or table for table, spec in policy.tables.items() if policy.source_of(table)[0] == name]
        mapping = expand(settings.mapping, f"source '{name}'")
        if isinstance(settings, origins.CdaSource):
            from anonymize.sources.cda import CdaFolder

            return CdaFolder(
                name, folder, mapping=mapping, policy_folder=policy.file.parent, files=settings.files, id_roots=settings.id_roots, told=told
            )
        from anonymize.sources.hl7v2 import Hl7Folder

        return Hl7Folder(
            name,
            folder,
            mapping=mapping,
            policy_folder=policy.file.parent,
            files=settings.files,
            encoding=settings.encoding,
            id_types=settings.id_types,
            id_authorities=settings.id_authorities,
            merges=settings.merges,
            told=told,
        )
    from anonymize.sources.fhir.folder import FhirFolder

    mapping, lenient = expand(settings.mapping, f"source '{name}'"), settings.absent == "empty"
    return FhirFolder(name, folder, mapping=mapping, policy_folder=policy.file.parent, room=room / name if room else None, lenient=lenient)


def _expanded(auth: origins.FhirAuth | None, name: str) -> origins.FhirAuth | None:
    """With what the environment says in the place of `${NAME}`."""
    given = {word: getattr(auth, word) for word in ("client", "kid", "scope", "token_url")} if auth else {}
    return auth.model_copy(update={word: expand(text, f"source '{name}'") for word, text in given.items() if text}) if auth else None
