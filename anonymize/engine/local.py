"""The engine of one machine: worker processes over record batches, DuckDB for tallies, joins and sorts, Parquet between steps."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from anonymize import keys
from anonymize.engine import worker
from anonymize.engine.attaching import attached, held
from anonymize.engine.base import TALLY_LIMIT, Mapper, Table, Written, hold_tally
from anonymize.engine.batches import BATCH_BYTES, BATCH_ROWS, applied, balanced, whole_groups
from anonymize.engine.files import ParquetFolder, parquet_batches, replace_folder
from anonymize.engine.threads import in_threads
from anonymize.errors import StepFailed, without_values
from anonymize.policy.memory import duckdb_limit, shares

#: A table of no more is mapped without worker processes, if none run yet: to start them takes longer. Bytes; of columns, and of texts.
SMALL, SMALL_TEXT = 8 << 20, BATCH_BYTES
#: A batch for this process itself. Bytes.
LARGE = 16 << 20
#: What DuckDB sorts with, a thread: with more it is no faster, for what it holds it must first be given. Bytes.
SORTING = 250_000_000
#: A table of no more is joined by looking its rows up, in memory; a larger one by DuckDB. Bytes.
LOOKUP = 256 << 20
#: How many dying workers a map pays for to find the record that kills them; after that whole batches are given up.
MOST_DEATHS = 40
#: Tried once more, alone: a worker that was killed, and one that says itself that memory is out.
GONE = (BrokenProcessPool, MemoryError)


@dataclass
class _Mapping:
    """One map under way. fn: pickled; schema: of what comes of it; deaths: of workers."""

    fn: bytes
    schema: pa.Schema
    table: Table
    deaths: int = 0


@dataclass
class _Piece:
    """A batch under way, kept until what came of it is fetched: should its worker die it is needed again."""

    data: bytes
    where: str
    made: Future[bytes]
    kept: list[bytes] | None = None
    """What came of it, where it had to be tried alone."""


class LocalEngine:
    """Four verbs on one machine. workers: processes (0: one a core, as many as the memory is enough for); memory: what all of it may take
    (`policy.memory`); scratch: where DuckDB spills to; tally: the most distinct tuples that are searched."""

    def __init__(self, *, workers: int = 0, memory: str = "4GB", scratch: Path, tally: int = TALLY_LIMIT) -> None:
        share = shares(memory, workers, cores=os.cpu_count() or 1)
        self.workers, self.memory, self.under_way = share.workers, duckdb_limit(share.duckdb), share.under_way
        self.sorting = duckdb_limit(min(share.duckdb, share.workers * SORTING))
        self.lookup = min(share.duckdb // 2, LOOKUP)
        self.scratch, self.tally_limit = scratch, tally
        self._pool: ProcessPoolExecutor | None = None
        self._marks: dict[Path, int] = {}

    def map(self, table: Table, fn: Mapper, schema: pa.Schema, *, whole: str | None = None) -> Table:
        def batches() -> Iterator[pa.RecordBatch]:
            died = self._died(table.name)
            threads = self.workers if getattr(getattr(fn, "__self__", fn), "has_text", None) is False else 1
            if not died and (self.workers == 1 or threads > 1):
                # Nothing is sent, so larger batches cost less, as long as they are bounded.
                large = balanced(table.batches(), LARGE) if whole is None else whole_groups(table.batches(), whole)
                return self._here(table, large, fn, schema, threads)
            pieces = balanced(table.batches()) if whole is None else whole_groups(table.batches(), whole)
            small, pieces = (False, pieces) if died or self._pool is not None else _ends_within(pieces, _small(fn))
            return self._here(table, pieces, fn, schema) if small else self._in_workers(table, pieces, fn, schema, whole)

        return Table(table.name, schema, batches)

    def tally(self, table: Table, columns: Sequence[str], subject: str | None) -> pa.Table:
        names = [_quoted(c) for c in columns]
        count = f"count(DISTINCT {_quoted(subject)})" if subject else "count(*)"
        query = f"SELECT {', '.join([*names, f'{count} AS subjects'])} FROM input"  # noqa: S608
        if columns:
            query += f" GROUP BY {', '.join(names)} ORDER BY {', '.join(f'{name} NULLS FIRST' for name in names)}"
        schema = pa.schema([*(table.schema.field(c) for c in columns), pa.field("subjects", pa.int64())])
        self._hold_tally(table, columns)
        with self._duck({"input": table}) as duck, without_values(f"tally {table.name}"):
            return duck.sql(query).to_arrow_table().cast(schema.remove_metadata())

    def _hold_tally(self, table: Table, columns: Sequence[str]) -> None:
        """Estimate the number of tuples first, where there are rows enough for too many. Raises TallyTooLarge."""
        if table.path is None or not columns or _rows_of(table.path) <= self.tally_limit:
            return
        names = [_quoted(c) for c in columns]
        counts = ", ".join(f"approx_count_distinct({name})" for name in [f"hash({', '.join(names)})", *names])
        with self._duck({"input": table}) as duck, without_values(f"tally {table.name}"):
            tuples, *each = duck.execute(f"SELECT {counts} FROM input").fetchone() or (0,)  # noqa: S608
        hold_tally(table.name, tuples, self.tally_limit, dict(zip(columns, each, strict=True)))

    def join(self, table: Table, small: Table, on: str) -> Table:
        fields = [field for field in small.schema if field.name != on]
        names = ", ".join(f"s.{_quoted(f.name)}" for f in fields)
        schema = pa.schema([*table.schema, *fields])

        def batches() -> Iterator[pa.RecordBatch]:
            with without_values(f"join {table.name}"):
                looked_up = held(small, on, self.lookup)
                if looked_up is not None:
                    yield from attached(table.batches(), looked_up, on, schema, LARGE)
                    return
            # A hash join keeps no order, so the rows are numbered before and sorted after; both spill to disk.
            query = (
                f"SELECT t.* EXCLUDE (__order), {names} FROM (SELECT *, row_number() OVER () AS __order FROM input) t "  # noqa: S608
                f"LEFT JOIN small s ON t.{_quoted(on)} = s.{_quoted(on)} ORDER BY t.__order"
            )
            with self._duck({"input": table, "small": small}) as duck, without_values(f"join {table.name}"):
                for batch in duck.sql(query).to_arrow_reader(BATCH_ROWS) or ():
                    yield batch.cast(schema)

        return Table(table.name, schema, batches)

    def write(self, table: Table, path: Path, *, sort: Sequence[str] = (), file_rows: int = 1_000_000, passing: bool = False) -> Written:
        with replace_folder(path) as folder, ParquetFolder(folder, table.schema, file_rows, dictionaries=not passing) as files:
            if not sort:
                for batch in table.batches():
                    files.add(batch)
            else:
                self._write_sorted(table, sort, files, folder)
        return Written(self.read(path), files.rows, tuple(sorted(path.glob("*.parquet"))))

    def read(self, path: Path) -> Table:
        schema = pq.read_schema(min(path.glob("*.parquet")))
        return Table(path.name, schema, lambda: parquet_batches(path), path)

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _write_sorted(self, table: Table, sort: Sequence[str], files: ParquetFolder, folder: Path) -> None:
        """Sort through DuckDB. A table that is not on disk is put there first: DuckDB's threads must not wait on our worker processes."""
        parked = folder.parent / f"{folder.name}.unsorted"
        if table.path is None:
            with replace_folder(parked) as park, ParquetFolder(park, table.schema, 1_000_000, dictionaries=False) as unsorted:
                for batch in table.batches():
                    unsorted.add(batch)
            table = self.read(parked)
        order = ", ".join(f"{_quoted(c)} NULLS FIRST" for c in sort)
        with self._duck({"input": table}, self.sorting) as duck, without_values(f"sort {table.name}"):
            for batch in duck.sql(f"SELECT * FROM input ORDER BY {order}").to_arrow_reader(BATCH_ROWS * 5) or ():  # noqa: S608
                files.add(batch.cast(files.schema))
        shutil.rmtree(parked, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------------------ in this process

    def _here(
        self, table: Table, batches: Iterator[pa.RecordBatch], fn: Mapper, schema: pa.Schema, threads: int = 1
    ) -> Iterator[pa.RecordBatch]:
        """In this process; by threads where what is done to columns costs less than the way to another."""

        def work(numbered: tuple[int, pa.RecordBatch]) -> pa.RecordBatch:
            return applied(fn, numbered[1], schema, f"{table.name}, batch {numbered[0]}")

        with self._marked(table.name):
            yield from in_threads(work, enumerate(batches, 1), threads) if threads > 1 else map(work, enumerate(batches, 1))

    @contextmanager
    def _marked(self, name: str) -> Iterator[None]:
        """A file stands in the scratch folder while this process itself works on a table. Where it is left behind the process died, perhaps
        of a record: the run that goes on leaves that table to worker processes, which may die (`_died`)."""
        mark = self._mark(name)
        self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark.touch(mode=0o600)
        self._marks[mark] = self._marks.get(mark, 0) + 1
        try:
            yield
        finally:
            self._marks[mark] -= 1
            if not self._marks[mark]:
                mark.unlink(missing_ok=True)

    def _died(self, name: str) -> bool:
        return not self._marks.get(self._mark(name)) and self._mark(name).exists()

    def _mark(self, name: str) -> Path:
        return self.scratch / f"{name}.in-process"

    # ----------------------------------------------------------------------------------------------------------- in worker processes

    def _in_workers(
        self, table: Table, batches: Iterator[pa.RecordBatch], fn: Mapper, schema: pa.Schema, whole: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Batches go to the workers and come back in order. Two a worker are being worked on or wait for it; with what came back and waits
        for one before it, a long text, they hold no more bytes than the engine may have under way."""
        with without_values(table.name):
            mapping = _Mapping(pickle.dumps(fn), schema, table if whole is None else replace(table, lost=None))
        under_way: deque[_Piece] = deque()
        held = 0
        try:
            for number, batch in enumerate(batches, 1):
                data = worker.packed(batch)
                while under_way and self._must_wait(under_way, held + 2 * len(data)):
                    held -= 2 * len(under_way[0].data)
                    yield from self._next(under_way, mapping)
                where = f"{table.name}, batch {number}"
                under_way.append(_Piece(data, where, self._submit(mapping, data, where)))
                held += 2 * len(data)  # on its way there, and back
            while under_way:
                yield from self._next(under_way, mapping)
            self._mark(table.name).unlink(missing_ok=True)
        finally:
            for piece in under_way:
                piece.made.cancel()

    def _must_wait(self, under_way: deque[_Piece], held: int) -> bool:
        """Wait until there is room for one more; returns whether the first is to be taken out, for that or because it is done."""
        while True:
            busy = [piece.made for piece in under_way if not piece.made.done()]
            if held > self.under_way or under_way[0].made.done():
                return True
            if len(busy) < 2 * self.workers:
                return False
            wait(busy, return_when=FIRST_COMPLETED)

    def _next(self, under_way: deque[_Piece], mapping: _Mapping) -> Iterator[pa.RecordBatch]:
        """What came of the first batch under way."""
        first = under_way[0]
        if first.kept is None and isinstance(first.made.exception(), GONE):
            # Nobody knows which of them it was. Each is tried again by itself: the others come through, whether or not it dies again.
            wait([piece.made for piece in under_way])
            for piece in under_way:
                if piece.kept is None and isinstance(piece.made.exception(), GONE):
                    piece.kept = self._alone(mapping, piece.data, piece.where)
        under_way.popleft()
        for made in first.kept if first.kept is not None else [first.made.result()]:
            yield worker.unpacked(made)

    def _alone(self, mapping: _Mapping, data: bytes, where: str) -> list[bytes]:
        """What comes of a batch while nothing else is under way. Where a worker dies of it the record that it dies of is given up."""
        try:
            return [self._submit(mapping, data, where).result()]
        except GONE:
            mapping.deaths += 1
        if mapping.table.lost is None:
            raise StepFailed(
                f"{where}: a worker process ended twice on it (out of memory, or a fault in a library). Without these rows the release would be "
                f"wrong, so the run ends. Give it more memory or fewer workers (engine: {{local: …}}) and start it again: it goes on"
            )
        return self._without_killers(mapping, worker.unpacked(data), where)

    def _without_killers(self, mapping: _Mapping, batch: pa.RecordBatch, where: str) -> list[bytes]:
        """What comes of a batch that a worker died of, without the records that it dies of."""
        if batch.num_rows == 1 or mapping.deaths > MOST_DEATHS:
            assert mapping.table.lost is not None  # for the type checker: else nobody looks for them
            mapping.table.lost(batch)
            return []
        half, deaths = batch.num_rows // 2, mapping.deaths
        first, second = batch.slice(0, half), batch.slice(half)
        made = self._alone(mapping, worker.packed(first), where)
        if mapping.deaths > deaths or second.num_rows == 1:
            return made + self._alone(mapping, worker.packed(second), where)
        return made + self._without_killers(mapping, second, where)  # it is in there, so no other worker need die to tell

    def _submit(self, mapping: _Mapping, data: bytes, where: str) -> Future[bytes]:
        work = partial(worker.work, mapping.fn, data, mapping.schema, where)
        try:
            return self._workers().submit(work)
        except BrokenProcessPool:  # since the last batch was taken out
            self.close()
            return self._workers().submit(work)

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # spawn, not fork: DuckDB and Arrow hold threads. The keyring travels over the pipe, not through a file or the command line.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=worker.start, initargs=(keys.provided(),))
        return self._pool

    # ------------------------------------------------------------------------------------------------------------------------ DuckDB

    def _duck(self, tables: dict[str, Table], limit: str | None = None) -> duckdb.DuckDBPyConnection:
        self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        duck = duckdb.connect(config={"memory_limit": limit or self.memory, "temp_directory": str(self.scratch), "threads": self.workers})
        duck.execute("SET enable_progress_bar = false")
        for name, table in tables.items():
            if table.path is not None:
                duck.read_parquet([str(f) for f in sorted(table.path.glob("*.parquet"))]).create_view(name)
            else:
                duck.register(name, pa.RecordBatchReader.from_batches(table.schema, table.batches()))
        return duck


def _rows_of(path: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in path.glob("*.parquet"))


def _small(fn: Mapper) -> int:
    return SMALL_TEXT if getattr(fn, "has_text", False) else SMALL


def _ends_within(batches: Iterator[pa.RecordBatch], size: int) -> tuple[bool, Iterator[pa.RecordBatch]]:
    """Whether batches have no more bytes than `size`, all together; and all of them, for they had to be looked at."""
    seen: list[pa.RecordBatch] = []
    for batch in batches:
        seen.append(batch)
        size -= batch.nbytes
        if size < 0:
            return False, chain(seen, batches)
    return True, iter(seen)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
