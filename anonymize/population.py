"""The people whom a release was drawn from, as a search takes them: their combinations of quasi-identifiers beside the tally's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.engine.duck import private_duck
from anonymize.flat import FlatFile, InputError, texts
from anonymize.hierarchies import Hierarchy
from anonymize.privacy.lattice import POPULATION

_COUNT = "__count"


@dataclass(frozen=True)
class People:
    """Where the people stand. columns: a quasi-identifier -> the file's column, where it has another name; count: the file's column with the
    number of people of a row, None where a row is a person; delimiter: of a CSV, None where its first line tells."""

    file: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    count: str | None = None
    delimiter: str | None = None

    def opened(self, quasi: Iterable[str]) -> FlatFile:
        """The file, where it has all columns. Raises InputError."""
        file = FlatFile.open(self.file, self.delimiter)
        for name in (*(self.columns.get(name, name) for name in quasi), *([self.count] if self.count else [])):
            if name not in file.columns:
                raise InputError(
                    f"{self.file}: no column '{name}', and every quasi-identifier must be known of the population. "
                    f"It has: {', '.join(file.columns)}. Where it has another name, say 'columns: {{NAME: ITS-COLUMN}}'"
                )
        return file

    def beside(self, tally: pa.Table, hierarchies: Mapping[str, Hierarchy]) -> pa.Table:
        """The tally with each combination of the population as a tuple of no records, and `__population`, its number of people.

        The quasi-identifiers become texts, as the file has them. Raises InputError, without a value, where the file lacks a column, holds values
        that a hierarchy does not cover, or has fewer people than the tally has subjects.
        """
        people = self._counted(hierarchies)
        subjects, number = int(pc.sum(tally["subjects"]).as_py() or 0), int(pc.sum(people["people"]).as_py() or 0)
        if number < subjects:
            raise InputError(
                f"{self.file}: a population of {number:,} people, and the release is of {subjects:,}: this is not whom it was drawn from"
            )
        columns = {}
        for name in tally.schema.names:
            if name in hierarchies:
                columns[name] = pa.chunked_array([*tally[name].cast(pa.string()).chunks, *people[name].chunks], pa.string())
            elif name == "subjects":
                columns[name] = _joined(tally[name], np.zeros(len(people), np.int64))
            else:  # a sensitive value of nobody: one that is there, for it must not stand as one more
                some = pc.take(tally[name].combine_chunks(), pa.array(np.zeros(len(people), np.int64))) if len(tally) else None
                columns[name] = pa.chunked_array([*tally[name].chunks, *([] if some is None else [some])], tally[name].type)
        columns[POPULATION] = _joined(pa.chunked_array([np.zeros(len(tally), np.int64)]), people["people"].to_numpy())
        return pa.table(columns)

    def _counted(self, hierarchies: Mapping[str, Hierarchy]) -> pa.Table:
        """Distinct combinations as texts, and `people`: int64; in an order that is always the same."""
        file = self.opened(hierarchies)
        named = {name: self.columns.get(name, name) for name in hierarchies}
        schema = pa.schema([*((name, pa.string()) for name in hierarchies), (_COUNT, pa.int64())])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in file.batches():
                counts = self._numbers(batch)
                yield pa.RecordBatch.from_arrays([*(texts(batch[column]).cast(pa.string()) for column in named.values()), counts], schema=schema)

        with private_duck() as duck:
            duck.register("people", pa.RecordBatchReader.from_batches(schema, batches()))
            keys = ", ".join('"' + name.replace('"', '""') + '"' for name in hierarchies)
            try:
                counted: pa.Table = duck.sql(
                    f"SELECT {keys}, sum({_COUNT})::BIGINT AS people FROM people GROUP BY {keys} ORDER BY {keys}"  # noqa: S608
                ).to_arrow_table()
            except duckdb.Error:
                for _ in batches():  # what went wrong in reading says so itself
                    pass
                raise
        for name, hierarchy in hierarchies.items():
            values = pc.unique(counted[name].combine_chunks())
            missing = len(values) - (pc.sum(hierarchy.covers(values)).as_py() or 0)
            if missing:
                raise InputError(
                    f"{self.file}: {missing} of {len(values)} values of column '{named[name]}' are not in hierarchy '{hierarchy.name}'"
                )
        return counted

    def _numbers(self, batch: pa.RecordBatch) -> pa.Array:
        if self.count is None:
            return pa.array(np.ones(batch.num_rows, np.int64))
        try:
            counts = pc.cast(batch[self.count], pa.int64())
        except pa.ArrowInvalid:
            counts = pa.nulls(1, pa.int64())
        if counts.null_count or (pc.min(counts).as_py() or 0) < 0:
            raise InputError(f"{self.file}: column '{self.count}' must hold whole numbers of people, and some rows do not")
        return counts


def _joined(column: pa.ChunkedArray, more: np.ndarray) -> pa.ChunkedArray:
    return pa.chunked_array([*(chunk.cast(pa.int64()) for chunk in column.chunks), pa.array(more, pa.int64())])
