"""A FHIR R4 bulk-export folder (NDJSON), flattened to linked tables by a mapping in YAML that a site can write itself.

The mapping's language stands at the head of `mappings/us-core.yaml`. Resources are walked as plain JSON: an invalid resource gives the
paths that it has, and a line that is no resource is quarantined.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from anonymize.errors import SourceError, without_values
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, wanted_types
from anonymize.sources.files import json_lines
from anonymize.transform.markup import unreadable_tag
from anonymize.transform.markup.encoded import Base64Layer, decode

BATCH_ROWS = 5_000
BATCH_BYTES = 16 << 20
_STEP = re.compile(r"^([A-Za-z][A-Za-z0-9]*)(?:\[([^\]]+)\])?$")
_TYPES = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "date": pa.date32(),
}


@dataclass(frozen=True)
class Step:
    """One step of a path: a field, and which of its elements (by index, or by what a path below holds)."""

    field: str
    index: int | None = None
    where: tuple[tuple[str, ...], str] | None = None


@dataclass(frozen=True)
class Column:
    """One column of a mapping: its path, how several values become one, and its type."""

    path: tuple[Step, ...]
    take: str = "first"
    """`first`, `all` (joined with a blank), `reference` (the id behind it), `base64` (decoded text)."""
    type: pa.DataType = dataclasses.field(default_factory=pa.string)


@dataclass(frozen=True)
class Mapped:
    """One table of a mapping: the resource type, what makes a row (the resource, or each element of a path), and its columns."""

    resource: str
    each: tuple[Step, ...]
    columns: dict[str, Column]


class FhirFolder:
    """The tables that a mapping makes of a folder of `<Type>.*.ndjson` files."""

    def __init__(self, name: str, path: Path, *, mapping: str, policy_folder: Path) -> None:
        self.name, self.path = name, path
        if not path.is_dir():
            raise SourceError(f"source '{name}': there is no folder {path}")
        self.mapping = read_mapping(mapping, policy_folder)

    def tables(self) -> list[str]:
        """The mapped tables whose resource type has a file in the folder."""
        return sorted(table for table, mapped in self.mapping.items() if self._files(mapped.resource))

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if query:
            raise SourceError(f"source '{self.name}': FHIR takes no 'query'; write a mapping instead")
        if table not in self.mapping:
            raise SourceError(f"source '{self.name}': the mapping has no table '{table}'.{nearest(table, list(self.mapping))}")
        mapped = self.mapping[table]
        if not self._files(mapped.resource):
            raise SourceError(f"source '{self.name}': no file {mapped.resource}.*.ndjson in {self.path} for table '{table}'")
        return pa.schema([(name, column.type) for name, column in mapped.columns.items()])

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(f"source '{self.name}', table '{table}'", schema, columns, types)
        mapped = self.mapping[table]
        with without_values(f"source '{self.name}', table '{table}'"):
            yield from self._batches(mapped, {name: mapped.columns[name] for name in columns}, wanted)

    def unmatched(self, table: str, columns: Sequence[str]) -> list[str]:
        """The columns that no resource of the folder fills: a path that matches nothing is a rule that silently does not apply."""
        mapped, empty = self.mapping[table], set(columns)
        for resource in self._resources(mapped.resource):
            if isinstance(resource, Malformed):
                continue
            for element in _elements(resource, mapped.each):
                empty -= {name for name in empty if _value(element, resource, mapped.columns[name]) is not None}
            if not empty:
                break
        return sorted(empty)

    def _batches(self, mapped: Mapped, columns: dict[str, Column], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
        rows: list[int] = []
        values: list[list[str | None]] = []
        number = size = 0
        for resource in self._resources(mapped.resource):
            number += 1
            if isinstance(resource, Malformed):
                yield Malformed(number, resource.reason, raw=resource.raw)
                continue
            if resource.get("resourceType") != mapped.resource:
                yield Malformed(number, "other-resource-type", raw=json.dumps(resource))
                continue
            for element in _elements(resource, mapped.each):
                found = [_value(element, resource, column) for column in columns.values()]
                rows.append(number)
                values.append(found)
                size += sum(len(value) for value in found if value)
            if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield from convert(_batch(rows, values, list(columns)), types)
                rows, values, size = [], [], 0
        yield from convert(_batch(rows, values, list(columns)), types)

    def _resources(self, resource: str) -> Iterator[dict[str, Any] | Malformed]:
        for file in self._files(resource):
            yield from json_lines(file)

    def _files(self, resource: str) -> list[Path]:
        return sorted(
            file for end in (".ndjson", ".ndjson.gz") for file in (*self.path.glob(f"{resource}.*{end}"), *self.path.glob(f"{resource}{end}"))
        )


def read_mapping(name: str, folder: Path) -> dict[str, Mapped]:
    """A ready-made mapping by its name, or a YAML file. Raises SourceError with the table and column of what is wrong."""
    ready = package_files("anonymize.sources") / "mappings" / f"{name}.yaml"
    file = ready if "/" not in name and ready.is_file() else folder / name
    try:
        data = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"FHIR mapping '{name}' cannot be read ({type(error).__name__}). Ready-made: us-core") from None
    if not isinstance(data, dict):
        raise SourceError(f"FHIR mapping '{name}' must be a mapping of tables")
    return {table: _mapped(name, table, spec) for table, spec in data.items()}


def _mapped(mapping: str, table: str, spec: Any) -> Mapped:
    where = f"FHIR mapping '{mapping}', table '{table}'"
    if not isinstance(spec, dict) or not isinstance(spec.get("columns"), dict) or not spec.get("resource"):
        raise SourceError(f"{where}: needs 'resource' and 'columns'")
    columns = {name: _column(f"{where}, column '{name}'", entry) for name, entry in spec["columns"].items()}
    return Mapped(str(spec["resource"]), _path(where, str(spec["each"])) if spec.get("each") else (), columns)


def _column(where: str, entry: Any) -> Column:
    """`path`, or `{path, take, type}`."""
    spec = entry if isinstance(entry, dict) else {"path": entry}
    take, type_name = str(spec.get("take", "first")), str(spec.get("type", "string"))
    if take not in ("first", "all", "reference", "base64") or type_name not in _TYPES or not isinstance(spec.get("path"), str):
        raise SourceError(f"{where}: needs a 'path', a 'take' of first, all, reference or base64, and a 'type' of {', '.join(_TYPES)}")
    return Column(_path(where, spec["path"]), take, _TYPES[type_name])


def _path(where: str, text: str) -> tuple[Step, ...]:
    steps = []
    # A dot inside of brackets belongs to the condition, not to the path.
    for part in re.split(r"\.(?![^\[]*\])", text):
        match = _STEP.match(part)
        if match is None:
            raise SourceError(f"{where}: '{part}' is no step of a path. Steps are: field, field[0], field[path=value]")
        field, inside = match.groups()
        if inside is None:
            steps.append(Step(field))
        elif inside.isdigit():
            steps.append(Step(field, index=int(inside)))
        else:
            path, equals, value = inside.partition("=")
            if not equals:
                raise SourceError(f"{where}: '[{inside}]' is no condition. Write [path=value]")
            steps.append(Step(field, where=(tuple(path.strip().split(".")), value.strip())))
    return tuple(steps)


def _elements(resource: dict[str, Any], each: tuple[Step, ...]) -> list[Any]:
    return _walk([resource], each) if each else [resource]


def _value(element: Any, resource: dict[str, Any], column: Column) -> str | None:
    """A column's text in one element; a path that begins with `resource` begins at the whole resource."""
    path, start = (column.path[1:], resource) if column.path[0].field == "resource" else (column.path, element)
    found = [text for text in (_text(value) for value in _walk([start], path)) if text is not None]
    if not found:
        return None
    if column.take == "all":
        return " ".join(found)
    if column.take == "reference":
        return reference_id(found[0])
    return _decoded(found[0]) if column.take == "base64" else found[0]


def _walk(nodes: list[Any], path: tuple[Step, ...]) -> list[Any]:
    for step in path:
        below: list[Any] = []
        for node in nodes:
            value = node.get(step.field) if isinstance(node, dict) else None
            elements = value if isinstance(value, list) else [] if value is None else [value]
            if step.index is not None:
                elements = elements[step.index : step.index + 1]
            elif step.where is not None:
                elements = [element for element in elements if _holds(element, *step.where)]
            below += elements
        nodes = below
    return nodes


def _holds(element: Any, path: tuple[str, ...], value: str) -> bool:
    return value in (_text(found) for found in _walk([element], tuple(Step(field) for field in path)))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def reference_id(reference: str) -> str:
    """`Patient/17`, `urn:uuid:17`, `https://host/fhir/Patient/17/_history/2` -> `17`; `Practitioner?identifier=system|17` -> `17`."""
    if "?" in reference:
        return reference.rpartition("|")[2]
    return re.sub(r"/_history/.*$", "", reference).rpartition("/")[2].rpartition(":")[2]


def _decoded(data: str) -> str:
    """An attachment's text. What is none (a PDF, broken base64) cannot be scrubbed: a tag stands for it, which `scrub` counts."""
    if not data.strip():
        return data
    found = decode(data, declared=True)
    return found.text if isinstance(found, Base64Layer) else unreadable_tag(found or "base64")


def _batch(rows: list[int], values: list[list[str | None]], names: list[str]) -> pa.RecordBatch:
    columns: list[Any] = list(zip(*values, strict=True)) if values else [[] for _ in names]
    return pa.RecordBatch.from_arrays([pa.array(rows, pa.int64()), *(pa.array(c, pa.string()) for c in columns)], names=[ROW, *names])
