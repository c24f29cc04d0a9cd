"""A part of a table: the rows that were written since, or those of some keys. A source that can narrow its read does; the rest is left out
here, exactly, so that a source may give more than was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.sources.base import ROW, Malformed, Source


@dataclass(frozen=True)
class Part:
    """Which rows of a table: those whose `column` is at least `since` and less than `until`, and those where it is missing; or, with `values`,
    those whose `column` is among them. since, until: of the column's type; None: no bound."""

    column: str
    since: Any = None
    until: Any = None
    values: tuple[Any, ...] | None = None

    def mask(self, column: pa.Array) -> pa.Array:
        """bool, length of the column: which rows are of the part."""
        if self.values is not None:
            return pc.is_in(column, pa.array(self.values, column.type))
        inside = pa.repeat(True, len(column))
        if self.since is not None:
            inside = pc.and_(inside, pc.greater_equal(column, pa.scalar(self.since, column.type)))
        if self.until is not None:
            inside = pc.and_(inside, pc.less(column, pa.scalar(self.until, column.type)))
        return pc.or_(inside.fill_null(True), pc.is_null(column))

    def holds(self, fields: Mapping[str, Any] | None, type: pa.DataType) -> bool:
        """Whether a malformed record is of the part; where that cannot be told it is."""
        value = of_fields(fields, self.column, type)
        return value is None or bool(self.mask(value)[0].as_py())


def of_fields(fields: Mapping[str, Any] | None, column: str, type: pa.DataType) -> pa.Array | None:
    """A malformed record's value of a column, as an array of one; None where it is missing or none of that type."""
    value = (fields or {}).get(column)
    if value is None:
        return None
    try:
        return pa.array([value], pa.string()).cast(type) if isinstance(value, str) else pa.array([value], type)
    except (pa.ArrowException, UnicodeEncodeError, ValueError, TypeError):
        return None


@runtime_checkable
class Narrowing(Protocol):
    """A source that can leave out at its own side most of what is not of a part."""

    def read_part(
        self, table: str, columns: Sequence[str], part: Part, *, query: str | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.RecordBatch | Malformed]:
        """As `Source.read`, but no more than the part is needed."""
        ...


def read_part(
    source: Source,
    table: str,
    columns: Sequence[str],
    part: Part,
    type: pa.DataType,
    *,
    query: str | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Iterator[pa.RecordBatch | Malformed]:
    """The rows of a part, and the malformed records of it; the part's column must be among the columns, and is of `type`."""
    if isinstance(source, Narrowing):
        items = source.read_part(table, columns, part, query=query, types=types)
    else:
        items = source.read(table, columns, query=query, types=types)
    for item in items:
        if isinstance(item, Malformed):
            if part.holds(item.fields, type):
                yield item
            continue
        yield item.filter(part.mask(item[part.column])).select([ROW, *columns])
