"""The data dictionary of a release: one line a published column, with no count so small that it tells of a person."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path

import duckdb

from anonymize.errors import without_values
from anonymize.publish.manifest import ColumnFact, TableFact

HEADER = ("table", "column", "type", "role", "method", "description", "missing", "distinct", "level", "values")
_BUCKETS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)


def dictionary(stage: Path, tables: tuple[TableFact, ...], *, k: int) -> bytes:
    """The dictionary as CSV (UTF-8, RFC 4180). stage: folder with a folder of Parquet files a table; k: counts under it are hidden.

    missing: the share of nulls in percent, rounded; `< x %` where fewer than k rows are missing or fewer than k are there. distinct: a
    range of the number of distinct values, never the number.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for table in tables:
        measured = _measure(stage / table.name, table)
        for column in table.columns:
            rows, nulls, distinct = measured[column.name]
            writer.writerow(_line(table.name, column, share(nulls, rows, k), bucket(distinct, k)))
    return out.getvalue().encode()


def _line(table: str, column: ColumnFact, missing: str, distinct: str) -> tuple[str, ...]:
    level = " ".join(part for part in (column.hierarchy, f"({column.level})" if column.level else "") if part)
    said = (table, column.name, column.type, column.role, column.method, column.description, missing, distinct, level)
    return tuple(_plain(cell) for cell in (*said, "; ".join(column.values or ())))


def _plain(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def share(count: int, rows: int, k: int) -> str:
    """A share in percent that hides a count under k on either side: `0 %`, `12.5 %`, `< 1.2 %`, `> 98.8 %`, `100 %`."""
    if rows == 0:
        return ""
    if count in (0, rows):
        return "100 %" if count else "0 %"
    if count < k or rows - count < k:
        edge = 100 * min(k, rows) / rows
        return f"< {edge:.3g} %" if count < k else f"> {100 - edge:.3g} %"
    return f"{100 * count / rows:.1f} %"


def bucket(distinct: int, k: int) -> str:
    """A range that holds the number of distinct values: `0`, `1 to 9`, `10 to 99`, …; numbers under k are `under k`."""
    if distinct < k:
        return f"under {k}" if distinct else "0"
    edges = [1, *_BUCKETS]
    for low, high in pairwise(edges):
        if distinct < high:
            return f"{low:,} to {high - 1:,}"
    return f"{_BUCKETS[-1]:,} or more"


def _measure(folder: Path, table: TableFact) -> dict[str, tuple[int, int, int]]:
    """Each column's rows, nulls and approximate number of distinct values; DuckDB streams, so memory does not grow with the rows."""
    parts = ["count(*)"]
    for column in table.columns:
        name = '"' + column.name.replace('"', '""') + '"'
        parts += [f"count({name})", f"approx_count_distinct({name})"]
    with duckdb.connect() as duck, without_values(f"dictionary {table.name}"):
        duck.execute("SET enable_progress_bar = false")
        files = [str(path) for path in sorted(folder.glob("*.parquet"))]
        rows, *counts = duck.read_parquet(files).aggregate(", ".join(parts)).fetchall()[0]
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return {c.name: (rows, rows - there, distinct) for c, (there, distinct) in zip(table.columns, pairs, strict=True)}
