"""What is new at a source, merged into what was kept: afterwards the table is as a full read would have it, row for row.

Where the two cannot be told to agree (a row that came later than the lateness allows, a key that stands twice), the table is read whole.
Everything streams; what is held in memory are the keys of malformed records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize.engine.base import Table
from anonymize.errors import AnonymizeError, SourceError
from anonymize.lasting import cursors, kept, mending
from anonymize.policy.lasting import Deletes
from anonymize.sources.base import ROW, BrokenFile, Malformed
from anonymize.sources.parts import Part, of_fields, read_part
from anonymize.sources.quarantine import Quarantine

if TYPE_CHECKING:
    from anonymize.extracting import Reading, Rows

ROWKEY = "__rowkey"
"""string: the row key of a record, its columns joined."""
GONE = "__gone"
WHEN = "__when"
_JOIN = "\x1f"
KEYS = pa.schema([(ROWKEY, pa.string())])
DUPLICATE = "duplicate-key"


class _ReadWhole(Exception):
    """What is new cannot be told from what was kept; its words say why."""


def rows(reading: Reading, quarantine: Quarantine) -> Rows:
    """The table's records as they stand at the source, numbered in the order of their row key; and how they were come by.

    The malformed ones, old and new, go to the quarantine. Raises SourceError.
    """
    try:
        return _Merge(reading, quarantine).rows()
    except _ReadWhole as why:
        return _Merge(reading, quarantine, whole=str(why)).rows()


def row_keys(batch: pa.RecordBatch, columns: tuple[str, ...]) -> pa.Array:
    """The row key of each record as one text; null where a part is missing."""
    texts = [batch[column].cast(pa.string()) for column in columns]
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, _JOIN)


class _Merge:
    """One table of one run. whole: why it is read whole, where that is known beforehand."""

    def __init__(self, reading: Reading, quarantine: Quarantine, whole: str = "") -> None:
        assert reading.incremental is not None  # for the type checker: nobody else comes here
        self.reading, self.run, self.table, self.spec = reading, reading.run, reading.table, reading.incremental
        self.fields = pa.schema([(ROWKEY, pa.string()), *reading.types.items()])
        self.final, self.counts = quarantine, dict[str, Any]()
        self.made_by = kept.fingerprint(self.run.policy, self.table, self.fields)
        base, why = kept.find(self.run, self.table, self.made_by, reading.gate.cohort)
        held = pq.read_table(base.quarantine).to_pylist() if base is not None else []
        if any(one["key"] is None for one in held):
            base, why, held = None, "a malformed record has no row key", []
        self.base, self.why, self.held = (None, whole, []) if whole else (base, why, held)
        self.since = self.spec.kind == "since"
        if self.since and self.base is None:
            reading.widen()
        self.held_keys = {one["key"] for one in self.held}
        self.reread: set[str] = set()
        self.present: set[str] | None = None
        self.buried: set[str] = set()
        self.cursor: Any = self.base.cursor if self.base is not None else None

    def rows(self) -> Rows:
        from anonymize.extracting import Rows

        file = self.run.folder("base") / f"{self.table}.quarantine.parquet"
        with Quarantine(file, self.table) as malformed:
            new = self._window(malformed)
            gone = self._gone()
            merged = self._merged(new, gone)
            order = [*self.spec.row, *self._order] if self.since else [*self.spec.row, ROWKEY]
            written = self.run.engine.write(merged, self.run.folder("base", self.table), sort=order)
            self._carry(malformed)
        for one in pq.read_table(file).to_pylist():
            self.final.add(_malformed(one))
        kept.note(self.run, self.table, self.made_by, self.cursor)
        self.counts |= {"after": self.base.run if self.base is not None else None, "whole": self.why}
        return Rows(self._numbered(written.table), {"incremental": self.counts})

    @property
    def _order(self) -> list[str]:
        """By row key, and of one key the newest last; then by all that is there, so that nothing is left to chance."""
        cursor = [self.spec.cursor] if self.spec.cursor else []
        return [ROWKEY, *cursor, *(name for name in self.reading.types if name not in cursor)]

    # ------------------------------------------------------------------------------------------------------------ what is new

    def _window(self, malformed: Quarantine) -> Table:
        """What the source has of the window, each row key once, in the workspace."""
        if self.since:
            return self._changed(malformed)
        asked = kept.asked(self.run)
        start, end = (datetime.fromisoformat(asked[word]) if asked.get(word) else None for word in ("start", "end"))
        try:
            part = cursors.window(self.spec, self.cursor, self.reading.types[self.spec.cursor], start, end)
        except SourceError as error:
            raise SourceError(f"table '{self.table}': {error}") from None
        self.part = part
        loose = Table(self.table, self.fields, lambda: self._read(part, malformed))
        ordered = self.run.engine.write(loose, self.run.folder("window", self.table), sort=self._order)
        self.counts["read"] = ordered.rows
        self.reread |= malformed.keys
        self.read = ordered.table
        return Table(self.table, self.fields, lambda: self._once_each(ordered.table, malformed))

    def _changed(self, malformed: Quarantine) -> Table:
        """What a server's export has of the table: every row of each resource that changed. The server's clock is the cursor."""
        from anonymize.sources.fhir.server import FhirServer  # it brings an HTTP client

        source = self.reading.source
        if not isinstance(source, FhirServer):
            raise SourceError(f"table '{self.table}': 'kind: since' is for a FHIR server ('url'); its source does not say what changed")
        self.part, kind = Part(""), source.mapping[self.reading.place[0]].kind
        loose = Table(self.table, self.fields, lambda: self._read(self.part, malformed))
        ordered = self.run.engine.write(loose, self.run.folder("window", self.table), sort=self._order)
        self.counts["read"], self.cursor = ordered.rows, source.cursor
        if self.base is not None:
            changed = (str(item[0].get("id")) for item in source.records(kind, self.table) if not isinstance(item, Malformed))
            self.reread |= {*changed, *(deleted := set(source.deleted(kind)))}
            self.counts["deleted"] = len(deleted)
        self.reread |= malformed.keys
        self.read = ordered.table
        return ordered.table

    def _read(self, part: Part, malformed: Quarantine) -> Iterator[pa.RecordBatch]:
        for batch in self.reading.conforming(self._watched(part), malformed):
            yield self._keyed(batch)

    def _watched(self, part: Part) -> Iterator[pa.RecordBatch | Malformed]:
        """The source's records, a malformed one with its row key, while the cursor moves on."""
        name, query = self.reading.place
        bounded = part.since is not None or part.until is not None
        types, source = self.reading.types, self.reading.source
        column = types.get(self.spec.cursor, pa.null())
        some = read_part(source, name, list(types), part, column, query=query, types=self.reading.declared) if bounded else None
        for item in self._with_mended(some, part, column) if some is not None else self.reading.items():
            if isinstance(item, Malformed):
                item = replace(item, key=self._key_of(item))
            elif not self.since:
                self.cursor = cursors.greatest(self.cursor, item[self.spec.cursor].cast(column))
                if self.held_keys:
                    self.reread |= self.held_keys & set(row_keys(item, self.spec.row).to_pylist())
            yield item

    def _with_mended(self, items: Iterator[pa.RecordBatch | Malformed], part: Part, type: pa.DataType) -> Iterator[pa.RecordBatch | Malformed]:
        """The window, and beside it the records of earlier that were mended at the source without a sign that they were."""
        yield from items
        keys, (name, query) = mending.to_read_again(self.run, self.table), self.reading.place
        if not len(keys) or part.since is None:
            return
        rows, columns, listed = self.spec.row, list(self.reading.types), set(keys.to_pylist())
        if len(rows) == 1:
            values = tuple(keys.cast(self.reading.types[rows[0]]).to_pylist())
            among = Part(rows[0], values=values)
            found = read_part(self.reading.source, name, columns, among, self.reading.types[rows[0]], query=query, types=self.reading.declared)
        else:
            found = self.reading.items()
        for item in found:
            if isinstance(item, Malformed):
                if self._key_of(item) in listed and not part.holds(item.fields, type):
                    yield item
                continue
            earlier = pc.less(item[part.column], pa.scalar(part.since, type)).fill_null(False)  # the others are in the window
            yield item.filter(pc.and_(earlier, pc.is_in(row_keys(item, rows), keys)))

    def _keyed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([row_keys(batch, self.spec.row), *(batch[name] for name in self.reading.types)], schema=self.fields)

    def _key_of(self, item: Malformed) -> str | None:
        parts = [of_fields(item.fields, column, self.reading.types[column]) for column in self.spec.row]
        texts = [part.cast(pa.string())[0].as_py() for part in parts if part is not None]
        return _JOIN.join(texts) if len(texts) == len(parts) else None

    def _once_each(self, ordered: Table, malformed: Quarantine | None) -> Iterator[pa.RecordBatch]:
        """Of rows in the order of their key each key once: the last of a history; else none of those that share one."""
        for batch in _whole_groups(ordered.batches(), ROWKEY):
            keys = batch[ROWKEY]
            first = _differs(keys)
            last = pa.concat_arrays([first.slice(1), pa.array([True])])
            alone = last if self.spec.history else pc.and_(first, last)
            if malformed is not None and not self.spec.history:
                numbered = batch.add_column(0, ROW, pa.array([0] * batch.num_rows, pa.int64()))
                malformed.add_rows(numbered, pc.invert(alone), DUPLICATE, self.spec.row[0], keys)
            yield batch.filter(alone)

    # ----------------------------------------------------------------------------------------------------------- what is gone

    def _gone(self) -> Table:
        """The row keys of the base that do not stand any more: read anew, malformed by now, or deleted; each once."""
        lists: list[Table] = []
        if not self.spec.history:
            lists.append(Table("window", KEYS, lambda: (batch.select([ROWKEY]) for batch in self.read.batches())))
            lists.append(_listed(sorted(self.reread)))
        if self.base is not None and self.spec.deletes == "sweep" and not self.since:
            swept = self._sweep()
            known = self.run.engine.read(self.base.rows)
            self._explained(swept, known)
            lists.append(self._lacking(known, swept))
        ordered = self.run.engine.write(_together(lists), self.run.folder("gone", self.table), sort=[ROWKEY])
        return Table("gone", pa.schema([*KEYS, (GONE, pa.bool_())]), lambda: _distinct(ordered.table, GONE))

    def _sweep(self) -> Table:
        """The row keys that the source has, each with how often; of subjects who may be here, and of the interval."""
        name, query = self.reading.place
        subject, types = self.reading.gate.subject, self.reading.types
        columns = list(dict.fromkeys([*self.spec.row, self.spec.cursor, *([subject] if subject else [])]))
        declared = {column: type for column, type in self.reading.declared.items() if column in columns}
        bound = Part(self.spec.cursor, until=self.part.until)

        def keys() -> Iterator[pa.RecordBatch]:
            for item in self.reading.source.read(name, columns, query=query, types=declared):
                if isinstance(item, Malformed):
                    key = self._key_of(item)
                    if key is not None and bound.holds(item.fields, types[self.spec.cursor]):
                        yield pa.RecordBatch.from_arrays([pa.array([key])], schema=KEYS)
                    continue
                item = item.filter(bound.mask(item[self.spec.cursor]))
                if subject is not None:
                    item = item.filter(self.reading.gate.passes(self.reading.gate.keys(item[subject])))
                found = row_keys(item, self.spec.row).drop_null()
                yield pa.RecordBatch.from_arrays([found], schema=KEYS)

        ordered = self.run.engine.write(Table("sweep", KEYS, keys), self.run.folder("sweep", self.table), sort=[ROWKEY])
        return Table("sweep", pa.schema([*KEYS, (GONE, pa.int64())]), lambda: _counted(ordered.table))

    def _explained(self, swept: Table, known: Table) -> None:
        """Raises _ReadWhole where the source has a row that neither base nor window has, or a key stands twice of which they do not know."""
        twice = {one["key"] for one in self.held if one["reason"] == DUPLICATE}
        parts = [known.batches(), self.read.batches()]
        held = _listed(sorted(self.held_keys | self.reread))
        every = Table("known", KEYS, lambda: (batch.select([ROWKEY]) for part in [*parts, held.batches()] for batch in part))
        ordered = self.run.engine.write(every, self.run.folder("known-keys", self.table), sort=[ROWKEY])
        known_keys = Table("known", pa.schema([*KEYS, (WHEN, pa.bool_())]), lambda: _distinct(ordered.table, WHEN))
        self.present = set()
        for batch in self.run.engine.join(swept, known_keys, ROWKEY).batches():
            if pc.any(pc.is_null(batch[WHEN]), min_count=0).as_py():
                raise _ReadWhole("rows came later than the lateness allows")
            if self.held_keys:
                self.present |= self.held_keys & set(batch[ROWKEY].to_pylist())
            if not self.spec.history:
                many = set(batch[ROWKEY].filter(pc.greater(batch[GONE], 1)).to_pylist())
                once = twice & set(batch[ROWKEY].to_pylist()) - many if twice else set()
                if once - self.reread or self._one_of_several(many, twice):
                    raise _ReadWhole("a row key stands twice, or no longer does")

    def _one_of_several(self, keys: set[str], twice: set[str]) -> bool:
        """Whether the window has one row alone of a key that stands twice at the source, or neither window nor quarantine knows of it."""
        read: Counter[str] = Counter()
        for batch in self.read.batches() if keys else ():
            read.update(key for key in batch[ROWKEY].to_pylist() if key in keys)
        return any(read[key] == 1 or (not read[key] and key not in twice) for key in keys)

    def _lacking(self, known: Table, swept: Table) -> Table:
        """The keys of the base that the source has no more."""
        joined = self.run.engine.join(Table("base", KEYS, lambda: (b.select([ROWKEY]) for b in known.batches())), swept, ROWKEY)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in joined.batches():
                lacking = batch.filter(pc.is_null(batch[GONE])).select([ROWKEY])
                self.counts["deleted"] = self.counts.get("deleted", 0) + lacking.num_rows
                yield lacking

        return Table("lacking", KEYS, batches)

    # ------------------------------------------------------------------------------------------------------------ one from both

    def _merged(self, new: Table, gone: Table) -> Table:
        """Base and window as one: each row key once, without what was deleted."""
        merged = new
        if self.base is not None:
            parts = [self._standing(self.run.engine.read(self.base.rows), gone), new]
            merged = Table(self.table, self.fields, lambda: (batch.cast(self.fields) for part in parts for batch in part.batches()))
        if self.base is not None and self.spec.history:
            versions = self.run.engine.write(merged, self.run.folder("versions", self.table), sort=self._order)
            merged = Table(self.table, self.fields, lambda: self._once_each(versions.table, None))
        return self._without_buried(merged) if isinstance(self.spec.deletes, Deletes) and self.spec.deletes.table else merged

    def _standing(self, base: Table, gone: Table) -> Table:
        """The rows of the base that are not gone, and whose subjects may be here still."""
        joined, gate = self.run.engine.join(base, gone, ROWKEY), self.reading.gate

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in joined.batches():
                batch = batch.filter(pc.is_null(batch[GONE])).select(self.fields.names)
                yield gate.let(batch)

        return Table(self.table, self.fields, batches)

    def _without_buried(self, merged: Table) -> Table:
        """The rows that the table of deleted keys does not name, or names before they were written again."""
        spec = self.spec.deletes
        assert isinstance(spec, Deletes)  # for the type checker: its caller has looked
        columns = list(spec.row or self.spec.row)
        type, name = self.reading.types[self.spec.cursor], spec.table or ""
        types = dict(zip(columns, (self.reading.types[column] for column in self.spec.row), strict=False))
        types |= {spec.cursor: type} if spec.cursor else {}
        if len(columns) != len(self.spec.row):
            raise AnonymizeError(f"table '{self.table}': 'deletes' has {len(columns)} columns for a row key of {len(self.spec.row)}")
        schema = pa.schema([*KEYS, (WHEN, type)])

        def stones() -> Iterator[pa.RecordBatch]:
            for item in self.reading.source.read(name, list(types), types=types):
                if isinstance(item, Malformed):
                    raise SourceError(f"table '{name}' of deleted rows: row {item.row} cannot be read ({item.reason}). Mend it")
                when = item[spec.cursor].cast(type) if spec.cursor else pa.nulls(item.num_rows, type)
                found = pa.RecordBatch.from_arrays([row_keys(item, tuple(columns)), when], schema=schema)
                if self.held_keys:  # of a malformed record nobody knows when it was written: what is dead since the last read is meant
                    since = found.filter(self.part.mask(found[WHEN]))
                    self.buried |= self.held_keys & set(since[ROWKEY].to_pylist())
                yield found.filter(pc.is_valid(found[ROWKEY]))

        ordered = self.run.engine.write(Table("deleted", schema, stones), self.run.folder("deleted", self.table), sort=[ROWKEY, WHEN])
        last = Table("deleted", pa.schema([*schema, (GONE, pa.bool_())]), lambda: _last_stones(ordered.table))
        parked = self.run.engine.write(merged, self.run.folder("unburied", self.table))
        joined = self.run.engine.join(parked.table, last, ROWKEY)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in joined.batches():
                dead = batch[GONE].fill_null(False)
                if spec.cursor:  # a row that was written again after it was deleted lives
                    dead = pc.and_(dead, pc.greater_equal(batch[WHEN], batch[self.spec.cursor]).fill_null(True))
                self.counts["deleted"] = self.counts.get("deleted", 0) + (pc.sum(dead).as_py() or 0)
                yield batch.filter(pc.invert(dead)).select(self.fields.names)

        return Table(self.table, self.fields, batches)

    def _carry(self, malformed: Quarantine) -> None:
        """Hold on to the malformed records of earlier runs that the source has still, and that were not read anew."""
        for one in self.held:
            stays = hash(one["raw"]) not in malformed.raws if self.spec.history else one["key"] not in self.reread
            if stays and one["key"] not in self.buried and (self.present is None or one["key"] in self.present):
                malformed.add(_malformed(one))

    def _numbered(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows with `__row`, their place in the order of the row key; without those that carry the flag of a deleted row."""
        from anonymize.extracting import deleted

        first = 1
        for batch in table.batches():
            numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
            first += batch.num_rows
            batch = pa.RecordBatch.from_arrays([numbers, *(batch[name] for name in self.reading.types)], names=[ROW, *self.reading.types])
            yield batch.filter(pc.invert(deleted(self.spec, batch)))


# ----------------------------------------------------------------------------------------------------- streams in the order of a key


def _differs(keys: pa.Array) -> pa.Array:
    """Which keys differ from the one before."""
    if not len(keys):
        return pa.array([], pa.bool_())
    return pa.concat_arrays([pa.array([True]), pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1))])


def _whole_groups(batches: Iterator[pa.RecordBatch], key: str) -> Iterator[pa.RecordBatch]:
    """The same rows, cut so that those of one key, which stand together, are in one batch."""
    waiting: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if waiting is not None:
            batch = pa.Table.from_batches([waiting, batch]).combine_chunks().to_batches()[0]
        starts = pc.indices_nonzero(_differs(batch[key]))
        cut = starts[-1].as_py()
        waiting = batch.slice(cut)
        if cut:
            yield batch.slice(0, cut)
    if waiting is not None:
        yield waiting


def _distinct(ordered: Table, flag: str) -> Iterator[pa.RecordBatch]:
    """Each key once, with a flag beside it."""
    schema = pa.schema([*KEYS, (flag, pa.bool_())])
    for batch in _whole_groups(ordered.batches(), ROWKEY):
        keys = batch[ROWKEY].filter(_differs(batch[ROWKEY]))
        yield pa.RecordBatch.from_arrays([keys, pa.repeat(True, len(keys))], schema=schema)


def _counted(ordered: Table) -> Iterator[pa.RecordBatch]:
    """Each key once, with how often it stands."""
    schema = pa.schema([*KEYS, (GONE, pa.int64())])
    for batch in _whole_groups(ordered.batches(), ROWKEY):
        starts = pc.indices_nonzero(_differs(batch[ROWKEY])).cast(pa.int64())
        ends = pa.concat_arrays([starts.slice(1), pa.array([batch.num_rows], pa.int64())])
        yield pa.RecordBatch.from_arrays([batch[ROWKEY].take(starts), pc.subtract(ends, starts)], schema=schema)


def _last_stones(ordered: Table) -> Iterator[pa.RecordBatch]:
    """Of each deleted key the last time."""
    for batch in _whole_groups(ordered.batches(), ROWKEY):
        last = pa.concat_arrays([_differs(batch[ROWKEY]).slice(1), pa.array([True])])
        batch = batch.filter(last)
        yield batch.append_column(GONE, pa.repeat(True, batch.num_rows))


def _listed(keys: list[str]) -> Table:
    return Table("listed", KEYS, lambda: iter([pa.RecordBatch.from_arrays([pa.array(keys, pa.string())], schema=KEYS)]))


def _together(tables: list[Table]) -> Table:
    return Table("together", KEYS, lambda: (batch.cast(KEYS) for table in tables for batch in table.batches()))


def _malformed(held: dict[str, Any]) -> Malformed:
    """A record, or a whole file, as it lies in a quarantine."""
    kind = BrokenFile if held["row"] is None else Malformed
    return kind(held["row"] or 0, held["reason"], held["column"], raw=held["raw"], file=held["file"], key=held["key"])
