"""A join with a table that fits into memory: looked up, so that rows keep their order and nothing is sorted.

What is attached may be long (all identifiers of a subject) and is the same for all rows of a subject: a sort of the joined rows would hold
rows times lists, which grows with the square of a subject's records. Here it is made a piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.engine.base import Table


def held(small: Table, on: str, most: int) -> pa.Table | None:
    """A table in memory, in one chunk a column; None where it takes more than `most` bytes, or where a key stands in it twice."""
    batches, size = [], 0
    for batch in small.batches():
        batches.append(batch)
        size += batch.nbytes
        if size > most:
            return None
    table = pa.Table.from_batches(batches, schema=small.schema).combine_chunks()
    keys = table[on].drop_null()
    return table if len(pc.unique(keys)) == len(keys) else None


def attached(batches: Iterator[pa.RecordBatch], small: pa.Table, on: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
    """Each row with what `small` has under its key, null where it has nothing, in pieces of about `size` attached bytes.

    small: as it was `held`; schema: of the result.
    """
    keys = _whole(small[on])
    columns = [_whole(small[name]) for name in small.schema.names if name != on]
    weights = sum((_weights(column) for column in columns), np.zeros(len(small)))
    for batch in batches:
        at = pc.index_in(batch[on].cast(keys.type), value_set=keys, skip_nulls=True)
        found = at.fill_null(-1).to_numpy(zero_copy_only=False)
        ends = np.cumsum(np.where(found >= 0, np.append(weights, 0.0)[found], 0.0))
        start = 0
        while start < batch.num_rows:
            before = ends[start - 1] if start else 0.0
            stop = max(int(np.searchsorted(ends, before + size, "right")), start + 1)
            rows = at.slice(start, stop - start)
            arrays = [*batch.slice(start, stop - start).columns, *(column.take(rows) for column in columns)]
            yield pa.RecordBatch.from_arrays(arrays, names=schema.names).cast(schema)
            start = stop


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _weights(column: pa.Array) -> np.ndarray:
    """About how many bytes each value takes."""
    if pa.types.is_list(column.type):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(float)
        return lengths * (column.nbytes / max(lengths.sum(), 1.0))
    return np.full(len(column), column.nbytes / max(len(column), 1))
