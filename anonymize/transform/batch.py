"""A table's de-identification as one pure function, RecordBatch -> RecordBatch."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.detect.base import Identifier, Record
from anonymize.keys import Key
from anonymize.policy.model import Kind, Method, Rule, Text
from anonymize.transform import dates, pseudonym
from anonymize.transform.methods import SPECS, Context, output_type

if TYPE_CHECKING:
    from anonymize.transform.markup import Edit, Unwrapped
    from anonymize.transform.text import How, Own

KEY = "__key"
"""string: the subject key of a record as text; null in a table that is not about subjects."""
SUBJECT = "__subject"
"""string: the subject's pseudonym, beside every record until publication."""
IDENTIFIERS = "__identifiers"
"""list<struct<kind, value, column>>: the subject's own identifiers, attached to tables with texts."""
FINDINGS = "__findings"
"""string: JSON, the number of findings a kind in the record's texts."""
ROW = "__row"
"""int64: the number of a record at its source."""
KNOWN = "__known"
"""bool: whether the record's subject stands in the published subject table."""
SUPPRESSED = "__suppressed"
"""bool: whether the record's class holds fewer than k subjects."""

KNOWN_SCHEMA = pa.schema([(SUBJECT, pa.string()), (KNOWN, pa.bool_())])
IDENTIFIER_LIST = pa.list_(pa.struct([("kind", pa.string()), ("value", pa.string()), ("column", pa.string())]))


@dataclass(frozen=True)
class Deidentify:
    """Apply each column's method. rules: of the columns that leave, by source name; subject: the source column of the subject key."""

    rules: tuple[tuple[str, Rule], ...]
    subject: str | None
    key: Key
    shift_days: int
    text: Text

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Columns `__row`, `__subject`, `__findings` and the published ones, in the order of the policy."""
        offset = dates.offsets(batch[KEY], self.key, days=self.shift_days)
        subject = batch[SUBJECT] if SUBJECT in batch.schema.names else pseudonym.pseudonymize(batch[KEY], self.key, namespace=pseudonym.SUBJECT)
        counts: list[dict[str, int]] = [{} for _ in range(batch.num_rows)] if self.has_text else []
        columns = {ROW: batch[ROW], SUBJECT: subject}
        for name, rule in self.rules:
            column = batch[name]
            if rule.method is Method.SCRUB:
                column = self._scrub(column, batch, offset, counts, rule.format or "auto")
            elif name == self.subject and _same_pseudonym(rule) and column.equals(batch[KEY]):
                column = subject
            else:
                column = SPECS[rule.method].apply(column, Context(self.key, name == self.subject, offset), rule)
            columns[rule.rename or name] = column
        told = pa.array([json.dumps(c, sort_keys=True) if c else None for c in counts], pa.string())
        columns[FINDINGS] = told if self.has_text else pa.nulls(batch.num_rows, pa.string())
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def schema(self, source: pa.Schema) -> pa.Schema:
        """What the batches will be."""
        fields = [pa.field(ROW, pa.int64()), pa.field(SUBJECT, pa.string())]
        fields += [pa.field(rule.rename or name, output_type(rule, source.field(name).type)) for name, rule in self.rules]
        return pa.schema([*fields, pa.field(FINDINGS, pa.string())])

    @property
    def has_text(self) -> bool:
        """Whether a column is free text, so that the subject's identifiers are needed beside it."""
        return any(rule.method is Method.SCRUB for _, rule in self.rules)

    def _scrub(self, column: pa.Array, batch: pa.RecordBatch, offset: pa.Array, counts: list[dict[str, int]], declared: str) -> pa.Array:
        from anonymize.detect.registry import build
        from anonymize.transform.structured import scrub_structured

        records = _records(batch)
        how = self._how(batch, offset, records)
        scrubbed, found = scrub_structured(column, build(self.text), [record for record, _ in records], how, declared=declared)
        for total, more in zip(counts, found, strict=True):
            for kind, number in more.items():
                total[kind] = total.get(kind, 0) + number
        return scrubbed.cast(pa.string())

    def traced(self, column: str, batch: pa.RecordBatch) -> list[tuple[Unwrapped, list[Edit]]]:
        """What is found in a text column and what stands in its place: of each record the text, unwrapped, and the edits. For an audit."""
        from anonymize.detect.registry import build
        from anonymize.transform.structured import traced

        declared = dict(self.rules)[column].format or "auto"
        offset = dates.offsets(batch[KEY], self.key, days=self.shift_days)
        texts = [text or "" for text in batch[column].to_pylist()]
        records = _records(batch)
        return traced(texts, build(self.text), [record for record, _ in records], self._how(batch, offset, records), declared=declared)

    def _how(self, batch: pa.RecordBatch, offset: pa.Array, records: list[tuple[Record, Own]]) -> How:
        """How the texts of a batch are scrubbed."""
        from anonymize.transform.text import How

        return How(
            replace=self.text.replace,
            shift_days=offset.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) if self.text.dates == "shift" else None,
            ages_in=self.text.ages_in,
            key=self.key,
            subjects=batch[KEY],
            own=[own for _, own in records],
        )


def _same_pseudonym(rule: Rule) -> bool:
    """Whether the subject key's own pseudonym is the one that stands beside every record."""
    return rule.method is Method.PSEUDONYM and rule.format != "uid" and (rule.namespace or pseudonym.SUBJECT) == pseudonym.SUBJECT


#: So many subjects' records are kept ready in a process, by their content: a table comes in many small batches.
_READY = 256
_ready: dict[bytes, tuple[Record, Own]] = {}


def _records(batch: pa.RecordBatch) -> list[tuple[Record, Own]]:
    """The identifiers of each row's subject, and what no replacement may tell of them; rows of one subject share one record."""
    from anonymize.transform.text import NOBODY

    if IDENTIFIERS not in batch.schema.names:
        return [(Record(), NOBODY)] * batch.num_rows
    made: dict[str | None, tuple[Record, Own]] = {}
    keys = batch[KEY].to_pylist()
    for index, key in enumerate(keys):
        if key not in made:
            made[key] = _record(batch[IDENTIFIERS][index])
    return [made[key] for key in keys]


def _record(identifiers: pa.ListScalar) -> tuple[Record, Own]:
    from anonymize.transform.text import NOBODY, Own

    if not identifiers.is_valid or not len(identifiers):
        return Record(), NOBODY
    columns = [column.to_pylist() for column in identifiers.values.flatten()]
    digest = blake2b(repr(columns).encode(), digest_size=16).digest()
    if digest not in _ready:
        if len(_ready) >= _READY:
            _ready.clear()
        known = {kind.value: kind for kind in Kind}
        named = zip(*(columns[IDENTIFIER_LIST.value_type.get_field_index(name)] for name in ("kind", "value", "column")), strict=True)
        record = Record(Identifier(known[kind], value, column) for kind, value, column in named if kind in known)
        _ready[digest] = record, Own.of(record)
    return _ready[digest]


@dataclass(frozen=True)
class Keep:
    """Keep the rows in which a bool column has a value; null is not it."""

    has_text: ClassVar[bool] = False
    column: str
    value: bool

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.filter(pc.equal(batch[self.column], self.value).fill_null(False))


def at_source(column: str) -> str:
    """The name under which a column is carried as the source has it, where persons stand in the place of its keys."""
    return f"__source:{column}"


def flag_subjects(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The subjects of a batch, each marked as known: what other tables are joined with."""
    return pa.RecordBatch.from_arrays([batch[SUBJECT], pa.repeat(True, batch.num_rows)], schema=KNOWN_SCHEMA)


def total_findings(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The findings of a batch's records, added up to one row of the same column; none where there are none."""
    total: Counter[str] = Counter()
    for counts in batch[FINDINGS].drop_null().to_pylist():
        total.update(json.loads(counts))
    return pa.record_batch([pa.array([json.dumps(total)] if total else [], pa.string())], names=[FINDINGS])
