"""Tables that lie in files: CSV, TSV, Parquet, JSON, NDJSON, XLSX, fixed width; in folders, archives and object stores.

A file that cannot be read is quarantined as a file (BrokenFile), and the others are read: it is counted in the run's record, and a steward sees
that nobody knows how many records it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import NoSuchTable, SourceError, without_values
from anonymize.policy.nearest import nearest
from anonymize.policy.origins import FileSource
from anonymize.sources.base import ROW, BrokenFile, Malformed
from anonymize.sources.conform import convert, guess_type, text_batch, wanted_types
from anonymize.sources.kinds import Found, Kind, Part, Record, Values, Xlsx, kind_of, look_at_parquet, make_kind, open_parquet, stem
from anonymize.sources.numerals import Numerals
from anonymize.sources.parquet import parquet_batches
from anonymize.sources.places import PACKED, Entry, Tree, Unreadable, faults

SAMPLE_ROWS = 2_000
BATCH_ROWS = 10_000
PARQUET_ROWS = 65_536
BATCH_BYTES = 16 << 20


class FileFolder:
    """One table a file, a glob of files, a folder of parts, or a sheet. A table's name is a file's name, its stem, a glob under the source's
    path, or `BOOK#SHEET`.

    policy_folder: what layouts of fixed-width files are relative to. Raises SourceError where a folder is not there or may not be read.
    """

    def __init__(self, name: str, tree: Tree, settings: FileSource, policy_folder: Path = Path()) -> None:
        self.name, self.tree, self.settings, self._folder = name, tree, settings, policy_folder
        self._numerals = Numerals(settings.decimal, settings.thousands)
        self._seen: dict[tuple[Part, str], Found | Unreadable] = {}
        self._listings: dict[str, dict[Part, Unreadable | None]] = {}
        self._late: dict[str, Counter[str]] = {}

    def tables(self) -> list[str]:
        entries = self._listed("")
        names = {name for entry in entries if not entry.folder for name in self._names(entry)}
        for entry in entries:
            if entry.folder and entry.name.lower().endswith(".zip"):
                names |= {name for one in self._inside(entry) for name in self._names(one)}
            elif entry.folder and any(self._is_part(one) for one in self._listed(entry.path)):
                names.add(entry.name)
        return sorted(names)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if query:
            raise SourceError(f"source '{self.name}': files take no 'query'; name columns instead")
        found = self._sound(table)
        first = found[0][1]
        return first.schema if first.schema is not None else self._sampled(table, found)

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        schema = self.schema(table, query)
        wanted = wanted_types(self._where(table), schema, columns, types)
        sound = self._sound(table)
        self._late[table] = Counter()
        for part, seen in self._looked(table).items():
            if isinstance(seen, Unreadable):
                yield BrokenFile(0, seen.reason, raw=seen.hint, file=part.path)
        with without_values(self._where(table)):
            if sound[0][1].schema is not None:
                yield from self._parquet(table, schema, wanted)
            else:
                yield from self._texts(table, wanted, inferred=set(wanted) - set(types or {}))

    def told(self, table: str) -> dict[str, Any]:
        """How many files a table has, what was found of them, and how many of them could not be read, by reason."""
        looked = self._looked(table)
        counts: dict[str, Counter[str]] = {}
        for seen in looked.values():
            for word, value in seen.told.items() if isinstance(seen, Found) else ():
                counts.setdefault(word, Counter())[value] += 1
        broken = Counter(seen.reason for seen in looked.values() if isinstance(seen, Unreadable)) + self._late.get(table, Counter())
        return {"files": len(looked), **{word: dict(sorted(found.items())) for word, found in sorted(counts.items())}, "broken": dict(broken)}

    def faults(self, table: str) -> list[tuple[str, str]]:
        """The files of a table that cannot be read, each with what is wrong: for a person at the terminal, for a file's name may tell."""
        broken = ((part.name, seen) for part, seen in self._looked(table).items() if isinstance(seen, Unreadable))
        return [(name, f"{seen.reason}. {seen.hint}".rstrip(". ")) for name, seen in broken]

    def _where(self, table: str) -> str:
        return f"source '{self.name}', table '{table}'"

    # -------------------------------------------------------------------------------------------------------------- which files

    def _listed(self, path: str) -> list[Entry]:
        if self.tree.only is not None:
            return [Entry(self.tree.only)] if not path else []
        try:
            with faults():
                return [one for one in self.tree.entries(path) if not one.name.startswith((".", "_"))]
        except Unreadable as error:
            if path:
                return []
            raise SourceError(f"source '{self.name}': {self.tree.shown} cannot be listed: {error.reason}. {error.hint}") from None

    def _inside(self, archive: Entry) -> list[Entry]:
        return [one for one in self.tree.walk(archive.path) if isinstance(one, Entry) and self._is_part(one)]

    def _is_part(self, entry: Entry) -> bool:
        return not entry.folder and not entry.name.startswith((".", "_", "~")) and bool(kind_of(entry.name, self.settings.type))

    def _names(self, entry: Entry) -> list[str]:
        """The tables that a file is or holds."""
        if not self._is_part(entry):
            return []
        if kind_of(entry.name, self.settings.type) != "xlsx":
            return [stem(entry.name)]
        try:
            sheets = Xlsx(self.settings).sheets(self.tree, entry.path)
        except Unreadable:
            sheets = []
        return [stem(entry.name)] if len(sheets) < 2 else [f"{stem(entry.name)}#{sheet}" for sheet in sheets]

    def _parts(self, table: str) -> dict[Part, Unreadable | None]:
        """A table's files in the order of their names, and those that are known not to be readable. Raises SourceError with the nearest name
        where there is none."""
        if table in self._listings:
            return self._listings[table]
        path, _, sheet = table.partition("#")
        found: dict[Part, Unreadable | None] = {}
        try:
            with faults():
                for entry in self._found(path):
                    if isinstance(entry, Entry):
                        found[Part(entry.path, sheet)] = None
                    else:
                        found[Part(entry[0], sheet)] = entry[1]
        except Unreadable as error:
            raise SourceError(f"{self._where(table)}: its files cannot be listed in {self.tree.shown}: {error.reason}. {error.hint}") from None
        if not found:
            raise NoSuchTable(f"source '{self.name}': no file for table '{table}' in {self.tree.shown}.{nearest(table, self.tables())}")
        packed = {part: self._twin(part, found) for part in found}
        return {
            part: Unreadable("twice", "It is there packed and unpacked: remove one") if packed[part] else known for part, known in found.items()
        }

    @staticmethod
    def _twin(part: Part, all_: Mapping[Part, object]) -> bool:
        return any(part.path.lower().endswith(end) and Part(part.path[: -len(end)], part.sheet) in all_ for end in PACKED)

    def _found(self, path: str) -> Iterator[Entry | tuple[str, Unreadable]]:
        if self.tree.only is not None:
            yield Entry(self.tree.only)
        elif any(sign in path for sign in "*?["):
            yield from (entry for entry in self.tree.glob(path) if not entry.name.startswith("~"))
        elif self.tree.is_file(path):
            yield Entry(path)
        elif self.tree.is_folder(path):
            for one in self.tree.walk(path) if path.lower().endswith(".zip") else self._of_folder(path):
                if isinstance(one, tuple) or self._is_part(one):
                    yield one
        else:
            # `PERSON.csv` is table `person`, where there is no other.
            named = [one for one in self._listed("") if not one.folder and self._is_part(one)]
            exact = any(stem(one.name) == path for one in named)
            for entry in self._listed(""):
                if entry.folder and entry.name.lower().endswith(".zip"):
                    yield from (one for one in self._inside(entry) if stem(one.name) == path)
                elif entry in named and (stem(entry.name) == path or (not exact and stem(entry.name).lower() == path.lower())):
                    yield entry

    def _of_folder(self, path: str) -> Iterator[Entry | tuple[str, Unreadable]]:
        """The files of a folder of parts, and those of its archives."""
        for entry in self.tree.entries(path):
            if entry.folder and entry.name.lower().endswith(".zip"):
                yield from self.tree.walk(entry.path)
            elif not entry.folder:
                yield entry

    # --------------------------------------------------------------------------------------------------------- what they are

    def _looked(self, table: str) -> dict[Part, Found | Unreadable]:
        """A look at each file of a table; one that is not of the table of the first is unreadable as that."""
        looked: dict[Part, Found | Unreadable] = {}
        first: Found | None = None
        for part, known in self._parts(table).items():
            seen = known if known is not None else self._look(table, part)
            if isinstance(seen, Found):
                first = first or seen
                seen = _of_the_same_table(first, seen)
            looked[part] = seen
        return looked

    def _look(self, table: str, part: Part) -> Found | Unreadable:
        key = (part, table)
        if key not in self._seen:
            kind = kind_of(part.path, self.settings.type) or (self.settings.type if self.settings.type != "files" else "")
            try:
                if not kind:
                    raise Unreadable("unknown-kind", "The end of its name says no kind of file")
                self._seen[key] = look_at_parquet(self.tree, part) if kind == "parquet" else self._kind(table, part).look(self.tree, part)
            except Unreadable as error:
                self._seen[key] = error
        return self._seen[key]

    def _kind(self, table: str, part: Part) -> Kind:
        return make_kind(kind_of(part.path, self.settings.type) or self.settings.type, self.settings, self._folder, table)

    def _sound(self, table: str) -> list[tuple[Part, Found]]:
        """The files that can be read. Raises SourceError where none can: of such a table nobody knows the columns."""
        looked = self._looked(table)
        found = [(part, seen) for part, seen in looked.items() if isinstance(seen, Found)]
        if not found:
            name, what = self.faults(table)[0]
            more = f" (and {len(looked) - 1:,} more)" if len(looked) > 1 else ""
            raise SourceError(f"{self._where(table)}: none of its files can be read. {name}{more}: {what}")
        return found

    def _sampled(self, table: str, found: list[tuple[Part, Found]]) -> pa.Schema:
        """The columns in their order, and the types that a sample of the records of each file is written in."""
        coded = frozenset(column for _, seen in found for column in seen.coded)
        names = list(dict.fromkeys(column for _, seen in found for column in seen.header))
        missing, number = set(self.settings.missing) if "missing" in _settings_of(found[0][1]) else set(), max(50, SAMPLE_ROWS // len(found))
        sample: list[Values] = []
        for part, seen in found:
            try:
                with faults():
                    sample += _first(self._kind(table, part).records(self.tree, part, seen, names), number)
            except Unreadable:
                continue  # it will break off when it is read, too
        columns = zip(*sample, strict=True) if sample else ([] for _ in names)
        fields = []
        for name, values in zip(names, columns, strict=True):
            present = [None if value in missing else value for value in values]
            fields.append((name, guess_type(self._numerals.plain(present), numbers=name not in coded)))
        return pa.schema(fields)

    # --------------------------------------------------------------------------------------------------------- their records

    def _parquet(self, table: str, schema: pa.Schema, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
        row = 1
        for part, _ in self._sound(table):
            try:
                for _ in self._pages(part, schema, types):
                    pass  # every page once, so that of a damaged file no record is taken
            except Unreadable as error:
                yield self._broke(table, part, error.reason)
                continue
            for batch in self._pages(part, schema, types):
                numbers = pa.array(np.arange(row, row + batch.num_rows, dtype=np.int64))
                yield from convert(pa.RecordBatch.from_arrays([numbers, *batch.columns], names=[ROW, *types]), types)
                row += batch.num_rows

    def _pages(self, part: Part, schema: pa.Schema, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        with faults(), closing(open_parquet(self.tree, part)) as stream:
            yield from parquet_batches(stream, list(types), schema, rows=PARQUET_ROWS, size=BATCH_BYTES)

    def _texts(self, table: str, types: Mapping[str, pa.DataType], inferred: set[str]) -> Iterator[pa.RecordBatch | Malformed]:
        pending: list[Values] = []
        rows: list[int] = []
        row = size = 0
        for record in self._records(table, list(types)):
            if isinstance(record, BrokenFile):
                yield record
                continue
            row += 1
            if isinstance(record, Malformed):
                yield Malformed(row, record.reason, record.column, raw=record.raw, file=record.file)
                continue
            pending.append(record[0])
            rows.append(row)
            size += record[1]
            if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield from self._typed(pending, rows, types, inferred)
                pending, rows, size = [], [], 0
        yield from self._typed(pending, rows, types, inferred)

    def _typed(
        self, records: list[Values], rows: list[int], types: Mapping[str, pa.DataType], inferred: set[str]
    ) -> Iterator[pa.RecordBatch | Malformed]:
        missing = pa.array(self.settings.missing if self.settings.type not in ("json", "ndjson") else (), pa.string())
        for item in text_batch(rows, records, list(types)):
            if isinstance(item, Malformed):
                yield item
            else:
                yield from convert(self._numerals.of_batch(_without(item, missing), types), types, inferred)

    def _records(self, table: str, columns: list[str]) -> Iterator[Record]:
        for part, found in self._sound(table):
            try:
                with faults():
                    for record in self._kind(table, part).records(self.tree, part, found, columns):
                        yield _in_file(record, part.path) if isinstance(record, Malformed) else record
            except Unreadable:
                yield self._broke(table, part, "broke-off")

    def _broke(self, table: str, part: Part, reason: str) -> BrokenFile:
        self._late.setdefault(table, Counter())[reason] += 1
        return BrokenFile(0, reason, file=part.path)


def _in_file(record: Malformed, path: str) -> Malformed:
    return Malformed(record.row, record.reason, record.column, raw=record.raw, file=path)


def _of_the_same_table(first: Found, seen: Found) -> Found | Unreadable:
    """The file, unless its header or dialect is not the first one's. JSON has no header: keys may be absent."""
    if seen.told.get("kind") in ("json", "ndjson") and seen.told == first.told:
        return seen
    if seen.schema is not None and first.schema is not None and set(seen.schema) != set(first.schema):
        return Unreadable(
            "other-header", "Its columns or their types are not those of the first file: name the files that belong together by a glob"
        )
    if set(seen.header) != set(first.header):
        return Unreadable("other-header", "Its columns are not those of the first file: name the files that belong together by a glob")
    if seen.schema is None and seen.dialect != first.dialect:
        return Unreadable("other-dialect", "Its fields are divided by another sign than the first file's")
    if (seen.schema is None) != (first.schema is None):
        return Unreadable("other-kind", "It is another kind of file than the first")
    return seen


def _settings_of(found: Found) -> tuple[str, ...]:
    return () if found.told.get("kind") in ("json", "ndjson") else ("missing",)


def _first(records: Iterator[Record], number: int) -> list[Values]:
    """The first good records, of no more than a batch's size."""
    found: list[Values] = []
    size = 0
    for record in records:
        if not isinstance(record, Malformed):
            found.append(record[0])
            size += record[1]
        if len(found) >= number or size >= BATCH_BYTES:
            break
    return found


def _without(batch: pa.RecordBatch, missing: pa.Array) -> pa.RecordBatch:
    """Texts that stand for a missing value become null."""
    if not len(missing):
        return batch
    arrays = [pc.if_else(pc.is_in(column, missing), pa.scalar(None, pa.string()), column) for column in batch.columns[1:]]
    return pa.RecordBatch.from_arrays([batch[ROW], *arrays], names=batch.schema.names)
