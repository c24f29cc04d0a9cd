"""The data dictionary of a release: one line a published column, with no count so small that it tells of a person."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from anonymize.errors import StoreError, without_values
from anonymize.policy import memory
from anonymize.policy.model import Method, Role
from anonymize.publish.manifest import ColumnFact, TableFact
from anonymize.publish.parquet import SHIFTED

HEADER = (
    "table", "column", "type", "role", "method", "precision", "dates", "missing", "distinct", "categories", "values", "unit", "codes",
    "description",
)  # fmt: skip
_BUCKETS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
_SHOWN = 50
"""Categories that are listed of a column."""
_MANY = 2_000
"""A column with more distinct values than this has no categories."""
_LONG = 120
"""A column with a longer value, in characters, has no categories: it is text."""


@dataclass(frozen=True)
class Category:
    """One value of a column and its distinct subjects (of a table that is not about subjects: its rows)."""

    value: str
    count: int


@dataclass(frozen=True)
class Line:
    """What is said of one column. more: what is true of values that are not listed, in words; empty where all are."""

    table: str
    column: ColumnFact
    missing: str
    distinct: str
    categories: tuple[Category, ...] = ()
    more: str = ""

    @property
    def dates(self) -> str:
        """What was done to its dates; empty where nothing was."""
        return SHIFTED.format(days=self.column.shifted) if self.column.shifted else ""


def describe(stage: Path, tables: tuple[TableFact, ...], *, k: int, subjects: Path | None = None) -> list[Line]:
    """Measure every column. stage: folder with a folder of Parquet files a table; subjects: folder of a folder of `__subject` files a table,
    row for row beside them; k: subjects (of a table that is not about subjects: rows) under which a count is hidden.

    A table about subjects whose `__subject` files are not given has no categories. DuckDB streams, so memory does not grow with the rows.
    """
    return [line for table in tables for line in _describe(stage / table.name, table, k, subjects / table.name if subjects else None)]


def dictionary_csv(lines: list[Line]) -> bytes:
    """The dictionary as CSV (UTF-8, RFC 4180).

    missing: the share of nulls in percent, rounded; `< x %` where fewer than k subjects are missing or fewer than k are there. distinct: a
    range of the number of distinct values, never the number. categories: `value (subjects)`, those of k subjects and more.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for line in lines:
        column = line.column
        categories = "; ".join([*(f"{one.value} ({one.count:,})" for one in line.categories), *([line.more] if line.more else [])])
        said = (line.table, column.name, column.type, column.role, column.method, column.precision, line.dates, line.missing, line.distinct)
        rest = (categories, "; ".join(column.values or ()), column.unit, column.codes, column.description)
        writer.writerow(tuple(_plain(cell) for cell in (*said, *rest)))
    return out.getvalue().encode()


def _plain(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def share(count: int, rows: int, k: int, *, fewest: int | None = None) -> str:
    """A share in percent that hides a count under k on either side: `0 %`, `12.5 %`, `< 1.2 %`, `> 98.8 %`, `100 %`.

    fewest: of the subjects on either side, the smaller number; with it, k is counted in subjects and not in rows alone.
    """
    if rows == 0:
        return ""
    if count in (0, rows):
        return "100 %" if count else "0 %"
    small = min(count, rows - count)
    if small < k:
        edge = 100 * min(k, rows) / rows
    elif fewest is not None and fewest < k:
        edge = _coarse(100 * small / rows)
    else:
        return f"{100 * count / rows:.1f} %"
    return f"< {edge:.3g} %" if count < k or count == small else f"> {100 - edge:.3g} %"


def _coarse(percent: float) -> float:
    """The next of 1, 2, 5, 10, 20 and 50 percent, so that the edge does not tell the number."""
    return next((float(edge) for edge in (1, 2, 5, 10, 20, 50) if percent <= edge), 100.0)


def bucket(distinct: int, k: int) -> str:
    """A range that holds the number of distinct values: `0`, `1 to 9`, `10 to 99`, …; numbers under k are `under k`."""
    if distinct < k:
        return f"under {k}" if distinct else "0"
    edges = [1, *_BUCKETS]
    for low, high in pairwise(edges):
        if distinct < high:
            return f"{low:,} to {high - 1:,}"
    return f"{_BUCKETS[-1]:,} or more"


def _describe(folder: Path, table: TableFact, k: int, subjects: Path | None) -> list[Line]:
    beside = subjects is not None and subjects.is_dir() and any(subjects.glob("*.parquet"))
    with duckdb.connect(config={"memory_limit": memory.counting(), "temp_directory": str(folder.parent.parent / "scratch")}) as duck:
        with without_values(f"dictionary {table.name}"):
            _open(duck, folder, subjects if beside else None)
            about_subjects = table.subjects is not None
            counted = beside and about_subjects
            rows, measured = _measure(duck, table, counted)
        return [
            _line(duck, table, column, k, rows, numbers, countable=counted or not about_subjects, subjects=counted)
            for column, numbers in zip(table.columns, measured, strict=True)
        ]


def _open(duck: duckdb.DuckDBPyConnection, folder: Path, subjects: Path | None) -> None:
    """A view `staged`: the published columns and, where given, `__subject`, row by row."""
    duck.execute("SET enable_progress_bar = false")
    files = [[str(path) for path in sorted(one.glob("*.parquet"))] for one in (folder, subjects) if one is not None]
    rows = [sum(pq.read_metadata(path).num_rows for path in one) for one in files]
    if len(set(rows)) > 1:
        raise StoreError(f"{folder.name}: {rows[1]:,} subjects stand beside {rows[0]:,} staged rows; stage the table again")
    duck.read_parquet(files[0]).create_view("data")
    if subjects is None:
        duck.execute("CREATE VIEW staged AS SELECT * FROM data")
    else:
        duck.read_parquet(files[1]).create_view("whose")
        duck.execute("CREATE VIEW staged AS SELECT * FROM data POSITIONAL JOIN whose")


def _measure(duck: duckdb.DuckDBPyConnection, table: TableFact, subjects: bool) -> tuple[int, list[tuple[int, int, int | None]]]:
    """The rows, then for each column (nulls, approximate number of distinct values, the fewer of the subjects with and without a value, where
    there are both)."""
    parts = ["count(*)"]
    for column in table.columns:
        parts += [f"count({_quoted(column.name)})", f"approx_count_distinct({_quoted(column.name)})"]
    found = duck.execute(f"SELECT {', '.join(parts)} FROM staged").fetchone()  # noqa: S608
    assert found is not None  # an aggregate always gives a row
    rows, there = found[0], found[1::2]
    fewest = [_fewest(duck, column.name) if subjects and 0 < known < rows else None for column, known in zip(table.columns, there, strict=True)]
    return rows, [(rows - known, distinct, few) for known, distinct, few in zip(there, found[2::2], fewest, strict=True)]


def _fewest(duck: duckdb.DuckDBPyConnection, column: str) -> int:
    """The fewer of the subjects with and without a value, of a column that has both."""
    whose = [f"count(DISTINCT __subject) FILTER ({_quoted(column)} IS {word}NULL)" for word in ("", "NOT ")]
    found = duck.execute(f"SELECT least({', '.join(whose)}) FROM staged").fetchone()  # noqa: S608
    assert found is not None  # an aggregate always gives a row
    return int(found[0])


def _line(
    duck: duckdb.DuckDBPyConnection,
    table: TableFact,
    column: ColumnFact,
    k: int,
    rows: int,
    measured: tuple[int, int, int | None],
    *,
    countable: bool,
    subjects: bool,
) -> Line:
    nulls, distinct, fewest = measured
    if column.encrypted:
        return Line(table.name, column, "", "")
    line = Line(table.name, column, share(nulls, rows, k, fewest=fewest), bucket(distinct, k))
    if not countable or distinct > _MANY or not _categorical(column):
        return line
    with without_values(f"dictionary {table.name}.{column.name}"):
        shown, more = _categories(duck, column.name, k, subjects)
    return Line(table.name, column, line.missing, line.distinct, shown, more)


def _categorical(column: ColumnFact) -> bool:
    """Whether a column's values are categories: words, codes, flags and whole numbers that are neither identifiers, dates nor texts."""
    if column.role not in (Role.QUASI, Role.SENSITIVE, Role.PLAIN) or column.method in (Method.REDACT, Method.SCRUB):
        return False
    return column.type in ("string", "large_string", "bool") or column.type.startswith(("int", "uint", "dictionary"))


def _categories(duck: duckdb.DuckDBPyConnection, name: str, k: int, subjects: bool) -> tuple[tuple[Category, ...], str]:
    """The values of k and more subjects, the most frequent first, and what is true of the others.

    Where the subjects of the values under k are fewer than k together, the smallest of the others is hidden with them, for a reader could take
    the difference (complementary suppression; Hundepool et al., Statistical Disclosure Control, 2012, section 4.3).
    """
    quoted = _quoted(name)
    cells = f"SELECT {'DISTINCT __subject AS who' if subjects else '0 AS who'}, CAST({quoted} AS VARCHAR) AS value FROM staged"  # noqa: S608
    grouped = f"SELECT value, count(who) AS n FROM ({cells} WHERE {quoted} IS NOT NULL) GROUP BY 1"  # noqa: S608
    found = duck.execute(f"{grouped} ORDER BY n DESC, value").fetchall()
    if any(len(value) > _LONG for value, _ in found):
        return (), ""
    large = [Category(value, n) for value, n in found if n >= k]
    hidden = sum(n for _, n in found if n < k)
    while large and 0 < hidden < k:
        hidden += large.pop().count
    unit = "people" if subjects else "rows"
    words = [f"values of fewer than {k} {unit}"] if len(large) < len(found) else []
    words += [f"{len(large) - _SHOWN:,} more values"] if len(large) > _SHOWN else []
    return tuple(large[:_SHOWN]), f"and {' and '.join(words)}" if words and large else "".join(words)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
