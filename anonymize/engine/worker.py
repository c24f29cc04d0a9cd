"""What a worker process runs: the function that it is given, over batches that come and go as Arrow's bytes.

Imported at the start of every worker, so it imports little: neither DuckDB nor pandas, which Arrow's datasets bring.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from functools import lru_cache

import pyarrow as pa

from anonymize import keys
from anonymize.engine.base import Mapper
from anonymize.engine.batches import applied
from anonymize.errors import without_values


def start(secrets: dict[str, bytes]) -> None:
    """Make a process ready. secrets: the keyring of the one that started it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for reference, secret in secrets.items():
        keys.provide(reference, secret)


def _end_with_parent() -> None:
    """A worker waits for work without end: where its parent is killed, nobody else ends it, and it holds records and the key."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def packed(batch: pa.RecordBatch) -> bytes:
    """A batch for the way to or from a worker. Not pickled: a pickled slice carries all of what it is a slice of."""
    with pa.BufferOutputStream() as sink:
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue().to_pybytes()


def unpacked(data: bytes) -> pa.RecordBatch:
    """The batch that was packed."""
    return next(iter(pa.ipc.open_stream(data)))


def work(fn: bytes, data: bytes, schema: pa.Schema, where: str) -> bytes:
    """What a pickled function makes of a packed batch, packed. Raises StepFailed, without any value, where the function raises."""
    with without_values(where):
        function = _unpickled(fn)
    return packed(applied(function, unpacked(data), schema, where))


@lru_cache(maxsize=4)
def _unpickled(fn: bytes) -> Mapper:
    """A function, once for all its batches: what it derives from the key it derives once."""
    function: Mapper = pickle.loads(fn)  # noqa: S301 - from the process that started this one
    return function
