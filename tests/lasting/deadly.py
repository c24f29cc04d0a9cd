"""A de-identification that kills its process at one note. A module of its own, for every new worker process imports it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import pyarrow as pa

from anonymize.transform.batch import ROW, Deidentify

NOTE = 31
"""The number of the record that kills."""


@dataclass(frozen=True)
class DeadlyDeidentify(Deidentify):
    """As the real one, but for the note that no process survives."""

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if "body" in batch.schema.names and NOTE in batch[ROW].to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)
