"""How record batches are cut for workers, and a function applied to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import without_values

if TYPE_CHECKING:
    from anonymize.engine.base import Mapper

BATCH_ROWS = 10_000
#: What a worker is given at a time: enough to pay for the way there, little enough to share long texts.
BATCH_BYTES = 256 << 10


def balanced(batches: Iterator[pa.RecordBatch], size: int | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of no more than `size` bytes to be worked on (BATCH_BYTES), so that long texts are shared among the workers. A row is never cut:
    one that is longer is a batch by itself."""
    for batch in batches:
        most = size or BATCH_BYTES
        if worked_on(batch) <= most or batch.num_rows < 2:
            yield batch
            continue
        ends, start = np.cumsum(_bytes_by_row(batch)), 0
        while start < batch.num_rows:
            before = ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(ends, before + most, "right")), start + 1)
            yield batch.slice(start, stop - start)
            start = stop


def _bytes_by_row(batch: pa.RecordBatch) -> np.ndarray:
    """About how many bytes each row takes: its texts' own, and an equal share of all else."""
    texts = [c for c in batch.columns if pa.types.is_string(c.type) or pa.types.is_binary(c.type) or pa.types.is_large_string(c.type)]
    lengths = [pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64) for column in texts]
    own = sum(lengths, np.zeros(batch.num_rows, np.int64))
    return own + max(worked_on(batch) - int(own.sum()), 0) / batch.num_rows


def worked_on(batch: pa.RecordBatch) -> int:
    """Bytes of a batch without its lists: those are a subject's identifiers, which are the same for all its rows and are made ready once."""
    return sum(column.nbytes for column in batch.columns if not pa.types.is_list(column.type))


def whole_groups(batches: Iterator[pa.RecordBatch], column: str) -> Iterator[pa.RecordBatch]:
    """The same rows, sorted by a column, in batches of which no two share a value of it: one value's rows are held together."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        change = _last_change(batch[column])
        if held and change == 0 and batch[column][0].as_py() != held[-1][column][-1].as_py():
            yield _one(held)
            held = []
        if change:
            yield _one([*held, batch.slice(0, change)])
            held = []
        held.append(batch.slice(change))
    if held:
        yield _one(held)


def applied(fn: Mapper, batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """What fn returns, under the schema. Raises StepFailed, without any value, where fn raises."""
    with without_values(where):
        return fn(batch).cast(schema)


def _last_change(column: pa.Array) -> int:
    """Where the last value of a sorted column begins; 0 where there is one value only."""
    codes = column.dictionary_encode().indices if not pa.types.is_dictionary(column.type) else column.indices
    numbers = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)
    changes = np.flatnonzero(numbers[1:] != numbers[:-1])
    return int(changes[-1]) + 1 if len(changes) else 0


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches)
