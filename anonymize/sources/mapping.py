"""The mapping's language: which tables nested records give, and the path behind each column.

It stands at the head of `mappings/us-core.yaml`, for the people who write one. Everything in a mapping that is not of the language is
refused with its table and column: a misspelt word would be a rule that silently does not apply.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from anonymize.errors import SourceError
from anonymize.hierarchies.texts import zip_digits
from anonymize.policy.nearest import nearest
from anonymize.sources.fhir import codings
from anonymize.sources.json_lines import as_text
from anonymize.sources.tree import Branch, iso_day, iso_time
from anonymize.transform.markup import unreadable_tag
from anonymize.transform.markup.encoded import Base64Layer, decode

_STEP = re.compile(r"^([A-Za-z_@][A-Za-z0-9_]*|[0-9]+)(?:\[([^\]]+)\])?$")
#: The words for a record as a whole: a kind of it, and where a path begins that does not begin at the row.
WHOLE = {"record", "resource"}
#: The path of the element itself that a row is made of.
THIS = "$this"
TAKES = ("first", "all", "lines", "reference", "base64", "attachment", "time", "day", "us-zip", *codings.TAKES)
TYPES = {
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


Path_ = tuple[Step, ...]


@dataclass(frozen=True)
class Column:
    """One column of a mapping: its path, how several values become one, and its type."""

    path: Path_
    take: str = "first"
    """`first`, `all` (joined with a blank), `lines` (each a line), `reference` (the id behind it), `base64` (decoded text), `time` and `day`
    (HL7's), `us-zip` (five digits); of FHIR `attachment` (its text), and
    `code`, `display`, `system` of the first coding of a known code system."""
    type: pa.DataType = dataclasses.field(default_factory=pa.string)
    others: tuple[Path_, ...] = ()
    """Paths that are gone where the ones before hold nothing."""
    of: str | None = None
    """`reference`: the one kind of record that counts."""
    systems: codings.Systems = dataclasses.field(default_factory=codings.known_systems, repr=False)

    def value(self, element: Any, record: dict[str, Any]) -> str | None:
        """The column's text in one element; a path that begins with `record` (FHIR's word is `resource`) begins at the whole record."""
        return self.of_nodes(self.nodes(element, record))

    def of_nodes(self, nodes: list[Any]) -> str | None:
        """What is taken of what stands at the path's end."""
        if self.take in codings.TAKES:
            return self.systems.take(self.take, nodes)
        found = [text for text in map(_text, nodes) if text is not None]
        if not found:
            return None
        if self.take in ("all", "lines"):
            return (" " if self.take == "all" else "\n").join(found)
        one = ONE.get(self.take)
        return one(found[0]) if one is not None else found[0]

    def nodes(self, element: Any, record: dict[str, Any]) -> list[Any]:
        """What stands at the end of the first path that leads anywhere."""
        for path in (self.path, *self.others):
            found = walk([record], path[1:]) if path and path[0].field in WHOLE else walk([element], path)
            if found:
                return found
        return []


@dataclass(frozen=True)
class Mapped:
    """One table of a mapping: the kind of record, what makes a row (the record, or each element of a path), and its columns."""

    kind: str
    each: Path_
    columns: dict[str, Column]
    one: str | None = None
    """The column of which each value has one row, where not each record has."""
    latest: str | None = None
    """The column that says which of several is the last; default: their order."""

    def elements(self, record: dict[str, Any]) -> list[Any]:
        """What makes the rows of one record."""
        return walk([record], self.each) if self.each else [record]


def read_mapping(name: str, folder: Path) -> dict[str, Mapped]:
    """A ready-made mapping by its name, or a YAML file, relative to `folder`. Raises SourceError with the place of what is wrong."""
    ready = package_files("anonymize.sources") / "mappings" / f"{name}.yaml"
    file = ready if "/" not in name and ready.is_file() else folder / name
    try:
        return _read(name, file.read_text(encoding="utf-8"))
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"mapping '{name}' cannot be read: {_reason(error)}. Ready-made: {', '.join(ready_made())}") from None


@lru_cache(maxsize=16)
def _read(name: str, text: str) -> dict[str, Mapped]:
    """A source is opened anew for each table, and hundreds of columns take YAML half a second."""
    data = YAML(typ="safe").load(text)
    if not isinstance(data, dict) or not data:
        raise SourceError(f"mapping '{name}' must be a mapping of tables: TABLE: {{resource: …, columns: {{…}}}}")
    systems = _systems(name, data.pop("systems", {}))
    mapped = {str(table): _mapped(f"mapping '{name}', table '{table}'", spec) for table, spec in data.items()}
    if systems is not None:
        for table in mapped.values():
            table.columns.update({column: dataclasses.replace(one, systems=systems) for column, one in table.columns.items()})
    return mapped


def _systems(name: str, own: Any) -> codings.Systems | None:
    """The known code systems with the mapping's own; None where it has none."""
    if not own:
        return None
    try:
        return codings.known_systems().also({str(system): form for system, form in own.items()})
    except (ValueError, AttributeError) as error:
        raise SourceError(f"mapping '{name}', systems: write SYSTEM: 'FORM', a regular expression of a whole code ({error})") from None


def ready_made() -> list[str]:
    """The names of the mappings that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in (package_files("anonymize.sources") / "mappings").iterdir())


def walk(nodes: list[Any], path: Iterable[Step]) -> list[Any]:
    """All values at the end of a path from some nodes, in order; what is not there gives none."""
    for step in path:
        below: list[Any] = []
        for node in nodes:
            # A text is its own first component, and a code of no system: HL7 leaves out the signs that divide what is not divided.
            value = node.get(step.field) if isinstance(node, dict) else node if step.field in ("1", "@local") and isinstance(node, str) else None
            elements = value if isinstance(value, list) else [] if value is None else [value]
            if step.index is not None:
                elements = elements[step.index : step.index + 1]
            elif step.where is not None:
                elements = [element for element in elements if _holds(element, *step.where)]
            below += elements
        nodes = below
    return nodes


def reference_id(reference: str) -> str:
    """`Patient/17`, `urn:uuid:17`, `https://host/fhir/Patient/17/_history/2` -> `17`; `Practitioner?identifier=system|17` -> `17`."""
    if "?" in reference:
        return reference.rpartition("|")[2]
    return re.sub(r"/_history/.*$", "", reference).rstrip("/").rpartition("/")[2].rpartition(":")[2]


def reference_type(reference: str) -> str | None:
    """`https://host/fhir/Patient/17`, `Patient?identifier=…` -> `Patient`; None where a reference says none (`urn:uuid:17`)."""
    found = re.search(r"(?:^|/)([A-Z][A-Za-z]+)(?:/[^/?]+(?:/_history/[^/]*)?/?$|\?)", reference)
    return found[1] if found else None


def _reason(error: Exception) -> str:
    """A mapping is no record: its line and YAML's own words may be said."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return error.strerror or "input error" if isinstance(error, OSError) else "not UTF-8 YAML"


def _mapped(where: str, spec: Any) -> Mapped:
    if not isinstance(spec, dict) or not isinstance(spec.get("columns"), dict) or not spec["columns"] or len(WHOLE & spec.keys()) != 1:
        raise SourceError(f"{where}: needs 'record' (or FHIR's word, 'resource') and 'columns'")
    _known_words(where, spec, (*WHOLE, "each", "one", "latest", "columns"))
    columns = {str(name): _column(f"{where}, column '{name}'", entry) for name, entry in spec["columns"].items()}
    for word in ("one", "latest"):
        if word in spec and str(spec[word]) not in columns:
            raise SourceError(f"{where}: '{word}' names no column '{spec[word]}'.{nearest(str(spec[word]), list(columns))}")
    if "latest" in spec and "one" not in spec:
        raise SourceError(f"{where}: 'latest' says which row stays where 'one' names the column of which each value has one")
    kind, each = str(next(spec[word] for word in WHOLE if word in spec)), _path(where, str(spec["each"])) if spec.get("each") else ()
    return Mapped(kind, each, columns, spec.get("one"), spec.get("latest"))


def _column(where: str, entry: Any) -> Column:
    """`path`, or `{path, take, type, of}`; `path` may be a list, of which the first counts that leads anywhere."""
    spec = entry if isinstance(entry, dict) else {"path": entry}
    _known_words(where, spec, ("path", "take", "type", "of"))
    take, type_name = str(spec.get("take", "first")), str(spec.get("type", "string"))
    written = spec.get("path") if isinstance(spec.get("path"), list) else [spec.get("path")]
    if take not in TAKES or type_name not in TYPES or not written or not all(isinstance(one, str) for one in written):
        raise SourceError(f"{where}: needs a 'path', a 'take' of {', '.join(TAKES)}, and a 'type' of {', '.join(TYPES)}")
    if "of" in spec and take != "reference":
        raise SourceError(f"{where}: 'of' belongs to 'take: reference'")
    paths = [_path(where, str(one)) for one in written]
    for path in paths:
        if len(path) == 1 and path[0].field in WHOLE:
            raise SourceError(f"{where}: '{path[0].field}' is where a path begins: {path[0].field}.id")
    return Column(paths[0], take, TYPES[type_name], tuple(paths[1:]), str(spec["of"]) if "of" in spec else None)


def _known_words(where: str, spec: dict[Any, Any], known: tuple[str, ...]) -> None:
    for word in spec:
        if word not in known:
            raise SourceError(f"{where}: there is no word '{word}'.{nearest(str(word), list(known))}")


def path_of(where: str, text: str) -> Path_:
    """A path as it is written. Raises SourceError, which begins with `where`."""
    return _path(where, text)


def _path(where: str, text: str) -> Path_:
    steps = []
    if text == THIS:
        return ()
    # A dot inside of brackets belongs to the condition, not to the path.
    for part in re.split(r"\.(?![^\[]*\])", text):
        match = _STEP.match(part)
        if match is None:
            raise SourceError(f"{where}: '{part}' is no step of a path. Steps are: field, field[0], field[path=value]")
        steps.append(_step(where, *match.groups()))
    return tuple(steps)


def _step(where: str, field: str, inside: str | None) -> Step:
    if inside is None:
        return Step(field)
    if inside.isdigit():
        return Step(field, index=int(inside))
    path, equals, value = inside.partition("=")
    if not equals:
        raise SourceError(f"{where}: '[{inside}]' is no condition. Write [path=value]")
    return Step(field, where=(tuple(path.strip().split(".")), value.strip()))


def _holds(element: Any, path: tuple[str, ...], value: str) -> bool:
    return value in map(_text, walk([element], (Step(field) for field in path)))


def _text(value: Any) -> str | None:
    return value.text if isinstance(value, Branch) else as_text(value)


def decoded(data: str) -> str:
    """An attachment's text. What is none (a PDF, broken base64) cannot be scrubbed: a tag stands for it, which `scrub` counts."""
    if not data.strip():
        return data
    found = decode(data, declared=True)
    return found.text if isinstance(found, Base64Layer) else unreadable_tag(found or "base64")


#: What becomes of a path's first value, by `take`.
ONE: dict[str, Callable[[str], str | None]] = {
    "reference": reference_id,
    "base64": decoded,
    "time": iso_time,
    "day": iso_day,
    "us-zip": zip_digits,
}
