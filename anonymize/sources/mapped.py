"""Nested records as linked tables: what every source has in common whose records are trees (FHIR, HL7 v2, CDA, DICOM, transcripts).

A source of this kind says which kinds of record it has and streams them as plain dictionaries; the mapping (`mapping.py`) says which tables
these give. A record that is invalid gives the paths that it has; what is no record at all is Malformed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from anonymize.errors import NoSuchTable, SourceError, without_values
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed
from anonymize.sources.conform import convert, text_batch, wanted_types
from anonymize.sources.mapping import Column, Mapped

BATCH_ROWS = 5_000
BATCH_BYTES = 16 << 20


class MappedSource(ABC):
    """The tables that a mapping makes of a source's records. `__row` is the number of the record, from 1, among those of its kind."""

    lenient = False
    """Whether a table whose kind of record is not there is an empty table, and no mistake."""

    tells: Collection[str] | None = None
    """Where one record gives rows of many tables: those that tell of records that could not be read, so that each is told once. None: all."""

    def __init__(self, name: str, mapping: dict[str, Mapped]) -> None:
        self.name, self.mapping = name, mapping

    def tell_once(self, tables: Sequence[str], kind: str) -> None:
        """Let one of the tables that a policy reads tell of the records that could not be read: the first that has a row a record, else the
        first of all. Told in each, one bad record among many good would be half of a small table."""
        known = [table for table in tables if table in self.mapping and self.mapping[table].kind == kind]
        whole = [table for table in known if not self.mapping[table].each and self.mapping[table].one is None]
        self.tells = (whole or known)[:1] or None

    @abstractmethod
    def kinds(self) -> Collection[str]:
        """The kinds of record that are there (`Patient`, `ORU`)."""

    @abstractmethod
    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
        """Every record of a kind with its size in bytes, and what could not be read. where: begins the words of an error."""

    def value(self, column: Column, element: Any, record: dict[str, Any]) -> str | None:
        """A column's text in one element of a record; where a source knows more than the mapping's language, it says so here."""
        return column.value(element, record)

    def tables(self) -> list[str]:
        """The mapped tables whose kind of record is there."""
        kinds = self.kinds()
        return sorted(table for table, mapped in self.mapping.items() if mapped.kind in kinds)

    def schema(self, table: str, query: str | None = None) -> pa.Schema:
        if query:
            raise SourceError(f"source '{self.name}': its records take no 'query'; write a mapping instead")
        return pa.schema([(name, column.type) for name, column in self._mapped(table).columns.items()])

    def read(
        self, table: str, columns: Sequence[str], *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        where = self._where(table)
        wanted = wanted_types(where, self.schema(table, query), columns, types)
        mapped = self._mapped(table)
        with without_values(where):
            if mapped.one is not None:
                yield from self._one_each(table, mapped, columns, wanted)
                return
            for item in self._texts(table, mapped, columns):
                yield from (item,) if isinstance(item, Malformed) else convert(item, wanted)

    def unmatched(self, table: str, columns: Sequence[str]) -> list[str]:
        """The columns that no record fills: a path that matches nothing is a rule that silently does not apply."""
        mapped, empty = self._mapped(table), set(columns)
        for item in self.records(mapped.kind, self._where(table)):
            if isinstance(item, Malformed):
                continue
            for element in mapped.elements(item[0]):
                empty -= {name for name in empty if self.value(mapped.columns[name], element, item[0]) is not None}
            if not empty:
                break
        return sorted(empty)

    def _where(self, table: str) -> str:
        return f"source '{self.name}', table '{table}'"

    def _mapped(self, table: str) -> Mapped:
        if table not in self.mapping:
            raise SourceError(f"source '{self.name}': the mapping has no table '{table}'.{nearest(table, list(self.mapping))}")
        mapped, kinds = self.mapping[table], sorted(self.kinds())
        if mapped.kind not in kinds and not self.lenient:
            raise NoSuchTable(f"source '{self.name}': it has no {mapped.kind} records for table '{table}'.{nearest(mapped.kind, kinds)}")
        return mapped

    def _texts(self, table: str, mapped: Mapped, names: Sequence[str]) -> Iterator[pa.RecordBatch | Malformed]:
        """The rows as batches of texts."""
        columns = [mapped.columns[name] for name in names]
        rows: list[int] = []
        values: list[tuple[str | None, ...]] = []
        number = size = 0
        for item in self.records(mapped.kind, self._where(table)):
            number += 1
            if isinstance(item, Malformed):
                if self.tells is None or table in self.tells:
                    yield replace(item, row=number)
                continue
            record, length = item
            for element in mapped.elements(record):
                rows.append(number)
                values.append(tuple(self.value(column, element, record) for column in columns))
            size += length
            if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield from text_batch(rows, values, names)
                rows, values, size = [], [], 0
        yield from text_batch(rows, values, names)

    def _one_each(
        self, table: str, mapped: Mapped, columns: Sequence[str], types: Mapping[str, pa.DataType]
    ) -> Iterator[pa.RecordBatch | Malformed]:
        """One row for each value of a column: the last value of each column that a record has. An empty text is a value that was deleted.
        Rows without a key stay as they are, for whoever reads to judge."""
        names = [*dict.fromkeys([*columns, mapped.one or "", *([mapped.latest] if mapped.latest else [])])]
        fallen: list[Malformed] = []

        def batches() -> Iterator[pa.RecordBatch]:
            for item in self._texts(table, mapped, names):
                if isinstance(item, Malformed):
                    fallen.append(item)
                else:
                    yield item

        schema = pa.schema([(ROW, pa.int64()), *((name, pa.string()) for name in names)])
        when = f"coalesce({_quoted(mapped.latest)}, '')" if mapped.latest else "''"
        order = f"{when} || ' ' || lpad({_quoted(ROW)}::VARCHAR, 18, '0')"
        key = _quoted(mapped.one or "")
        lasts = ", ".join(f"nullif(arg_max({_quoted(name)}, {order}), '') AS {_quoted(name)}" for name in columns)
        row = _quoted(ROW)
        of_nobody = f"CASE WHEN {key} IS NULL THEN {row} END"
        query = f"SELECT max({row}) AS {row}, {lasts} FROM texts GROUP BY {key}, {of_nobody} ORDER BY 1"  # noqa: S608 (names alone, quoted)
        with duckdb.connect(config={"threads": 1, "memory_limit": "1GB"}) as database:
            database.register("texts", pa.RecordBatchReader.from_batches(schema, batches()))
            found = database.sql(query).to_arrow_reader(BATCH_ROWS)
            yield from fallen
            for batch in found:
                yield from convert(batch, types)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
