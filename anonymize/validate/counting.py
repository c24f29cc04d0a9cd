"""Facts of what is staged, counted by DuckDB from the written Parquet: it shares nothing with the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import StepFailed
from anonymize.policy import memory


@dataclass(frozen=True)
class Staged:
    """One table as it would be published: its files, and beside them whose each row is."""

    table: str
    data: Path
    subjects: Path

    @property
    def schema(self) -> pa.Schema:
        """As written."""
        return pq.read_schema(self.files(self.data)[0])

    def files(self, folder: Path) -> list[Path]:
        """The Parquet files of a folder, in order."""
        return sorted(folder.glob("*.parquet"))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A view `staged`: the published columns and `__subject`, row by row. What does not fit into memory goes to the workspace.

        Raises StepFailed where there are not as many subjects as rows: rows of no subject would count as people.
        """
        rows = [sum(pq.read_metadata(file).num_rows for file in self.files(folder)) for folder in (self.data, self.subjects)]
        if rows[0] != rows[1]:
            raise StepFailed(f"{self.table}: {rows[1]:,} subjects stand beside {rows[0]:,} staged rows; stage the table again")
        duck = duckdb.connect(config={"memory_limit": memory.counting(), "temp_directory": str(self.data.parent.parent / "scratch")})
        duck.execute("SET enable_progress_bar = false")
        duck.read_parquet([str(f) for f in self.files(self.data)]).create_view("data")
        duck.read_parquet([str(f) for f in self.files(self.subjects)]).create_view("whose")
        duck.execute("CREATE VIEW staged AS SELECT * FROM data POSITIONAL JOIN whose")
        return duck


@dataclass(frozen=True)
class ClassSizes:
    """Equivalence classes by their number of distinct subjects: sizes[i] subjects are the size of classes[i] classes."""

    sizes: tuple[int, ...]
    classes: tuple[int, ...]

    @property
    def smallest(self) -> int:
        """k, as written; 0 where there is no class."""
        return min(self.sizes, default=0)


def class_sizes(staged: Staged, quasi: Sequence[str]) -> ClassSizes:
    """Recount the classes of the quasi-identifiers in distinct subjects. Rows of no subject count each alone."""
    names = ", ".join(_quoted(name) for name in quasi)
    query = (
        f"SELECT size, count(*) FROM (SELECT count(DISTINCT __subject) + count(*) FILTER (__subject IS NULL) AS size "  # noqa: S608
        f"FROM staged GROUP BY {names}) GROUP BY size ORDER BY size"
    )
    rows = staged.connect().execute(query).fetchall()
    return ClassSizes(tuple(size for size, _ in rows), tuple(number for _, number in rows))


def facts(staged: Staged) -> dict[str, Any]:
    """rows, subjects, and each column's number of nulls and of distinct values."""
    names = staged.schema.names
    counts = "".join(f", count(*) - count({_quoted(n)}), approx_count_distinct({_quoted(n)})" for n in names)
    duck = staged.connect()
    # Each side by itself: to put rows and subjects side by side takes longer than to count them.
    row = duck.execute(f"SELECT count(*){counts} FROM data").fetchone()  # noqa: S608
    subjects = duck.execute("SELECT count(DISTINCT __subject) FROM whose").fetchone()
    assert row is not None and subjects is not None  # noqa: PT018 - an aggregate always gives a row
    columns = {name: {"nulls": row[1 + 2 * i], "distinct": row[2 + 2 * i]} for i, name in enumerate(names)}
    return {"rows": row[0], "subjects": subjects[0], "columns": columns}


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
