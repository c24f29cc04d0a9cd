"""The leak gate over large tables: each column is searched alone, so several are searched at a time, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anonymize import keys
from anonymize.engine.local import _start as start
from anonymize.errors import StepFailed, without_values
from anonymize.keys import Key
from anonymize.validate.column import ColumnSearch
from anonymize.validate.counting import Staged
from anonymize.validate.extract import owner_hashes
from anonymize.validate.features import hasher_of
from anonymize.validate.leak import Columns, Leak
from anonymize.validate.needles import Needles

ROWS = 65_536
CELLS = 2_000_000
"""Cells from which on processes of their own pay for their start."""


@dataclass(frozen=True)
class Search:
    """One column to be searched. owners: a file of uint64, each row's subject, hashed."""

    table: str
    column: str
    files: tuple[Path, ...]
    owners: Path
    columns: Columns
    k: int

    def __call__(self, needles: Needles) -> list[Leak]:
        """What stops the release. Raises StepFailed, without any value, where the column cannot be read."""
        state = ColumnSearch(self.table, self.column, needles, self.columns, self.k)
        owner = np.memmap(self.owners, np.uint64, "r") if self.owners.stat().st_size else np.zeros(0, np.uint64)
        row = 0
        with without_values(f"leak gate {self.table}.{self.column}"):
            for batch in _batches(self.files, [self.column]):
                state.read(batch.column(0), np.asarray(owner[row : row + batch.num_rows]), row)
                row += batch.num_rows
        if row != len(owner):
            raise StepFailed(f"leak gate {self.table}: {len(owner):,} subjects beside {row:,} rows; stage the table again")
        return state.leaks()


def search_staged(
    staged: Mapping[str, Staged], folder: Path, key: Key, columns: Mapping[str, Columns], *, k: int, workers: int = 0
) -> list[Leak]:
    """Every leak in some staged tables, in their order. folder: of the needles, as `build_needles` wrote them; columns: by table; workers:
    processes (0: one a core). Raises StepFailed, without any value."""
    searches, cells = [], 0
    for table, one in staged.items():
        owners = folder / f"{table}.owners"
        rows = _write_owners(one.files(one.subjects), owners, key)
        files = tuple(one.files(one.data))
        searches += [Search(table, name, files, owners, columns[table], k) for name in one.schema.names]
        cells += rows * len(one.schema)
    workers = workers or os.cpu_count() or 1
    if workers == 1 or cells < CELLS:
        needles = Needles.open(folder, key)
        return [leak for search in searches for leak in search(needles)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(keys.provided(), folder, key.reference, key.project)
    ) as pool:
        return [leak for found in pool.map(_run, searches) for leak in found]


_opened: list[Needles] = []
"""A worker process's needles."""


def _start(secrets: dict[str, bytes], folder: Path, reference: str, project: str) -> None:
    start(secrets)
    _opened[:] = [Needles.open(folder, Key(reference, project))]


def _run(search: Search) -> list[Leak]:
    return search(_opened[0])


def _write_owners(files: Sequence[Path], path: Path, key: Key) -> int:
    hasher, rows = hasher_of(key), 0
    with path.open("wb") as out:
        for batch in _batches(files):
            owner_hashes(batch.column(0), hasher).tofile(out)
            rows += batch.num_rows
    return rows


def _batches(files: Sequence[Path], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for file in files:
        with pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(ROWS, columns=columns)
