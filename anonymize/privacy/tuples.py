"""Distinct tuples of texts as numbers: counted from a stream, and found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WIDEST = 1 << 62
#: So many keys are held before equal ones are put together.
_HELD = 64_000_000


class Tuples:
    """Some distinct tuples, to be found in columns. columns: one array a column, each of n texts, null being a value."""

    def __init__(self, columns: Sequence[pa.Array]) -> None:
        self._labels = [pc.unique(column) for column in columns]
        self._steps: list[np.ndarray | None] = []
        size, key = 1, np.zeros(len(columns[0]) if columns else 1, np.int64)
        for column, labels in zip(columns, self._labels, strict=True):
            if size * max(len(labels), 1) > _WIDEST:
                known = np.unique(key)
                self._steps.append(known)
                key, size = np.searchsorted(known, key), len(known)
            else:
                self._steps.append(None)
            key = key * len(labels) + _codes(column, labels)
            size *= max(len(labels), 1)
        self._order = np.argsort(key, kind="stable")
        self._keys = key[self._order]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, columns: Sequence[pa.Array], rows: int) -> np.ndarray:
        """int64 (rows): the position of each row's tuple, or -1."""
        if not len(self):
            return np.full(rows, -1, np.int64)
        key, known = np.zeros(rows, np.int64), np.ones(rows, bool)
        for column, labels, step in zip(columns, self._labels, self._steps, strict=True):
            if step is not None:
                key, found = _place(step, key)
                known &= found
            codes = _codes(column, labels)
            known &= codes >= 0
            key = key * len(labels) + codes
        places, found = _place(self._keys, key)
        return np.where(known & found, self._order[places], -1)


def _place(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted key stands among sorted ones, and whether it does."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return places, keys[places] == wanted


def _codes(column: pa.Array, labels: pa.Array) -> np.ndarray:
    """int64 (n): each value's position among labels, or -1. Looked up once a distinct value."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.dictionary.cast(pa.string())
    of = pc.fill_null(pc.index_in(values, labels), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    null = pc.index_in(pa.nulls(1, pa.string()), labels)[0].as_py()
    of = np.append(of, -1 if null is None else null)
    return np.asarray(of[encoded.indices.fill_null(len(of) - 1).to_numpy(zero_copy_only=False)])


class Tally:
    """Counts the distinct tuples of a stream whose columns' values are known beforehand, in little memory: a tuple is one number.

    leaves: by column, every value that may occur; null may always. Raises ValueError where the columns are too wide together for a number.
    """

    def __init__(self, leaves: Mapping[str, pa.Array]) -> None:
        self._leaves = {name: pa.concat_arrays([values.cast(pa.string()), pa.nulls(1, pa.string())]) for name, values in leaves.items()}
        if float(np.prod([float(len(values)) for values in self._leaves.values()])) > _WIDEST:
            raise ValueError("the columns' values together do not fit into a number")
        self._keys, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._waiting: list[np.ndarray] = []

    def add(self, columns: Sequence[pa.Array]) -> bool:
        """Count a batch, given in the order of `leaves`. False, and nothing is counted, where a value is not among the leaves."""
        key = np.zeros(len(columns[0]), np.int64)
        for column, values in zip(columns, self._leaves.values(), strict=True):
            codes = _codes(column, values)
            if codes.min(initial=0) < 0:
                return False
            key = key * len(values) + codes
        self._waiting.append(key)
        if sum(map(len, self._waiting)) >= _HELD:
            self._put_together()
        return True

    def table(self) -> pa.Table:
        """The distinct tuples, dictionary-encoded, in the order of the leaves, and `subjects`: int64, how often each was met."""
        self._put_together()
        rest, columns = self._keys, {}
        for name, values in reversed(self._leaves.items()):
            codes = (rest % len(values)).astype(next(t for t in (np.int8, np.int16, np.int32) if len(values) <= np.iinfo(t).max))
            rest = rest // len(values)
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == len(values) - 1), values[:-1])
        return pa.table({**{name: columns[name] for name in self._leaves}, "subjects": self._counts})

    def _put_together(self) -> None:
        if not self._waiting:
            return
        keys = np.concatenate(self._waiting)
        self._waiting = []
        keys.sort()
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
        counts = np.diff(np.append(first, len(keys)))
        keys = keys[first]
        if len(self._keys):
            both = np.concatenate([self._keys, keys])
            order = np.argsort(both, kind="stable")
            both, all_counts = both[order], np.concatenate([self._counts, counts])[order]
            first = np.flatnonzero(np.append(True, both[1:] != both[:-1]))
            keys, counts = both[first], np.add.reduceat(all_counts, first)
        self._keys, self._counts = keys, counts.astype(np.int64)
