"""A subject's own identifiers: found in the columns of its records, and gathered to one row a subject. Pure functions of batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.keys import Key
from anonymize.transform.batch import IDENTIFIER_LIST, IDENTIFIERS, KEY, SUBJECT, at_source
from anonymize.transform.pseudonym import pseudonymize

IDENTIFIERS_SCHEMA = pa.schema([(KEY, pa.string()), (SUBJECT, pa.string()), (IDENTIFIERS, IDENTIFIER_LIST)])
IDENTIFIER_ROWS = pa.schema([(KEY, pa.string()), ("kind", pa.string()), ("value", pa.string()), ("column", pa.string())])
"""One identifier of a subject, as it stands in a column."""


@dataclass(frozen=True)
class FindIdentifiers:
    """Of records, a row (`IDENTIFIER_ROWS`) for each value that is looked up in texts. columns: each with its kind."""

    columns: tuple[tuple[str, str], ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.concat_batches(list(self._by_column(batch)))

    def _by_column(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        for column, kind in self.columns:
            said = at_source(column) if at_source(column) in batch.schema.names else column
            value = pc.utf8_trim_whitespace(batch[said].cast(pa.string()))
            rows = [batch[KEY], pa.repeat(kind, batch.num_rows), value, pa.repeat(column, batch.num_rows)]
            found = pa.RecordBatch.from_arrays(rows, schema=IDENTIFIER_ROWS)
            yield found.filter(pc.and_(pc.is_valid(value), pc.not_equal(value, "").fill_null(False)))


@dataclass(frozen=True)
class GatherIdentifiers:
    """Of `IDENTIFIER_ROWS`, sorted, all of a subject's in one batch: a row a subject (`IDENTIFIERS_SCHEMA`), its distinct identifiers in
    a list."""

    key: Key

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        subjects, lists = [], []
        for subject, group in groupby(batch.to_pylist(), key=lambda row: row[KEY]):
            distinct = {(row["kind"], row["value"], row["column"]) for row in group}
            subjects.append(subject)
            lists.append([dict(zip(("kind", "value", "column"), item, strict=True)) for item in sorted(distinct)])
        keys = pa.array(subjects, pa.string())
        arrays = [keys, pseudonymize(keys, self.key, namespace="subject"), pa.array(lists, IDENTIFIER_LIST)]
        return pa.RecordBatch.from_arrays(arrays, schema=IDENTIFIERS_SCHEMA)
