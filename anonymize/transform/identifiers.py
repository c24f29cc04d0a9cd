"""A subject's own identifiers: found in the columns of its records, and gathered to one row a subject. Pure functions of batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.keys import Key
from anonymize.transform.batch import IDENTIFIER_LIST, IDENTIFIERS, KEY, SUBJECT, at_source
from anonymize.transform.pseudonym import pseudonymize

IDENTIFIERS_SCHEMA = pa.schema([(KEY, pa.string()), (SUBJECT, pa.string()), (IDENTIFIERS, IDENTIFIER_LIST)])
"""One row a subject, its distinct identifiers in order."""


@dataclass(frozen=True)
class FindIdentifiers:
    """Of records, all of a subject's in one batch, a row a subject (`IDENTIFIERS_SCHEMA`). columns: those whose values are looked up in texts,
    each with its kind. A subject who has none has no row."""

    has_text: ClassVar[bool] = False
    columns: tuple[tuple[str, str], ...]
    key: Key

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        again = _as_before(batch[KEY])
        subject, rows, values, counts = np.cumsum(~again) - 1, [], [], []
        for column, _ in self.columns:
            said = at_source(column) if at_source(column) in batch.schema.names else column
            value = pc.utf8_trim_whitespace(batch[said].cast(pa.string()))
            there = pc.not_equal(value, "").fill_null(False).to_numpy(zero_copy_only=False)
            # What stands in a row of the subject again and again is looked at once.
            there = np.flatnonzero(there & ~(again & _as_before(value)))
            rows.append(subject[there])
            values.append(value.take(pa.array(there)))
            counts.append(len(there))
        which = np.repeat(np.arange(len(self.columns)), counts)
        kinds, columns = (pa.array([pair[place] for pair in self.columns], pa.string()).take(pa.array(which)) for place in (1, 0))
        return _gathered(batch[KEY].filter(pa.array(~again)), self.key, np.concatenate(rows), [kinds, pa.concat_arrays(values), columns])


@dataclass(frozen=True)
class JoinIdentifiers:
    """Of rows of `IDENTIFIERS_SCHEMA`, of several tables, all of a subject's in one batch: one row a subject."""

    has_text: ClassVar[bool] = False
    key: Key

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        again = _as_before(batch[KEY])
        subject = np.cumsum(~again) - 1
        parents = pc.list_parent_indices(batch[IDENTIFIERS]).to_numpy(zero_copy_only=False)
        fields = pc.list_flatten(batch[IDENTIFIERS]).flatten()
        return _gathered(batch[KEY].filter(pa.array(~again)), self.key, subject[parents.astype(np.int64)], fields)


def _gathered(keys: pa.Array, key: Key, subject: np.ndarray, fields: Sequence[pa.Array]) -> pa.RecordBatch:
    """keys: of the subjects; subject: int64 (n), whose each identifier is; fields: kinds, values and columns, strings (n)."""
    place, texts, many = subject.astype(np.int64), [], []
    for field in fields:
        encoded = field.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary)
        rank = np.empty(len(order), np.int64)
        rank[order.to_numpy()] = np.arange(len(order))
        texts.append(encoded.dictionary.take(order))
        many.append(max(len(order), 1))
        place = place * many[-1] + rank[encoded.indices.to_numpy()] if len(field) else place
    place = np.sort(place)  # np.unique tells values apart by hashes, which takes a hundred times as long where most are distinct
    place = place[np.diff(place, prepend=-1) != 0]
    found = []
    for text, number in zip(reversed(texts), reversed(many), strict=True):
        found.append(text.take(pa.array(place % number)))
        place //= number
    first = np.flatnonzero(np.diff(place, prepend=-1))
    names = IDENTIFIER_LIST.value_type
    values = pa.StructArray.from_arrays(found[::-1], fields=[names.field(number) for number in range(names.num_fields)])
    lists = pa.ListArray.from_arrays(pa.array(np.append(first, len(place)), pa.int32()), values)
    whose = keys.take(pa.array(place[first]))
    arrays = [whose, pseudonymize(whose, key, namespace="subject"), lists.cast(IDENTIFIER_LIST)]
    return pa.RecordBatch.from_arrays(arrays, schema=IDENTIFIERS_SCHEMA)


def _as_before(column: pa.Array) -> np.ndarray:
    """bool (n): whether a cell is that of the row before, null being like null; the first is not."""
    same = np.zeros(len(column), bool)
    if len(column) > 1:
        later, earlier = column.slice(1), column.slice(0, len(column) - 1)
        both_null = pc.and_(pc.is_null(later), pc.is_null(earlier))
        same[1:] = pc.or_(both_null, pc.equal(later, earlier).fill_null(False)).to_numpy(zero_copy_only=False)
    return same
