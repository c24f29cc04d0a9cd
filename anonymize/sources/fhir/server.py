"""A FHIR server's resources as tables: its bulk export, fetched once a run into the run's private folder, and read like any folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from anonymize.policy.origins import FhirSource
from anonymize.sources.base import Malformed
from anonymize.sources.fhir.bulk import Export
from anonymize.sources.fhir.folder import FhirFolder
from anonymize.sources.fhir.reading import Resource
from anonymize.sources.mapping import read_mapping


class FhirServer(FhirFolder):
    """The tables that a mapping makes of a server's export. room: the run's private folder for this source; without a run (a policy that is
    checked by hand) nothing is exported, and the tables are those that the mapping has.

    since: takes what changed from then on, in the place of the policy's.
    """

    def __init__(
        self,
        name: str,
        settings: FhirSource,
        *,
        url: str,
        mapping: str,
        policy_folder: Path,
        room: Path | None = None,
        tables: Sequence[str] = (),
        since: datetime | None = None,
        connections: Callable[[str], str] | None = None,
        ca: Path | None = None,
    ) -> None:
        self.name, self.mapping = name, read_mapping(mapping, policy_folder)
        kinds = {self.mapping[table].kind for table in tables if table in self.mapping}
        self.lenient = settings.absent == "empty"
        self.export: Export | None = None
        if room is not None:
            where = f"source '{name}'"
            self.export = Export(settings, url=url, where=where, room=room, types=sorted(kinds), since=since, connections=connections, ca=ca)
        self._expected = set(settings.types) or kinds or {mapped.kind for mapped in self.mapping.values()}
        self._open(self.export.files if self.export else Path(), room)

    @property
    def cursor(self) -> datetime | None:
        """The moment that the export is as of: the next one's `since`."""
        return self.export.transaction_time if self.export else None

    def deleted(self, kind: str) -> Iterator[str]:
        """The ids of the resources of a kind that were deleted at the server since `since`."""
        self.fetch()
        for one in self.export.deleted() if self.export else ():
            said, _, id = one.partition("/")
            if said == kind:
                yield id

    def fetch(self) -> None:
        """Have the export here. Raises SourceError."""
        if self.export is not None:
            self.export.ensure()

    def kinds(self) -> Collection[str]:
        # A type of which the server has nothing gives no file, and an empty table.
        return set(super().kinds()) | self._expected

    def told(self, table: str) -> dict[str, Any]:
        counts = self.export.counts() if self.export else {}
        return super().told(table) | {name: value for name, value in counts.items() if value}

    def _all(self, kind: str) -> Iterator[Resource | Malformed]:
        yield from super()._all(kind)
        # What the server counted and did not send is missing, resource by resource, so that the quarantine's budget judges it.
        for _ in range(self.export.missing(kind) if self.export else 0):
            yield Malformed(0, "not-sent")

    @cached_property
    def _named(self) -> list[Path]:
        if self.export is None:
            return []
        self.fetch()
        return sorted(file for file in self.path.glob("*.ndjson*") if file.is_file())
