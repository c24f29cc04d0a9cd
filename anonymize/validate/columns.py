"""The leak gate over large tables: each column is searched alone, so several are searched at a time: by threads, for what is done to
cells is done by compiled code that holds no lock of Python's; in processes of their own where texts are read."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anonymize import keys
from anonymize.engine.worker import start
from anonymize.errors import StepFailed, without_values
from anonymize.keys import Key
from anonymize.validate.column import ColumnSearch
from anonymize.validate.counting import Staged
from anonymize.validate.extract import owner_hashes
from anonymize.validate.features import hasher_of
from anonymize.validate.leak import Columns, Leak
from anonymize.validate.needles import SORTED, Gathered, Needles, build_needles, finish, gather, merge_parts, prepare

ROWS = 65_536
CELLS = 2_000_000
"""Cells from which on several at a time pay for their start."""


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
            # Texts are longer than what can be told apart at once; of other columns the file has a list of the distinct values.
            listed = [] if self.column in self.columns.text else [self.column]
            for batch in _batches(self.files, [self.column], listed):
                state.read(batch.column(0), np.asarray(owner[row : row + batch.num_rows]), row)
                row += batch.num_rows
        if row != len(owner):
            raise StepFailed(f"leak gate {self.table}: {len(owner):,} subjects beside {row:,} rows; stage the table again")
        return state.leaks()


def search_staged(
    staged: Mapping[str, Staged],
    identifiers: Sequence[Path],
    folder: Path,
    key: Key,
    columns: Mapping[str, Columns],
    *,
    k: int,
    workers: int = 1,
) -> tuple[list[Leak], Needles]:
    """Every leak in some staged tables, in their order, and what was searched for.

    identifiers: Parquet files of what `collect` gathered; folder: where the needles go, of the private workspace; columns: by table;
    workers: how many at a time. Raises StepFailed, without any value.
    """
    rows = {table: sum(pq.read_metadata(file).num_rows for file in one.files(one.subjects)) for table, one in staged.items()}
    cells = sum(rows[table] * len(one.schema) for table, one in staged.items())
    if workers == 1 or cells < CELLS:
        needles = build_needles(_batches(identifiers), key, folder)
        return [leak for search in _searches(staged, folder, key, columns, k) for leak in search(needles)], needles
    prepare(folder)
    texts = any(columns[table].text for table in staged)
    with _several(workers, texts) as pool:
        parts = [pool.submit(_gather, tuple(identifiers), part, workers, folder, key) for part in range(workers)]
        searches = _searches(staged, folder, key, columns, k)
        gathered = [part.result() for part in parts]
        needles = finish(gathered, key, folder, list(pool.map(merge_parts, [folder] * len(SORTED), SORTED)))
        elsewhere = pool.map(_search, searches, [folder] * len(searches), [key] * len(searches)) if texts else None
        found = elsewhere or pool.map(Search.__call__, searches, [needles] * len(searches))
        return [leak for leaks in found for leak in leaks], needles


def _several(workers: int, texts: bool) -> Executor:
    """Texts are opened by code of Python's own, of which a process runs one piece at a time."""
    if not texts:
        return ThreadPoolExecutor(workers)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=start, initargs=(keys.provided(),))


def _searches(staged: Mapping[str, Staged], folder: Path, key: Key, columns: Mapping[str, Columns], k: int) -> list[Search]:
    found = []
    for table, one in staged.items():
        owners = folder / f"{table}.owners"
        _write_owners(one.files(one.subjects), owners, key)
        found += [Search(table, name, tuple(one.files(one.data)), owners, columns[table], k) for name in one.schema.names]
    return found


# ---------------------------------------------------------------------------------------------------------------- in one of several


def _gather(files: Sequence[Path], part: int, parts: int, folder: Path, key: Key) -> Gathered:
    """Every so many-th row group of the files."""
    groups = [(file, number) for file in files for number in range(pq.read_metadata(file).num_row_groups)]
    mine = (pq.ParquetFile(file).iter_batches(ROWS, row_groups=[number]) for file, number in groups[part::parts])
    return gather((batch for batches in mine for batch in batches), key, folder, part)


_opened: dict[Path, Needles] = {}


def _search(search: Search, folder: Path, key: Key) -> list[Leak]:
    """A worker process is of one run, and opens its needles once."""
    if folder not in _opened:
        _opened[folder] = Needles.open(folder, key)
    return search(_opened[folder])


# --------------------------------------------------------------------------------------------------------------------- small parts


def _write_owners(files: Sequence[Path], path: Path, key: Key) -> None:
    hasher = hasher_of(key)
    with path.open("wb") as out:
        for batch in _batches(files):
            owner_hashes(batch.column(0), hasher).tofile(out)


def _batches(files: Sequence[Path], columns: list[str] | None = None, listed: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """listed: columns that come as dictionaries."""
    for file in files:
        with pq.ParquetFile(file, read_dictionary=list(listed)) as opened:
            yield from opened.iter_batches(ROWS, columns=columns)
