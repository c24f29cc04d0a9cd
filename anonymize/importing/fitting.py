"""A policy fitted to what a site has: a known schema names more than any one site fills, and a rule that never applies is an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from anonymize.errors import SourceError
from anonymize.policy.model import Policy, Role
from anonymize.policy.writing import quoted
from anonymize.sources import Connections, Source, open_source
from anonymize.sources.mapped import MappedSource


@dataclass
class Missing:
    """What a policy names and its sources do not have: whole tables, and columns of others."""

    tables: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"no table {', '.join(self.tables)}"] if self.tables else []
        parts += [f"{table} without {', '.join(columns)}" for table, columns in self.columns.items()]
        return "; ".join(parts) or "nothing is missing"

    def overlay(self) -> Iterator[str]:
        """The lines of a policy on top that takes it away by name."""
        if self.tables or self.columns:
            yield "tables:"
        for table in self.tables:
            yield f"  {quoted(table)}: null   # the source has none"
        for table, columns in self.columns.items():
            yield f"  {quoted(table)}:"
            yield "    columns:"
            for column in columns:
                yield f"      {quoted(column)}: null   # nothing at the source fills it"

    def taken_from(self, tables: dict[str, Any]) -> dict[str, Any]:
        """The tables of a policy's values without it."""
        return {
            table: {**spec, "columns": {c: rule for c, rule in spec["columns"].items() if c not in self.columns.get(table, ())}}
            for table, spec in tables.items()
            if table not in self.tables
        }


def missing(policy: Policy, connections: Connections | None = None) -> Missing:
    """Hold a policy against its live sources. Raises SourceError where a source cannot be read at all."""
    found = Missing()
    sources = {name: open_source(name, settings, policy, connections) for name, settings in policy.sources.items()}
    for source in sources.values():
        source.tables()
    for table in policy.tables:
        absent = _absent(policy, table, sources[policy.source_of(table)[0]])
        if absent is None:
            found.tables.append(table)
        elif absent:
            found.columns[table] = absent
    return found


def _absent(policy: Policy, table: str, source: Source) -> list[str] | None:
    """The columns of a table that are not there, or that nothing fills; None where the table is not there."""
    spec = policy.tables[table]
    at_source = spec.from_ or table
    try:
        there = source.schema(at_source, spec.query).names
    except SourceError:
        return None
    absent = [column for column in spec.columns if column not in there]
    if isinstance(source, MappedSource):
        asked = [column for column, rule in spec.columns.items() if rule.role is not Role.DROP and column in there]
        empty = source.unmatched(at_source, asked)
        absent += empty if len(empty) < len(asked) else []
    return absent
