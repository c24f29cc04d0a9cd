"""The narrow interface behind which the work runs: four verbs over tables of Arrow batches.

Everything that the six steps do to data is written with these verbs, so that a step runs the same in one process and on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from anonymize.engine.files import parquet_batches
from anonymize.errors import StepFailed

Mapper = Callable[[pa.RecordBatch], pa.RecordBatch]
"""A pure function of a batch. It is pickled to workers: a module-level function or a frozen dataclass with `__call__`. Where it has a
`has_text` that is true it reads texts, which takes a hundred times as long as columns do."""
TALLY_LIMIT = 50_000_000
"""Distinct tuples that a driver can search in some 20 GB."""


@dataclass(frozen=True)
class Table:
    """A named stream of record batches that can be read more than once.

    path: the folder of Parquet files behind it, where there is one; then the engine need not move the rows through Python.
    lost: told of rows that no worker process could map without dying; they are left out. None: the step ends there.
    """

    name: str
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    path: Path | None = None
    lost: Callable[[pa.RecordBatch], None] | None = field(default=None, kw_only=True)

    def only(self, schema: pa.Schema) -> Table:
        """Some columns, under their schema's metadata. Not a map: choosing columns costs less than the way to a worker."""
        read = self.batches if self.path is None else (lambda path=self.path: parquet_batches(path, schema.names))  # type: ignore[misc]
        return Table(self.name, schema, lambda: (batch.select(schema.names).cast(schema) for batch in read()))

    def followed_by(self, others: Sequence[Table]) -> Table:
        """The rows of this table and then those of others, which have the same schema."""
        return Table(self.name, self.schema, lambda: chain.from_iterable(table.batches() for table in (self, *others)))

    def losing(self, lost: Callable[[pa.RecordBatch], None]) -> Table:
        """The table, of which `map` may leave out rows that kill whoever works on them; `lost` is told of each."""
        return replace(self, lost=lost)

    def watched(self, see: Callable[[int], None]) -> Table:
        """The table; `see` is told the rows of each batch that passes this process. On a cluster none does."""

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in self.batches():
                yield batch
                see(batch.num_rows)

        return Table(self.name, self.schema, batches)


@dataclass(frozen=True)
class Written:
    """What `write` wrote: the table read back, its rows, and its files in order."""

    table: Table
    rows: int
    files: tuple[Path, ...]


class Engine(Protocol):
    """Four verbs and nothing else (and `close`)."""

    def map(self, table: Table, fn: Mapper, schema: pa.Schema, *, whole: str | None = None) -> Table:
        """Apply a pure function to every batch, in parallel, lazily, the order of rows kept. `schema` is what fn returns.

        whole: a column that a table which was written is sorted by: no two batches share a value of it.
        A worker process that dies costs nothing but its batch, which is tried once more, alone: where it dies again the record is looked for
        and left out, if the table may lose some (`Table.losing`). Spark tries its tasks again by itself, and leaves out none.
        Raises StepFailed, without any value, where fn raises, or a worker died on rows that must not be lost.
        """
        ...

    def tally(self, table: Table, columns: Sequence[str], subject: str | None) -> pa.Table:
        """The distinct tuples of some columns, sorted, nulls first, with `subjects`: int64, each one's number of distinct subjects (of
        rows where subject is None). Nulls are values. Without columns: one row, for the whole table.

        Raises TallyTooLarge before the tuples are gathered where they are more than the policy lets a driver hold.
        """
        ...

    def join(self, table: Table, small: Table, on: str) -> Table:
        """Left join: attach the columns of `small` (at most one row a key) to `table`, the order of its rows kept."""
        ...

    def write(self, table: Table, path: Path, *, sort: Sequence[str] = (), file_rows: int = 1_000_000, passing: bool = False) -> Written:
        """Write a folder of Parquet files (zstd), whole or not at all: an existing folder is replaced in one step.

        The bytes depend on the rows, their order and `file_rows` alone, whatever the engine; but for what is `passing` from one step to the
        next and never leaves: an engine may write it as it costs least.
        sort: columns to order the rows by (spills to disk); ties keep no order, so name enough columns.
        """
        ...

    def read(self, path: Path) -> Table:
        """A folder of Parquet files as a table."""
        ...

    def close(self) -> None:
        """Let go of workers."""
        ...


class TallyTooLarge(StepFailed):
    """The distinct tuples of the quasi-identifiers are more than the driver is allowed to hold; the message says which column makes most."""


def hold_tally(table: str, tuples: int, limit: int, distinct: Mapping[str, int]) -> None:
    """Raise TallyTooLarge where tuples are more than the limit. distinct: the distinct values of each column, which are counts and no values."""
    if tuples <= limit:
        return
    subjects = next((number for name, number in distinct.items() if name.startswith("__")), 0)
    most = sorted(((number, name) for name, number in distinct.items() if not name.startswith("__")), reverse=True)
    told = ", ".join(f"{name} {number:,}" for number, name in most)
    first = (
        f"Make '{most[0][1]}' coarser first: let the source give it so (a query that cuts it), take it out of the quasi-identifiers, or drop it"
        if most and subjects <= limit
        else f"About {subjects:,} subjects alone are more: release them in parts (a query each)"
    )
    raise TallyTooLarge(
        f"tally {table}: about {tuples:,} distinct tuples, and the driver searches up to {limit:,} (the policy's engine: {{tally: …}}). "
        f"Distinct values by column: {told or 'none'}. {first}; or give the driver more memory, some 400 bytes a tuple, and a higher limit"
    )
