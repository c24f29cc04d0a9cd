"""Folders of Parquet files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: Rows a row group: small enough to prune by statistics, large enough to compress.
GROUP_ROWS = 131_072
#: A row group ends with the row that brings its texts to so many bytes.
GROUP_BYTES = 64 << 20
READ_ROWS = 65_536


def parquet_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a folder of Parquet files, file by file in the order of their names."""
    import pyarrow.dataset as ds  # which brings pandas: not for a worker process, that imports this module and reads nothing

    for file in sorted(path.glob("*.parquet")):
        yield from ds.dataset(file, format="parquet").to_batches(columns=columns, batch_size=READ_ROWS, batch_readahead=4, fragment_readahead=1)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A new private folder that takes the place of `path` in one step when the block ends well, and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    fresh.rename(path)


class ParquetFolder:
    """Writes batches to `part-00000.parquet`, `part-00001.parquet` …, each of `file_rows` rows, in full row groups: 131,072 rows, or fewer
    where their texts reach 64 MB. The bytes depend on the rows alone, however the batches are cut. At least one file, so that a table of no
    rows keeps its schema. dictionaries: whether columns are encoded by dictionaries first, as readers of what leaves like it; to encode and to
    decode takes twice as long."""

    def __init__(self, folder: Path, schema: pa.Schema, file_rows: int, *, name: str = "part-{:05}.parquet", dictionaries: bool = True) -> None:
        self._dictionaries = dictionaries
        self.folder, self.schema, self.file_rows, self.name = folder, schema, file_rows, name
        self.rows = 0
        self.groups: list[list[int]] = []
        """The rows of each file's row groups."""
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = self._in_file = 0
        self._writer: pq.ParquetWriter | None = None
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> ParquetFolder:
        return self

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._flush()
                self._written()
                if not self.groups:
                    self._open()
        finally:
            self._pool.shutdown()
            if self._writer is not None:
                self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch; a row group is written once it is full."""
        self.rows += batch.num_rows
        while batch.num_rows:
            room = min(GROUP_ROWS - self._pending_rows, self.file_rows - self._in_file - self._pending_rows)
            taken = batch.slice(0, room)
            taken, size = _up_to(taken, GROUP_BYTES - self._pending_bytes)
            self._pending.append(taken)
            self._pending_rows += taken.num_rows
            self._pending_bytes += size
            if taken.num_rows == room or self._pending_bytes >= GROUP_BYTES:
                self._flush()
            batch = batch.slice(taken.num_rows)

    def _flush(self) -> None:
        """Hand a row group to the thread that writes; the next is gathered meanwhile, and no more than that."""
        if not self._pending:
            return
        self._written()
        group, rows = self._pending, self._pending_rows
        self._in_file += rows
        ends = self._in_file >= self.file_rows
        self._writing = self._pool.submit(self._write, group, rows, ends)
        if ends:
            self._in_file = 0
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _written(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, group: list[pa.RecordBatch], rows: int, ends: bool) -> None:
        if self._writer is None:
            self._open()
        assert self._writer is not None  # for the type checker: _open sets it
        # In one piece: pages end where pieces do.
        self._writer.write_table(pa.Table.from_batches(group, self.schema).combine_chunks(), row_group_size=GROUP_ROWS)
        self.groups[-1].append(rows)
        if ends:
            self._writer.close()
            self._writer = None

    def _open(self) -> None:
        name = self.folder / self.name.format(len(self.groups))
        self._writer = pq.ParquetWriter(name, self.schema, compression="zstd", write_statistics=True, use_dictionary=self._dictionaries)
        self.groups.append([])


def _up_to(batch: pa.RecordBatch, room: int) -> tuple[pa.RecordBatch, int]:
    """The batch's first rows, up to the one with which its texts fill the room in bytes; and the bytes of these texts."""
    texts = [c for c in batch.columns if pa.types.is_string(c.type) or pa.types.is_binary(c.type) or pa.types.is_large_string(c.type)]
    if not texts:
        return batch, 0
    lengths = [pc.fill_null(pc.binary_length(column), 0) for column in texts]
    whole = sum(pc.sum(length).as_py() or 0 for length in lengths)
    if whole < room:
        return batch, whole
    reached = np.cumsum(sum(length.to_numpy(zero_copy_only=False).astype(np.int64) for length in lengths))
    rows = int(np.searchsorted(reached, room)) + 1
    return batch.slice(0, rows), int(reached[min(rows, len(reached)) - 1])
