"""Who is one person in several systems: each system's key becomes the person before anything is derived from it, so that a person has one
pseudonym and one shift, whatever system a record is of.

The map is held in memory: about 250 bytes a key.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import AnonymizeError, SourceError, without_values
from anonymize.policy.model import Policy
from anonymize.sources import open_source
from anonymize.sources.base import Malformed
from anonymize.transform.pseudonym import canonical

if TYPE_CHECKING:
    from anonymize.run import Counts, Run

OWN = "\x1f"
"""Between system and key of a person whom the map does not have; stands in no map."""
_SCHEMA = pa.schema([("system", pa.string()), ("key", pa.string()), ("person", pa.string())])
_Rows = Iterable[tuple[str | None, str | None, str | None]]


@dataclass
class People:
    """The map: (system, key) -> person. systems: source -> its name in the map; own: whether an unmatched key is a person of its own."""

    persons: dict[tuple[str, str], str]
    systems: dict[str, str]
    own: bool
    counts: dict[str, int] = field(default_factory=dict)

    def resolve(self, keys: pa.Array, source: str) -> pa.Array:
        """The person of each of a source's keys, as text; null where the key is null or, unless `own`, unmatched."""
        encoded = canonical(keys).dictionary_encode()
        found = [self.person(source, key) for key in encoded.dictionary.to_pylist()]
        return pa.array(found, pa.string()).take(encoded.indices)

    def person(self, source: str, key: str | None) -> str | None:
        """The person of one key."""
        system = self.systems[source]
        return None if not key else self.persons.get((system, key), f"{system}{OWN}{key}" if self.own else None)

    def anywhere(self, keys: Sequence[str]) -> list[str]:
        """The persons of keys that may be of any system, or persons themselves. Raises AnonymizeError where a key is of several persons."""
        named = set(self.persons.values())
        found: dict[str, set[str]] = {}
        for key in keys:
            persons = {self.persons[system, key] for system in set(self.systems.values()) if (system, key) in self.persons}
            persons |= {key} if key in named else set()
            found[key] = persons or {f"{system}{OWN}{key}" for system in self.systems.values()}
        twice = sum(len(persons) > 1 for key, persons in found.items() if any(OWN not in person for person in persons))
        if twice:
            raise AnonymizeError(
                f"{twice:,} of {len(found):,} keys are of several persons, in several systems. Name the persons, as the map does"
            )
        return sorted({person for persons in found.values() for person in persons})


def people(run: Run) -> People | None:
    """The run's map, read once, so that all its tables agree; None where the policy has no `linkage`.

    Raises SourceError with counts where the map contradicts itself or cannot be read whole.
    """
    policy = run.policy
    if policy.linkage is None:
        return None
    file = run.folder("linkage") / "map.parquet"
    if run.record.get("linkage") is None or not file.exists():
        rows, counts = consistent(_rows(policy, run.connections))
        file.parent.mkdir(exist_ok=True, mode=0o700)
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        pq.write_table(pa.table([pa.array(c, pa.string()) for c in columns], schema=_SCHEMA), file)
        run.once("linkage", lambda: counts)
    table = pq.read_table(file)
    return _people(policy, zip(*(table[name].to_pylist() for name in _SCHEMA.names), strict=True), run.record.get("linkage") or {})


def read(policy: Policy, connections: Callable[[str], str] | None = None) -> People | None:
    """The map as it is now, for what happens outside of a run."""
    if policy.linkage is None:
        return None
    rows, counts = consistent(_rows(policy, connections))
    return _people(policy, rows, counts)


def _people(policy: Policy, rows: Iterable[tuple[str, str, str]], counts: Counts) -> People:
    assert policy.linkage is not None  # for the type checker: its callers have looked
    systems = {source: policy.linkage.systems.get(source, source) for source in policy.sources}
    return People({(system, key): person for system, key, person in rows}, systems, policy.linkage.unmatched == "own", counts)


def consistent(rows: _Rows) -> tuple[list[tuple[str, str, str]], dict[str, int]]:
    """The distinct rows of a map in order, and its counts: keys, persons, persons with several keys in one system, rows that lack a part.

    Raises SourceError, by counts a system, where one key is two persons': then nobody could say whose record it is.
    """
    whole = [tuple((part or "").strip() for part in row) for row in rows]
    known = sorted({(system, key, person) for system, key, person in whole if system and key and person})
    twice = Counter(system for (system, _), group in groupby(known, key=lambda row: row[:2]) if len(list(group)) > 1)
    if twice:
        told = ", ".join(f"{number:,} of system {place}" for place, number in enumerate((twice[s] for s in sorted(twice)), 1))
        raise SourceError(
            f"linkage: {sum(twice.values()):,} keys are of two persons or more ({told}, in the order of their names). Mend the map: "
            "nobody can say whose records these are"
        )
    several = sum(number > 1 for number in Counter((system, person) for system, _, person in known).values())
    persons = {person for _, _, person in known}
    counts = {"keys": len(known), "persons": len(persons), "persons_with_several_keys": several}
    return known, counts | {"incomplete": sum(not all(row) for row in whole)}


def _rows(policy: Policy, connections: Callable[[str], str] | None) -> _Rows:
    asked = policy.linkage
    assert asked is not None  # for the type checker: its callers have looked
    columns = [asked.system, asked.key, asked.person]
    if asked.file is not None and asked.source is None:
        return _csv(policy.path(asked.file), columns)
    return _table(policy, columns, connections)


def _csv(file: Path, columns: list[str]) -> _Rows:
    if not file.is_file():
        raise SourceError(f"linkage: {file} is no file. Give a CSV with the columns {', '.join(columns)}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.reader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"linkage: {file} cannot be read as a CSV in UTF-8 ({type(error).__name__})") from None
    head = [name.strip() for name in rows[0]] if rows else []
    lacking = [name for name in columns if name not in head]
    if lacking:
        raise SourceError(f"linkage: {file} has no column '{lacking[0]}'. It needs {', '.join(columns)}")
    places = [head.index(name) for name in columns]
    short = next((number for number, row in enumerate(rows, 1) if row and len(row) <= max(places)), None)
    if short is not None:
        raise SourceError(f"linkage: {file}:{short}: the line has too few columns")
    return [(row[places[0]], row[places[1]], row[places[2]]) for row in rows[1:] if row]


def _table(policy: Policy, columns: list[str], connections: Callable[[str], str] | None) -> Iterator[tuple[str | None, str | None, str | None]]:
    asked = policy.linkage
    assert asked is not None  # for the type checker: its callers have looked
    name = asked.source or next(iter(policy.sources))
    source = open_source(name, policy.sources[name], policy, connections)
    where = f"linkage of source '{name}', table '{asked.table or 'query'}'"
    with without_values(where):
        for item in source.read(asked.table or "", columns, query=asked.query, types=dict.fromkeys(columns, pa.string())):
            if isinstance(item, Malformed):
                raise SourceError(f"{where}: row {item.row} cannot be read ({item.reason}). Mend it: who is one person must be known")
            yield from zip(*(canonical(item[column]).to_pylist() for column in columns), strict=True)
