"""A de-identification that kills its process at one stay. A module of its own, for every new worker process imports it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import pyarrow as pa

from anonymize.transform.batch import ROW, Deidentify

STAY = 31
"""The number of the record that kills."""


@dataclass(frozen=True)
class DeadlyDeidentify(Deidentify):
    """As the real one, but for the stay that no process survives. What reads texts is done by worker processes."""

    @property
    def has_text(self) -> bool:
        return True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if "ward" in batch.schema.names and STAY in batch[ROW].to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)
