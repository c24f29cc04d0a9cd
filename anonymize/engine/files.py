"""Folders of Parquet files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

#: Rows a row group: small enough to prune by statistics, large enough to compress.
GROUP_ROWS = 131_072


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
    """Writes batches to `part-00000.parquet`, `part-00001.parquet` …, each of `file_rows` rows, in full row groups however the batches are
    cut (but 64 MB of long texts are a group too). At least one file, so that a table of no rows keeps its schema."""

    def __init__(self, folder: Path, schema: pa.Schema, file_rows: int) -> None:
        self.folder, self.schema, self.file_rows = folder, schema, file_rows
        self.rows = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = self._in_file = self._number = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ParquetFolder:
        return self

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._flush(final=True)
            if self._number == 0:
                self._open()
        if self._writer is not None:
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch; written once a row group is full (or 64 MB of long texts are waiting)."""
        self.rows += batch.num_rows
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= GROUP_ROWS or self._pending_bytes >= 64 << 20:
            self._flush(final=self._pending_rows < GROUP_ROWS)

    def _flush(self, *, final: bool) -> None:
        table = pa.Table.from_batches(self._pending, self.schema)
        start = 0
        while table.num_rows - start >= GROUP_ROWS or (final and table.num_rows > start):
            start += self._write(table.slice(start, GROUP_ROWS))
        rest = table.slice(start)
        self._pending = rest.to_batches() if rest.num_rows else []
        self._pending_rows = rest.num_rows
        self._pending_bytes = rest.nbytes if rest.num_rows else 0

    def _write(self, group: pa.Table) -> int:
        if self._writer is None or self._in_file >= self.file_rows:
            self._open()
        group = group.slice(0, min(group.num_rows, self.file_rows - self._in_file))
        assert self._writer is not None  # for the type checker: _open sets it
        self._writer.write_table(group, row_group_size=GROUP_ROWS)
        self._in_file += group.num_rows
        return group.num_rows

    def _open(self) -> None:
        if self._writer is not None:
            self._writer.close()
        name = self.folder / f"part-{self._number:05}.parquet"
        self._writer = pq.ParquetWriter(name, self.schema, compression="zstd", write_statistics=True)
        self._number += 1
        self._in_file = 0
