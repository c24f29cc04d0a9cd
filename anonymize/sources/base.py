"""What a source is: a catalogue of tables with their schemas, and one generator of record batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    from anonymize.policy.model import Rule

ROW = "__row"
"""int64, the number of a record at its source, from 1; carried through the workspace, so that errors can name a row, and dropped before
publication."""


@dataclass(frozen=True)
class Malformed:
    """A record that the source could not read: its row number at the source and a reason code (`ragged-row`, `not-json`, `bad-encoding`).

    raw: the record as it stands, for the quarantine in the private workspace and nowhere else. file: of a source of files, the one that it
    stands in; a file's name can tell of whom it is, so it goes where `raw` goes. fields: its columns, where they can be told apart. key: its
    row key, where the policy names one.
    """

    row: int
    reason: str
    column: str = ""
    raw: str = field(default="", repr=False)
    file: str = field(default="", repr=False)
    fields: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    key: str | None = field(default=None, repr=False)


class BrokenFile(Malformed):
    """A whole file that could not be read (`cut-off`, `other-header`, `no-permission`), or from some place on (`broke-off`): how many records
    it holds is not known. `row` says nothing."""


@runtime_checkable
class TellsOfFiles(Protocol):
    """A source of files, which says what it found of them."""

    def told(self, table: str) -> dict[str, Any]:
        """Counts alone, no names: `{"files": 3, "encoding": {"utf-8": 3}, "delimiter": {"semicolon": 3}, "broken": {"cut-off": 1}}`."""
        ...

    def faults(self, table: str) -> list[tuple[str, str]]:
        """The files that cannot be read, each with what is wrong: for the person who checks, and for no record."""
        ...


class Source(Protocol):
    """One system that records come from. Reads only; holds no more than a few batches in memory."""

    def tables(self) -> list[str]:
        """The names of its tables, sorted."""
        ...

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        """A table's columns and Arrow types. Raises SourceError(table) where there is none."""
        ...

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        """The named columns as record batches led by `__row`, and malformed records as they are met.

        types: what columns are to be read as where not what `schema` says; a record whose value does not convert is Malformed with
        reason `not-<type>` and its column.
        """
        ...


@runtime_checkable
class TellsMore(Protocol):
    """A source that has more to tell of a table than its records."""

    def told(self, table: str) -> dict[str, Any]:
        """Of a table that was read to its end: counts, and names of paths; never a value."""
        ...


@runtime_checkable
class Objects(Protocol):
    """A source of which a standard says what may leave."""

    def objection(self, table: str, column: str, rule: Rule) -> str | None:
        """What the standard has against a column's rule; None where it has nothing."""
        ...


def sampled(items: Iterable[pa.RecordBatch | Malformed], rows: int) -> pa.Table | None:
    """The first `rows` good records of what a source reads; None where its beginning has none."""
    held: list[pa.RecordBatch] = []
    for item in islice(items, 20 + rows):
        if isinstance(item, pa.RecordBatch) and item.num_rows:
            held.append(item)
        if sum(batch.num_rows for batch in held) >= rows:
            break
    return pa.Table.from_batches(held).slice(0, rows).combine_chunks() if held else None
