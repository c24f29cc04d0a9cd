"""Functions of batches that kill their process, and the rows for them. A module of its own, for every new worker process imports it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from anonymize.engine.base import Table

SCHEMA = pa.schema([("n", pa.int64())])


@dataclass(frozen=True)
class Deadly:
    """Kills its process at a row, so many times; counted in a file, for each process is a new one."""

    row: int
    times: int
    file: str
    how: str = "killed"

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self.row in batch["n"].to_pylist():
            with open(self.file, "a+") as file:
                file.seek(0)
                if len(file.read()) < self.times:
                    file.write("x")
                    file.flush()
                    if self.how == "memory":
                        raise MemoryError("of s0")
                    os.kill(os.getpid(), signal.SIGKILL)
        return batch


@dataclass(frozen=True)
class Waits:
    """Row 0 comes through only once row 90 did."""

    file: str

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        numbers = batch["n"].to_pylist()
        if 90 in numbers:
            Path(self.file).touch()
        for _ in range(3_000 if 0 in numbers else 0):
            if Path(self.file).exists():
                return batch
            time.sleep(0.01)
        if 0 in numbers:
            raise TimeoutError
        return batch


def same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def table(rows: int = 100, batch_rows: int = 10) -> Table:
    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, batch_rows):
            yield pa.record_batch({"n": range(start, min(start + batch_rows, rows))}, schema=SCHEMA)

    return Table("t", SCHEMA, batches)
