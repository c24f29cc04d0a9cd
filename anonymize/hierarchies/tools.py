"""What hierarchies share: work is done once a distinct value, and null goes its own way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY


def is_text(type: pa.DataType) -> bool:
    """Whether a type is Arrow's text."""
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def each(values: pa.Array, fn: Callable[[str], str | None]) -> pa.Array:
    """fn of each distinct value's text, string, length n; null where the value is null or fn gives None."""
    encoded = _encoded(values)
    return pa.array([None if v is None else fn(v) for v in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def each_number(values: pa.Array, fn: Callable[[str], float]) -> np.ndarray:
    """fn of each distinct value's text, float64, length n; 0 where the value is null."""
    encoded = _encoded(values)
    numbers = np.array([0.0 if v is None else fn(v) for v in encoded.dictionary.to_pylist()] + [0.0])
    indices = encoded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)
    return numbers[indices]


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(values.type) and pa.types.is_string(values.type.value_type):
        return values
    return values.cast(pa.string()).dictionary_encode()


def top(values: pa.Array) -> pa.Array:
    """The top of a hierarchy for each value."""
    return pa.repeat(ANY, len(values))


def checked(values: pa.Array, result: pa.Array, name: str) -> pa.Array:
    """The result, or ValueError, without a value, where a value that is there has none."""
    missing = pc.sum(pc.and_(pc.is_valid(values), pc.is_null(result))).as_py()
    if missing:
        raise ValueError(f"hierarchy '{name}' does not cover {missing} values")
    return result
