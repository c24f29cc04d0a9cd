"""A table in ranges of its key, so that several connections can read it side by side."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from anonymize.sources.sessions import Session

#: A range holds about so many rows: few enough to be read ahead whole, many enough to be worth a statement.
PART_ROWS = 50_000
#: Whole numbers of which so few of a span are keys are parted by their rank, and no longer by their value.
SPARSE = 20


def conditions(session: Session, table: sa.TableClause, whole: bool, dialect: str, least: int) -> list[sa.ColumnElement[bool]]:
    """Conditions on the first column of a table's key, in its order, of which each row fulfils one; none where there is nothing to part.

    table: with that column alone; whole: whether it holds whole numbers; least: how many ranges are asked for (a large table gets more).
    Both kinds of bounds are drawn from the data alone: the same rows give the same ranges.
    """
    key = next(iter(table.c))
    if whole:
        rows, low, high = session.values(sa.select(sa.func.count(), sa.func.min(key), sa.func.max(key)).select_from(table))[0]
    else:
        rows, low, high = session.values(sa.select(sa.func.count()).select_from(table))[0][0], None, None
    parts = min(max(least, math.ceil(rows / PART_ROWS)), rows)
    if parts < 2:
        return []
    if low is not None and high - low < SPARSE * rows:
        edges: list[Any] = [low + (high - low + 1) * part // parts for part in range(1, parts)]
    else:
        edges = _ranked(session, table, key, math.ceil(rows / parts), dialect)
    bounds = [_literal(edge, dialect) for edge in dict.fromkeys(edges)]
    if not bounds:
        return []
    key = sa.column(key.name)  # of whatever table the statement reads
    first: sa.ColumnElement[bool] = key < bounds[0]
    return [
        # SQLite lets a key be null, and sorts it first.
        sa.or_(first, key.is_(None)) if dialect == "sqlite" else first,
        *(sa.and_(key >= low, key < high) for low, high in pairwise(bounds)),
        key >= bounds[-1],
    ]


def _ranked(session: Session, table: sa.TableClause, key: Any, step: int, dialect: str) -> list[Any]:
    """Every `step`-th key, which the server finds in its index."""
    ranked = sa.select(key.label("edge"), sa.func.row_number().over(order_by=key).label("rank")).select_from(table).subquery("ranked")
    edge = sa.cast(ranked.c.edge, sa.Text) if dialect == "postgresql" else ranked.c.edge
    found = sa.select(edge).where((ranked.c.rank - 1) % sa.literal_column(str(step)) == 0, ranked.c.rank > 1).order_by(ranked.c.rank)
    return [row[0] for row in session.values(found) if row[0] is not None]


def _literal(edge: Any, dialect: str) -> Any:
    """A bound as it stands in a statement. PostgreSQL takes the type of a literal from the column beside it; others take a parameter."""
    if isinstance(edge, int):
        return sa.literal_column(str(edge))
    return sa.literal_column("'" + str(edge).replace("'", "''") + "'") if dialect == "postgresql" else sa.literal(edge)
