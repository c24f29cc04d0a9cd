"""What the live sources hold, for a sheet: each column's type, and what kind of values a sample has; no value."""

from __future__ import annotations

from collections.abc import Iterator

from anonymize.draft import described
from anonymize.errors import SourceError
from anonymize.policy.model import Policy
from anonymize.policy.sheet import AtSource
from anonymize.sources import Connections, open_source


def columns_at_source(policy: Policy, connections: Connections | None = None) -> Iterator[AtSource]:
    """All columns of all tables of a policy's sources, also of those that the policy does not name. Raises SourceError."""
    key = policy.subject.rpartition(".")[2]
    for name, settings in policy.sources.items():
        source = open_source(name, settings, policy, connections)
        asked = {spec.from_ or table for table, spec in policy.tables.items() if policy.source_of(table)[0] == name and not spec.query}
        for table in dict.fromkeys([*(one for one in source.tables() if not _of_files(one, asked)), *sorted(asked)]):
            try:
                found = list(described(source, table, key))
            except SourceError:
                if table in asked:
                    raise
                continue  # a table that nobody asked for, and that cannot be read, is no column of a sheet
            for column, type, sample in found:
                yield AtSource(name, table, column, type, sample)


def _of_files(table: str, asked: set[str]) -> bool:
    """Whether a folder's table is one that the policy names by its file or by a pattern (`visits/*.parquet`)."""
    return any(one.rsplit(".", 1)[0] == table or "*" in one for one in asked)
