"""A table's records from its source into the workspace: whole, or what is new merged into what was kept.

What lies in `extract/<table>` afterwards is the table as it stands at the source, of the subjects who may be here, either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.detect.columns import searched_kinds
from anonymize.engine.base import Table
from anonymize.lasting import cohort, drift, kept, linkage, merging
from anonymize.policy.lasting import Incremental
from anonymize.policy.model import Method, Policy, Rule
from anonymize.run import Counts, Run
from anonymize.sources import Source, open_source
from anonymize.sources.base import ROW, Malformed, TellsMore, TellsOfFiles
from anonymize.sources.parts import of_fields
from anonymize.sources.quarantine import Quarantine
from anonymize.taking_back import withheld
from anonymize.transform import dates
from anonymize.transform.batch import KEY, at_source
from anonymize.transform.batch import SUBJECT as SUBJECT_ID
from anonymize.transform.methods import ARROW_TYPES
from anonymize.transform.pseudonym import SUBJECT, canonical, pseudonymize


def extract(run: Run, table: str) -> Counts:
    """Extract one table; counts of its rows, of what was quarantined and why, and of who was left at the source.

    Raises SourceError, and QuarantineBudgetExceeded where more records are malformed than the policy allows.
    """
    reading = Reading.of(run, table)
    with Quarantine(run.folder("quarantine") / f"{table}.parquet", table) as quarantine:
        read = merging.rows(reading, quarantine) if reading.incremental else Rows(reading.conforming(reading.items(), quarantine))
        codes = drift.Codes(run.policy, table, run.key)
        stream = Table(table, reading.schema, lambda: _seen(reading.ready(read.batches, quarantine), codes))
        # In the order in which they leave: whoever comes later has a subject's records together, and sorts no more.
        stream = run.watched(stream, "extract")
        written = run.engine.write(stream, run.folder("extract", table), sort=[SUBJECT_ID, ROW], passing=True)
    quarantine.check_budget(written.rows, run.policy.checks.quarantine)
    counts = {"rows": written.rows, "quarantined": quarantine.total, "reasons": dict(quarantine.reasons), "columns": reading.columns}
    counts |= _told(reading, quarantine)
    return counts | reading.gate.counts() | codes.told() | read.counts


def _told(reading: Reading, quarantine: Quarantine) -> Counts:
    """What a source has to tell beside its records. Raises QuarantineBudgetExceeded where too many of its files could not be read."""
    told = reading.source.told(reading.place[0]) if isinstance(reading.source, TellsMore) else {}
    if not isinstance(reading.source, TellsOfFiles):
        quarantine.check_files(0, reading.run.policy.checks.quarantined_files)
        return told
    quarantine.check_files(told.get("files", 0), reading.run.policy.checks.quarantined_files)
    return {"files": {**told, "broken": dict(quarantine.file_reasons)}, "quarantined_files": quarantine.files} if told else {}


def _seen(batches: Iterator[pa.RecordBatch], codes: drift.Codes) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        codes.see(batch)
        yield batch


@dataclass
class Rows:
    """Conforming records, and what else is to be told of how they were come by."""

    batches: Iterator[pa.RecordBatch]
    counts: Counts = field(default_factory=dict)


class Gate:
    """Lets the records pass whose subjects may be here: who did not opt out, was not taken back, and is in the cohort. Counts the others."""

    def __init__(self, run: Run, table: str) -> None:
        self.run, self.table, self.subject = run, table, run.policy.subject_column(table)
        self.source = run.policy.source_of(table)[0]
        self.people = linkage.people(run)
        self.cohort = cohort.members(run, self.people)
        self._keep = withheld.keep(run) if self.subject is not None else None
        self._out: set[str] = set()
        self._found: set[str] = set()
        self._rows_out = self._not_in_cohort = 0

    def keys(self, column: pa.Array) -> pa.Array:
        """The subject (the person, where systems are linked) of each of a source's keys, as text; null where there is none."""
        return canonical(column) if self.people is None else self.people.resolve(column, self.source)

    def passes(self, keys: pa.Array) -> pa.Array:
        """bool: which subjects may be here; who they are not known to be is for others to say."""
        return pc.and_(self._stays(keys), self._listed(keys))

    def let(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The records of a batch that pass; the others are counted."""
        if self._keep is None or self.subject is None:
            return batch
        keys = self.keys(batch[self.subject])
        stays, listed = self._stays(keys), self._listed(keys)
        out = keys.filter(pc.invert(stays))
        self._rows_out += len(out)
        self._out.update(out.unique().to_pylist())
        self._not_in_cohort += pc.sum(pc.and_(stays, pc.invert(listed))).as_py() or 0
        return of_those(batch, pc.and_(stays, listed))

    def _stays(self, keys: pa.Array) -> pa.Array:
        """bool: which subjects did not opt out and were not taken back."""
        return pa.repeat(True, len(keys)) if self._keep is None else self._keep(pa.RecordBatch.from_arrays([keys], names=[KEY]))

    def _listed(self, keys: pa.Array) -> pa.Array:
        """bool: which subjects are in the cohort, where there is one."""
        if self._keep is None or self.cohort is None:
            return pa.repeat(True, len(keys))
        encoded = keys.dictionary_encode()
        listed = pa.array([key in self.cohort for key in encoded.dictionary.to_pylist()], pa.bool_())
        return listed.take(encoded.indices).fill_null(True)

    def met(self, keys: pa.Array) -> None:
        """Note the subjects of records that go on."""
        if self.cohort is not None:
            self._found.update(keys.drop_null().unique().to_pylist())

    def counts(self) -> Counts:
        """For the record."""
        if self._keep is None:
            return {}
        cohort.found(self.run, self.table, self._found)
        found = {"withheld": self._rows_out, "withheld_subjects": len(self._out)}
        return found | ({"not_in_cohort": self._not_in_cohort} if self.cohort is not None else {})


@dataclass
class Reading:
    """One table that is read. columns: those that go on; declared: types by the policy; types: of these, and of those columns that only tell
    what is new; schema: of what goes on."""

    run: Run
    table: str
    source: Source
    columns: list[str]
    declared: dict[str, pa.DataType]
    types: dict[str, pa.DataType]
    schema: pa.Schema
    gate: Gate
    narrowed: bool = False
    """Whether the source gives what changed alone."""

    @classmethod
    def of(cls, run: Run, table: str) -> Reading:
        """Raises SourceError where the source or a column is not there."""
        policy, spec = run.policy, run.policy.tables[table]
        name, settings = kept.narrowed(run).source_of(table)
        source = open_source(name, settings, policy, run.connections, room=run.folder("sources"))
        at = source.schema(spec.from_ or table, spec.query)
        declared = {c: ARROW_TYPES[rule.type] for c, rule in spec.columns.items() if rule.type}
        columns = needed(policy, table)
        narrowed = settings != policy.source_of(table)[1]
        types = {c: declared.get(c) or _type(at, c, name, table) for c in [*columns, *extra(spec.incremental, columns)]}
        gate = Gate(run, table)
        fields = [pa.field(c, pa.string() if c in linked(policy, table) else types[c]) for c in columns]
        beside = [pa.field(at_source(c), types[c]) for c in columns if c in linked(policy, table)]
        known = [pa.field(ROW, pa.int64()), pa.field(KEY, pa.string()), pa.field(SUBJECT_ID, pa.string())]
        schema = pa.schema([*known, *fields, *beside])
        return cls(run, table, source, columns, {c: t for c, t in declared.items() if c in types}, types, schema, gate, narrowed)

    @property
    def incremental(self) -> Incremental | None:
        return self.run.policy.tables[self.table].incremental

    @property
    def place(self) -> tuple[str, str | None]:
        """The table's name at the source, and the query in its place."""
        spec = self.run.policy.tables[self.table]
        return spec.from_ or self.table, spec.query

    def items(self) -> Iterator[pa.RecordBatch | Malformed]:
        """Everything that the source has."""
        name, query = self.place
        return self.source.read(name, list(self.types), query=query, types=self.declared)

    def widen(self) -> None:
        """Ask the source for everything, where it was asked for what changed."""
        name, settings = self.run.policy.source_of(self.table)
        if self.narrowed:
            self.source = open_source(name, settings, self.run.policy, self.run.connections, room=self.run.folder("sources") / "whole")
            self.narrowed = False

    def conforming(self, items: Iterator[pa.RecordBatch | Malformed], quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
        """The records that every later step can rely on: a subject, and dates that are dates. The others are quarantined, but for those of
        subjects who may not be here: of these nothing is held. Columns: `__row` and those of `types`, as the source has them."""
        rules, subject = self.run.policy.tables[self.table].columns, self.gate.subject
        rows = self.incremental.row if self.incremental else ()
        for item in items:
            if isinstance(item, Malformed):
                if self._may_be_held(item):
                    quarantine.add(item)
                continue
            item = pa.RecordBatch.from_arrays([item[ROW], *(item[c].cast(t) for c, t in self.types.items())], names=[ROW, *self.types])
            item = self.gate.let(item)
            good = pa.repeat(True, item.num_rows)
            keys = merging.row_keys(item, rows) if rows else None
            for reason, column, fine in _conditions(item, rules, subject, rows):
                quarantine.add_rows(item, pc.and_(good, pc.invert(fine)), reason, column, keys)
                good = pc.and_(good, fine)
            yield of_those(item, good)

    def ready(self, batches: Iterator[pa.RecordBatch], quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
        """Conforming records with `__key` and `__subject`; persons in the place of keys where systems are linked, beside them what the source
        said, for the texts may say it too. A key of no person is quarantined."""
        subject, people, linked_columns = self.gate.subject, self.gate.people, linked(self.run.policy, self.table)
        for batch in batches:
            keys = self.gate.keys(batch[subject]) if subject is not None else pa.nulls(batch.num_rows, pa.string())
            if people is not None and subject is not None:
                named = merging.row_keys(batch, self.incremental.row) if self.incremental else None
                quarantine.add_rows(batch.select([ROW, *self.types]), pc.is_null(keys), "no-person", subject, named)
                batch, keys = batch.filter(pc.is_valid(keys)), keys.drop_null()
            self.gate.met(keys)
            arrays = {ROW: batch[ROW], KEY: keys, SUBJECT_ID: pseudonymize(keys, self.run.key, namespace=SUBJECT)}
            for column in self.columns:
                arrays[column] = _persons(people, self.gate.source, batch[column]) if column in linked_columns and people else batch[column]
            arrays |= {at_source(column): batch[column] for column in self.columns if column in linked_columns}
            yield pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)

    def _may_be_held(self, item: Malformed) -> bool:
        """Whether a malformed record's subject may be here; where it cannot be told whose it is, it waits."""
        subject = self.gate.subject
        key = of_fields(item.fields, subject, self.types[subject]) if subject is not None else None
        return key is None or bool(self.gate.passes(self.gate.keys(key))[0].as_py())


def needed(policy: Policy, table: str) -> list[str]:
    """The columns that leave, those that are looked up in texts, and the subject key: no more is taken from the source."""
    searched = searched_kinds(policy, table)
    subject = policy.subject_column(table)
    named = [c for c, rule in policy.tables[table].columns.items() if rule.leaves or c in searched or c == subject]
    return named if subject is None or subject in named else [subject, *named]


def extra(spec: Incremental | None, columns: list[str]) -> list[str]:
    """The columns that are read beside those to tell what is new: the row key, the cursor, the flag of what is deleted."""
    if spec is None:
        return []
    flag = [spec.deletes.flag] if not isinstance(spec.deletes, str) and spec.deletes.flag else []
    return [c for c in dict.fromkeys([*spec.row, spec.cursor, *flag]) if c and c not in columns]


def linked(policy: Policy, table: str) -> set[str]:
    """The columns whose keys become persons where systems are linked: the subject key, and what shares its namespace."""
    if policy.linkage is None:
        return set()
    rules = policy.tables[table].columns
    same = {c for c, rule in rules.items() if rule.method is Method.PSEUDONYM and rule.namespace == SUBJECT}
    subject = policy.subject_column(table)
    return same | ({subject} if subject is not None else set())


def of_those(batch: pa.RecordBatch, which: pa.Array) -> pa.RecordBatch:
    """The records of a batch that `which` (bool) marks; the batch itself, and no copy, where that is all of them."""
    return batch if pc.all(which, min_count=0).as_py() else batch.filter(which)


def _persons(people: linkage.People, source: str, column: pa.Array) -> pa.Array:
    found = people.resolve(column, source)
    own = pc.binary_join_element_wise(people.systems[source], canonical(column), linkage.OWN)
    return pc.coalesce(found, own)


def _type(schema: pa.Schema, column: str, source: str, table: str) -> pa.DataType:
    from anonymize.errors import SourceError
    from anonymize.policy.nearest import nearest

    if column not in schema.names:
        raise SourceError(f"source '{source}', table '{table}': no column '{column}'.{nearest(column, schema.names)}")
    return schema.field(column).type


def _conditions(
    batch: pa.RecordBatch, rules: dict[str, Rule], subject: str | None, rows: tuple[str, ...]
) -> Iterator[tuple[str, str, pa.Array]]:
    for name in rows:
        yield "no-row-key", name, pc.is_valid(batch[name])
    if subject is not None:
        yield "no-subject", subject, pc.and_(pc.is_valid(batch[subject]), pc.not_equal(canonical(batch[subject]).fill_null(""), ""))
    for name, rule in rules.items():
        if rule.method in (Method.SHIFT, Method.YEAR) and name in batch.schema.names and pa.types.is_string(batch[name].type):
            yield "not-date", name, dates.parsable(batch[name], format=rule.format)


def deleted(spec: Incremental, batch: pa.RecordBatch) -> pa.Array:
    """bool: which records carry the flag of a deleted row."""
    flag = None if isinstance(spec.deletes, str) else spec.deletes.flag
    if flag is None:
        return pa.repeat(False, batch.num_rows)
    column: Any = batch[flag]
    if pa.types.is_boolean(column.type):
        return column.fill_null(False)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return pc.not_equal(column, pa.scalar(0, column.type)).fill_null(False)
    if pa.types.is_temporal(column.type):
        return pc.is_valid(column)
    said = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    return pc.invert(pc.is_in(said.fill_null(""), pa.array(["", "0", "false", "f", "no", "n"])))
