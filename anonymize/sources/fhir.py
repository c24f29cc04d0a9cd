"""A FHIR R4 bulk-export folder (NDJSON), flattened to linked tables by a mapping in YAML that a site can write itself.

The mapping's language stands at the head of `mappings/us-core.yaml`. Resources are walked as plain JSON: an invalid resource gives the
paths that it has, and a line that is no resource is quarantined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from anonymize.errors import SourceError
from anonymize.sources.base import Malformed
from anonymize.sources.json_lines import json_lines
from anonymize.sources.mapped import MappedSource
from anonymize.sources.mapping import read_mapping, reference_id
from anonymize.sources.opening import file_faults

__all__ = ["FhirFolder", "reference_id"]

SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")


class FhirFolder(MappedSource):
    """The tables that a mapping makes of a folder of NDJSON files.

    A file holds the resource type that its name (`Patient.000.ndjson`, `1.Patient.ndjson`) or its folder's name says; where neither says
    one, the type of its first resource.
    """

    def __init__(self, name: str, path: Path, *, mapping: str, policy_folder: Path) -> None:
        if not path.is_dir():
            raise SourceError(f"source '{name}': there is no folder {path}")
        super().__init__(name, read_mapping(mapping, policy_folder))
        self.path = path

    def kinds(self) -> Collection[str]:
        return self._files.keys()

    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
        for file in self._files[kind]:
            with file_faults(where, file):
                for item in json_lines(file):
                    if not isinstance(item, Malformed) and item[0].get("resourceType") != kind:
                        item = Malformed(0, "other-resource-type", raw=json.dumps(item[0]))
                    yield item

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """The folder's files by resource type, in the order of their names."""
        found: dict[str, list[Path]] = {}
        with file_faults(f"source '{self.name}'", self.path):
            files = sorted(file for file in self.path.rglob("*") if file.name.lower().endswith(SUFFIXES) and file.name[0] not in "._")
        for file in files:
            if file.suffix == ".gz" and file.with_suffix("") in files:
                raise SourceError(f"source '{self.name}': {file} is there both packed and unpacked. Remove one, or its records count twice")
            found.setdefault(self._resource_type(file), []).append(file)
        found.pop("", None)
        return found

    def _resource_type(self, file: Path) -> str:
        known = {mapped.kind for mapped in self.mapping.values()}
        for name in (file.name, file.parent.name if file.parent != self.path else ""):
            said = known & set(re.findall(r"[A-Za-z]+", name))
            if len(said) == 1:
                return said.pop()
        with file_faults(f"source '{self.name}'", file):
            first = next((item[0] for item in json_lines(file) if not isinstance(item, Malformed)), {})
        return str(first.get("resourceType", ""))

