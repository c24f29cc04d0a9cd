"""The engine of one machine: worker processes over record batches, DuckDB for tallies, joins and sorts, Parquet between steps."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from anonymize import keys
from anonymize.engine.base import TALLY_LIMIT, Mapper, Table, Written, hold_tally
from anonymize.engine.batches import BATCH_ROWS, applied, balanced, whole_groups
from anonymize.engine.files import ParquetFolder, parquet_batches, replace_folder
from anonymize.errors import StepFailed, without_values


class LocalEngine:
    """Four verbs on one machine. workers: processes (0: one a core); memory: DuckDB's limit; scratch: where DuckDB spills to;
    tally: the most distinct tuples that are searched."""

    def __init__(self, *, workers: int = 0, memory: str = "4GB", scratch: Path, tally: int = TALLY_LIMIT) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.memory, self.scratch, self.tally_limit = memory, scratch, tally
        self._pool: ProcessPoolExecutor | None = None

    def map(self, table: Table, fn: Mapper, schema: pa.Schema, *, whole: str | None = None) -> Table:
        run = self._serial if self.workers == 1 else self._parallel
        cut = table.batches if whole is None else lambda: whole_groups(table.batches(), whole)
        return Table(table.name, schema, lambda: run(Table(table.name, table.schema, cut), fn, schema, whole is None))

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
        attached = [field for field in small.schema if field.name != on]
        names = ", ".join(f"s.{_quoted(f.name)}" for f in attached)
        schema = pa.schema([*table.schema, *attached])

        def batches() -> Iterator[pa.RecordBatch]:
            # A hash join keeps no order, so the rows are numbered before and sorted after; both spill to disk.
            query = (
                f"SELECT t.* EXCLUDE (__order), {names} FROM (SELECT *, row_number() OVER () AS __order FROM input) t "  # noqa: S608
                f"LEFT JOIN small s ON t.{_quoted(on)} = s.{_quoted(on)} ORDER BY t.__order"
            )
            with self._duck({"input": table, "small": small}) as duck, without_values(f"join {table.name}"):
                for batch in duck.sql(query).to_arrow_reader(BATCH_ROWS) or ():
                    yield batch.cast(schema)

        return Table(table.name, schema, batches)

    def write(self, table: Table, path: Path, *, sort: Sequence[str] = (), file_rows: int = 1_000_000) -> Written:
        with replace_folder(path) as folder, ParquetFolder(folder, table.schema, file_rows) as files:
            if not sort:
                for batch in table.batches():
                    files.add(batch)
            else:
                self._write_sorted(table, sort, files, folder)
        return Written(self.read(path), files.rows, tuple(sorted(path.glob("*.parquet"))))

    def read(self, path: Path) -> Table:
        dataset = ds.dataset(path, format="parquet")
        return Table(path.name, dataset.schema, lambda: parquet_batches(path), path)

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _write_sorted(self, table: Table, sort: Sequence[str], files: ParquetFolder, folder: Path) -> None:
        """Sort through DuckDB. A table that is not on disk is put there first: DuckDB's threads must not wait on our worker processes."""
        parked = folder.parent / f"{folder.name}.unsorted"
        if table.path is None:
            with replace_folder(parked) as park, ParquetFolder(park, table.schema, 1_000_000) as unsorted:
                for batch in table.batches():
                    unsorted.add(batch)
            table = self.read(parked)
        order = ", ".join(f"{_quoted(c)} NULLS FIRST" for c in sort)
        with self._duck({"input": table}) as duck, without_values(f"sort {table.name}"):
            for batch in duck.sql(f"SELECT * FROM input ORDER BY {order}").to_arrow_reader(BATCH_ROWS * 10) or ():  # noqa: S608
                files.add(batch.cast(files.schema))
        shutil.rmtree(parked, ignore_errors=True)

    def _serial(self, table: Table, fn: Mapper, schema: pa.Schema, cut: bool) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        for number, batch in enumerate(table.batches()):
            yield applied(fn, batch, schema, f"{table.name}, batch {number + 1}")

    def _parallel(self, table: Table, fn: Mapper, schema: pa.Schema, cut: bool) -> Iterator[pa.RecordBatch]:
        """Batches go to the workers and come back in order; no more than twice the workers are under way, so memory stays bounded."""
        pool = self._workers()
        under_way: deque[Future[bytes]] = deque()
        try:
            for number, batch in enumerate(balanced(table.batches()) if cut else table.batches()):
                under_way.append(pool.submit(_remote, fn, _packed(batch), schema, f"{table.name}, batch {number + 1}"))
                if len(under_way) >= 2 * self.workers:
                    yield _unpacked(under_way.popleft().result())
            while under_way:
                yield _unpacked(under_way.popleft().result())
        except BrokenProcessPool:
            self._pool = None
            raise StepFailed(f"{table.name}: a worker process ended (out of memory, or killed). Start the run again: it goes on") from None
        finally:
            for future in under_way:
                future.cancel()

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # spawn, not fork: DuckDB and Arrow hold threads. The keyring travels over the pipe, not through a file or the command line.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start, initargs=(keys.provided(),))
        return self._pool

    def _duck(self, tables: dict[str, Table]) -> duckdb.DuckDBPyConnection:
        self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        duck = duckdb.connect(config={"memory_limit": self.memory, "temp_directory": str(self.scratch), "threads": self.workers})
        duck.execute("SET enable_progress_bar = false")
        for name, table in tables.items():
            if table.path is not None:
                duck.read_parquet([str(f) for f in sorted(table.path.glob("*.parquet"))]).create_view(name)
            else:
                duck.register(name, pa.RecordBatchReader.from_batches(table.schema, table.batches()))
        return duck


def _rows_of(path: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in path.glob("*.parquet"))


def _start(secrets: dict[str, bytes]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for reference, secret in secrets.items():
        keys.provide(reference, secret)


def _end_with_parent() -> None:
    """A worker waits for work without end: where its parent is killed, nobody else ends it, and it holds records and the key."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _packed(batch: pa.RecordBatch) -> bytes:
    """A batch for the way to or from a worker. Not pickled: a pickled slice carries all of what it is a slice of."""
    with pa.BufferOutputStream() as sink:
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue().to_pybytes()


def _unpacked(data: bytes) -> pa.RecordBatch:
    return next(iter(pa.ipc.open_stream(data)))


def _remote(fn: Mapper, data: bytes, schema: pa.Schema, where: str) -> bytes:
    return _packed(applied(fn, _unpacked(data), schema, where))


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
