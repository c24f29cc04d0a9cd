"""A folder of FHIR R4 or R5 files, flattened to linked tables by a mapping in YAML that a site can write itself.

The mapping's language stands at the head of `mappings/us-core.yaml`. Resources are walked as plain JSON: an invalid resource gives the
paths that it has, and a line that is no resource is quarantined. What that costs beside models of the standard: docs/sources/fhir.md.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from anonymize.errors import SourceError
from anonymize.sources.base import Malformed
from anonymize.sources.fhir.attachments import attachment_text
from anonymize.sources.fhir.reading import DOCUMENTS, LINES, Resource, resources
from anonymize.sources.fhir.references import References
from anonymize.sources.fhir.seen import Seen
from anonymize.sources.fhir.splitting import Split, split
from anonymize.sources.mapped import MappedSource
from anonymize.sources.mapping import Column, read_mapping, reference_id, reference_type
from anonymize.sources.opening import file_faults

#: What no mapping maps, and is read by others alone.
BINARY = "Binary"


class FhirFolder(MappedSource):
    """The tables that a mapping makes of a folder of files, or of one file: NDJSON as bulk exports write it, Bundles, single resources.

    An NDJSON file holds the resource type that its name (`Patient.000.ndjson`, `1.Patient.ndjson`) or its folder's name says; where neither
    says one, the type of its first resource. Everything else (Bundles, `.json`, packed Binaries) is parted by type first: into `room`, the
    run's private folder; without one it is read anew for each table.
    """

    def __init__(self, name: str, path: Path, *, mapping: str, policy_folder: Path, room: Path | None = None, lenient: bool = False) -> None:
        if not path.exists():
            raise SourceError(f"source '{name}': there is no folder {path}")
        super().__init__(name, read_mapping(mapping, policy_folder))
        self.lenient = lenient
        self._open(path, room)

    def _open(self, path: Path, room: Path | None) -> None:
        self.path, self.room = path, room
        self._references = References(self._resources)
        self._counts: dict[str, dict[str, Any]] = {}

    def kinds(self) -> Collection[str]:
        return (self._files.keys() | self._split.kinds()) - {"", BINARY}

    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:  # noqa: ARG002
        seen = Seen(self.mapping)
        for item in self._all(kind):
            if isinstance(item, Resource):
                seen.see(item)
                yield item.record, len(item.raw)
            else:
                yield item
        self._counts[kind] = {"unseen": seen.told(), **self._split.told(kind)}

    def told(self, table: str) -> dict[str, Any]:
        """Of a table that was read to its end: paths that were not seen before with how often (`unseen`), `duplicates` that were left out, and
        the `files` that are of no use to anybody here."""
        counts = self._counts.get(self.mapping[table].kind, {})
        ignored = {"files_without_resources": len(self._ignored)} if self._ignored else {}
        return {name: value for name, value in (counts | ignored).items() if value}

    def value(self, column: Column, element: Any, record: dict[str, Any]) -> str | None:
        nodes = column.nodes(element, record)
        if column.take == "reference":
            name = next((step.field for step in reversed(column.path) if step.field != "reference"), "")
            found = (self._references.id_of(node, record, name, column.of) for node in nodes)
            return next((id for id in found if id is not None), None)
        if column.take == "attachment":
            return attachment_text(nodes, self._binary)
        if column.take in ("code", "display", "system"):
            return column.of_nodes(nodes)
        # An object where a value should be is not valid, and what it holds was decided by nobody.
        return column.of_nodes([node for node in nodes if not isinstance(node, dict | list)])

    def _all(self, kind: str) -> Iterator[Resource | Malformed]:
        """Everything of a kind; what is of no kind that can be told is told with the first kind, Patient where there is one."""
        for file in self._files.get(kind, []):
            for item in resources(file):
                if isinstance(item, Resource) and item.kind != kind:
                    item = Malformed(0, "other-resource-type", raw=json.dumps(item.record))
                yield item
        yield from self._split.items(kind)
        if kind == ("Patient" if "Patient" in self.kinds() else min(self.kinds(), default="")):
            yield from self._split.items("")
            for file in self._files.get("", []):
                for item in resources(file):
                    if isinstance(item, Malformed):
                        yield item
                    elif item.kind:
                        yield Malformed(0, "other-resource-type", raw=json.dumps(item.record))

    def _resources(self, kind: str) -> Iterator[dict[str, Any]]:
        return (item.record for item in self._all(kind) if isinstance(item, Resource))

    # ---------------------------------------------------------------------------------------------------------------------- files

    @cached_property
    def _named(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        with file_faults(f"source '{self.name}'", self.path):
            return sorted(file for file in self.path.rglob("*") if file.name[0] not in "._" and file.is_file())

    @cached_property
    def _ignored(self) -> list[Path]:
        """Files that are none of FHIR's, by their names."""
        return [file for file in self._named if not file.name.lower().endswith(LINES + DOCUMENTS)]

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """NDJSON files of one resource type each, in the order of their names; under '' those of none (an export's log)."""
        found: dict[str, list[Path]] = {}
        for file in self._named:
            if file.suffix == ".gz" and file.with_suffix("") in self._named:
                raise SourceError(f"source '{self.name}': {file} is there both packed and unpacked. Remove one, or its records count twice")
            kind = self._kind(file) if file.name.lower().endswith(LINES) else None
            if kind is not None:
                found.setdefault(kind, []).append(file)
        return found

    @cached_property
    def _split(self) -> Split:
        """What has to be parted by type first."""
        alone = {file for files in self._files.values() for file in files}
        rest = [file for file in self._named if file not in alone and file not in self._ignored]
        return split(rest, self.room / "by-type" if self.room else None)

    def _kind(self, file: Path) -> str | None:
        """The resource type that an NDJSON file is of; '' where it is of none; None where it has to be parted."""
        known = {mapped.kind for mapped in self.mapping.values()} | {BINARY}
        kind = None
        for name in (file.name, file.parent.name if file.parent != self.path else ""):
            said = known & set(re.findall(r"[A-Za-z]+", name))
            if kind is None and len(said) == 1:
                kind = said.pop()
        if kind is None:
            kinds = Counter(item.kind for _, item in zip(range(20), resources(file), strict=False) if isinstance(item, Resource))
            if len(kinds) > 1 or _bundled(file):
                return None
            kind = next(iter(kinds), "")
        return None if kind == BINARY and file.suffix == ".gz" else kind

    # ------------------------------------------------------------------------------------------------------------------- binaries

    def _binary(self, address: str) -> dict[str, Any] | None:
        """A Binary of this source, by an attachment's address, which is not followed."""
        if reference_type(address) != BINARY and not address.startswith("urn:uuid:"):
            return None
        place = self._binaries.get(reference_id(address))
        if place is None:
            return None
        file, at = place
        with file.open("rb") as stream:
            stream.seek(at)
            found = json.loads(stream.readline())
        return found if isinstance(found, dict) else None

    @cached_property
    def _binaries(self) -> dict[str, tuple[Path, int]]:
        """Where each Binary stands: id -> file and byte."""
        places: dict[str, tuple[Path, int]] = {}
        for file in [*self._files.get(BINARY, []), *self._split.files(BINARY)]:
            with file_faults(f"source '{self.name}'", file), file.open("rb") as stream:
                at = 0
                for line in stream:
                    try:
                        record = json.loads(line)
                    except ValueError:
                        record = None
                    if isinstance(record, dict) and record.get("resourceType") == BINARY and isinstance(record.get("id"), str):
                        places[record["id"]] = (file, at)
                    at += len(line)
        return places


def _bundled(file: Path) -> bool:
    from anonymize.sources.opening import open_bytes

    try:
        with open_bytes(file) as stream:
            return re.search(rb'"resourceType"\s*:\s*"Bundle"', stream.read(4096)) is not None
    except (OSError, EOFError):
        return False
