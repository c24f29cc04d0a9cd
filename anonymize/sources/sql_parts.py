"""The condition of a part of a table in SQL. It may let more through than the part, and nothing less: the rest is left out by who asked."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from anonymize.sources.parts import Part

#: More keys than this make a longer statement than every server takes; then all is read.
MOST_KEYS = 900


def condition(part: Part, dialect: str) -> sa.ColumnElement[bool] | None:
    """What a row of the part fulfils, in a dialect; None where that cannot be said there."""
    column: Any = sa.column(part.column)
    if part.values is not None:
        plain = all(isinstance(value, int) or (isinstance(value, str) and not set(value) & set("%\\:")) for value in part.values)
        return column.in_([_literal(value, dialect) for value in part.values]) if plain and len(part.values) <= MOST_KEYS else None
    bounds = [column >= _literal(_since(part.since, dialect), dialect)] if part.since is not None else []
    bounds += [column < _literal(_until(part.until, dialect), dialect)] if part.until is not None else []
    return sa.or_(column.is_(None), sa.and_(*bounds)) if bounds else None


def _since(value: Any, dialect: str) -> Any:
    # SQLite holds moments as texts, however they were written (a blank or a T, with or without fractions): its day is before them all.
    return value.date().isoformat() if dialect == "sqlite" and isinstance(value, datetime) else value


def _until(value: Any, dialect: str) -> Any:
    return (value + timedelta(days=1)).date().isoformat() if dialect == "sqlite" and isinstance(value, datetime) else value


def _literal(value: Any, dialect: str) -> Any:
    """PostgreSQL takes the type of a literal from the column beside it, and SQLite compares texts; others take a parameter."""
    if isinstance(value, int | float):
        return sa.literal_column(str(value))
    if dialect in ("postgresql", "sqlite"):
        text = value.isoformat() if isinstance(value, date | datetime) else str(value)
        return sa.literal_column("'" + text.replace("'", "''") + "'")
    return sa.literal(value)
