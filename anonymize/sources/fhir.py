"""A FHIR R4 bulk-export folder (NDJSON), flattened to linked tables by a mapping in YAML that a site can write itself.

The mapping's language stands at the head of `mappings/us-core.yaml`. Resources are walked as plain JSON: an invalid resource gives the
paths that it has, and a line that is no resource is quarantined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from anonymize.errors import SourceError, without_values
from anonymize.policy.nearest import nearest
from anonymize.sources.base import Malformed
from anonymize.sources.conform import convert, text_batch, wanted_types
from anonymize.sources.json_lines import json_lines
from anonymize.sources.mapping import Column, Mapped, read_mapping, reference_id
from anonymize.sources.opening import file_faults

__all__ = ["FhirFolder", "reference_id"]

BATCH_ROWS = 5_000
BATCH_BYTES = 16 << 20
SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")


class FhirFolder:
    """The tables that a mapping makes of a folder of NDJSON files.

    A file holds the resource type that its name (`Patient.000.ndjson`, `1.Patient.ndjson`) or its folder's name says; where neither says
    one, the type of its first resource.
    """

    def __init__(self, name: str, path: Path, *, mapping: str, policy_folder: Path) -> None:
        self.name, self.path = name, path
        if not path.is_dir():
            raise SourceError(f"source '{name}': there is no folder {path}")
        self.mapping = read_mapping(mapping, policy_folder)

    def tables(self) -> list[str]:
        """The mapped tables whose resource type has a file in the folder."""
        return sorted(table for table, mapped in self.mapping.items() if mapped.resource in self._files)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if query:
            raise SourceError(f"source '{self.name}': FHIR takes no 'query'; write a mapping instead")
        mapped = self._mapped(table)
        return pa.schema([(name, column.type) for name, column in mapped.columns.items()])

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        where = self._where(table)
        wanted = wanted_types(where, self.schema(table, query), columns, types)
        mapped = self._mapped(table)
        with without_values(where):
            yield from self._batches(table, mapped, {name: mapped.columns[name] for name in columns}, wanted)

    def unmatched(self, table: str, columns: Sequence[str]) -> list[str]:
        """The columns that no resource of the folder fills: a path that matches nothing is a rule that silently does not apply."""
        mapped, empty = self._mapped(table), set(columns)
        for item in self._resources(table, mapped.resource):
            if isinstance(item, Malformed):
                continue
            for element in mapped.elements(item[0]):
                empty -= {name for name in empty if mapped.columns[name].value(element, item[0]) is not None}
            if not empty:
                break
        return sorted(empty)

    def _where(self, table: str) -> str:
        return f"source '{self.name}', table '{table}'"

    def _mapped(self, table: str) -> Mapped:
        if table not in self.mapping:
            raise SourceError(f"source '{self.name}': the mapping has no table '{table}'.{nearest(table, list(self.mapping))}")
        mapped = self.mapping[table]
        if mapped.resource not in self._files:
            near = nearest(mapped.resource, sorted(self._files))
            raise SourceError(f"source '{self.name}': no file of {mapped.resource} resources in {self.path} for table '{table}'.{near}")
        return mapped

    def _batches(
        self, table: str, mapped: Mapped, columns: dict[str, Column], types: Mapping[str, pa.DataType]
    ) -> Iterator[pa.RecordBatch | Malformed]:
        rows: list[int] = []
        values: list[tuple[str | None, ...]] = []
        number = size = 0
        for item in self._resources(table, mapped.resource):
            number += 1
            if isinstance(item, Malformed):
                yield Malformed(number, item.reason, raw=item.raw)
                continue
            resource, length = item
            for element in mapped.elements(resource):
                rows.append(number)
                values.append(tuple(column.value(element, resource) for column in columns.values()))
            size += length
            if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield from _typed(rows, values, types)
                rows, values, size = [], [], 0
        yield from _typed(rows, values, types)

    def _resources(self, table: str, resource: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
        for file in self._files[resource]:
            with file_faults(self._where(table), file):
                for item in json_lines(file):
                    if not isinstance(item, Malformed) and item[0].get("resourceType") != resource:
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
        known = {mapped.resource for mapped in self.mapping.values()}
        for name in (file.name, file.parent.name if file.parent != self.path else ""):
            said = known & set(re.findall(r"[A-Za-z]+", name))
            if len(said) == 1:
                return said.pop()
        with file_faults(f"source '{self.name}'", file):
            first = next((item[0] for item in json_lines(file) if not isinstance(item, Malformed)), {})
        return str(first.get("resourceType", ""))


def _typed(rows: list[int], values: list[tuple[str | None, ...]], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
    for item in text_batch(rows, values, list(types)):
        if isinstance(item, Malformed):
            yield item
        else:
            yield from convert(item, types)
