"""Numbers made less exact: rounded, or coded at the top and the bottom."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def round_to(column: pa.Array, digits: int) -> pa.Array:
    """Round to decimal digits (negative: tens, hundreds), halves to even; same type, nulls stay null."""
    return pc.round(column, ndigits=digits, round_mode="half_to_even").cast(column.type)


def code(column: pa.Array, *, top: float | None = None, bottom: float | None = None) -> pa.Array:
    """Values over `top` become `top`, values under `bottom` become `bottom`; same type, nulls stay null.

    Source: 45 CFR 164.514(b)(2)(i)(C): ages over 89 are aggregated into one category (`top: 90`).
    """
    if top is not None:
        column = pc.if_else(pc.greater(column, top), pa.scalar(top).cast(column.type), column)
    if bottom is not None:
        column = pc.if_else(pc.less(column, bottom), pa.scalar(bottom).cast(column.type), column)
    return column


def redact(column: pa.Array, tag: str) -> pa.Array:
    """Put a tag (`[NAME]`) in the place of each value; strings, nulls stay null."""
    return pc.if_else(pc.is_null(column), pa.scalar(None, pa.string()), pa.scalar(tag))
