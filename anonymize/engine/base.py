"""The narrow interface behind which the work runs: four verbs over tables of Arrow batches.

Everything that the six steps do to data is written with these verbs, so that a step runs the same in one process and on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

Mapper = Callable[[pa.RecordBatch], pa.RecordBatch]
"""A pure function of a batch. It is pickled to workers: a module-level function or a frozen dataclass with `__call__`."""


@dataclass(frozen=True)
class Table:
    """A named stream of record batches that can be read more than once.

    path: the folder of Parquet files behind it, where there is one; then the engine need not move the rows through Python.
    """

    name: str
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    path: Path | None = None


@dataclass(frozen=True)
class Written:
    """What `write` wrote: the table read back, its rows, and its files in order."""

    table: Table
    rows: int
    files: tuple[Path, ...]


class Engine(Protocol):
    """Four verbs and nothing else (and `close`)."""

    def map(self, table: Table, fn: Mapper, schema: pa.Schema) -> Table:
        """Apply a pure function to every batch, in parallel, lazily, the order of batches kept. `schema` is what fn returns.

        Raises StepFailed, without any value, where fn raises.
        """
        ...

    def tally(self, table: Table, columns: Sequence[str], subject: str | None) -> pa.Table:
        """The distinct tuples of some columns, sorted, nulls first, with `subjects`: int64, each one's number of distinct subjects (of
        rows where subject is None). Nulls are values."""
        ...

    def join(self, table: Table, small: Table, on: str) -> Table:
        """Left join: attach the columns of `small` (at most one row a key) to `table`, the order of its rows kept."""
        ...

    def write(self, table: Table, path: Path, *, sort: Sequence[str] = (), file_rows: int = 1_000_000) -> Written:
        """Write a folder of Parquet files (zstd), whole or not at all: an existing folder is replaced in one step.

        sort: columns to order the rows by (spills to disk); ties keep no order, so name enough columns.
        """
        ...

    def read(self, path: Path) -> Table:
        """A folder of Parquet files as a table."""
        ...

    def close(self) -> None:
        """Let go of workers."""
        ...
