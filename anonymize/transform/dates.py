"""Dates: moved by their subject's own constant, or cut to the year."""

from __future__ import annotations

import hmac

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.keys import Key
from anonymize.transform.pseudonym import MANY, canonical

#: Years outside of these are no dates but signs (`9999-12-31`: open). Signs do not move: a moved sign would tell the offset.
FIRST_YEAR, LAST_YEAR = 1850, 2199
_ISO = r"^\s*(?P<year>[0-9]{4})(?P<rest>-[0-9]{2}(?P<day>-[0-9]{2}(?P<time>[T ].*)?)?)?\s*$"


def offsets(subject: pa.Array, key: Key, *, days: int = 365) -> pa.Array:
    """Each subject's shift in whole days: uniform in [-days, days] without 0, derived by HMAC-SHA256, so that the same key gives the same.

    subject: source keys, length n. Returns int32, length n; null where the subject is.
    Source: offsets a subject as in MIMIC-IV (Johnson et al., 2023, Scientific Data 10:1).
    """
    secret = key.derive("shift")
    values = canonical(subject)
    if len(values) >= MANY:
        return _offsets_of_many(values, secret, days)
    encoded = values.dictionary_encode()
    drawn = [None if value is None else _offset(secret, value, days) for value in encoded.dictionary.to_pylist()]
    return pa.array(drawn, pa.int32()).take(encoded.indices)


def _offsets_of_many(subjects: pa.Array, secret: bytes, days: int) -> pa.Array:
    from anonymize.transform.digests import digests

    found = digests(secret, subjects)
    drawn = ((found[:, 0].astype(np.uint64) << np.uint64(32) | found[:, 1]) % np.uint64(2 * days)).astype(np.int32)
    moved = np.where(drawn < days, drawn - days, drawn - days + 1)
    return pa.array(moved, pa.int32(), mask=subjects.is_null().to_numpy(zero_copy_only=False))


def _offset(secret: bytes, subject: str, days: int) -> int:
    drawn = int.from_bytes(hmac.digest(secret, subject.encode(), "sha256")[:8], "big") % (2 * days)
    return drawn - days if drawn < days else drawn - days + 1


def shift(column: pa.Array, offset: pa.Array, *, format: str | None = None) -> pa.Array:
    """Move each date by its offset, so that intervals within a subject stay exact.

    column: dates, timestamps (time of day and zone stay), or texts in ISO 8601 or in `format`; length n; nulls stay null.
    offset: int32 days, length n; a null offset gives null (a date of nobody does not leave).
    A text of less than day precision keeps its year alone. Dates before 1850 and after 2199 are signs and stay.
    Source: HIPAA 45 CFR 164.514(b)(2)(i)(C) forbids the dates themselves.
    """
    if _is_text(column.type):
        return _shift_format(column, offset, format) if format else _shift_iso(column.cast(pa.string()), offset)
    if pa.types.is_date(column.type):
        column = column.cast(pa.date32())
    number = column.cast(pa.int64()) if not pa.types.is_date(column.type) else column.cast(pa.int32()).cast(pa.int64())
    moved = pc.add(number, pc.multiply(offset.cast(pa.int64()), _per_day(column.type)))
    kept = pc.if_else(_is_sign(column), number, moved)
    kept = pc.if_else(pc.is_null(offset), pa.scalar(None, pa.int64()), kept)
    return kept.cast(pa.int32()).cast(column.type) if pa.types.is_date(column.type) else kept.cast(column.type)


def year(column: pa.Array, *, format: str | None = None) -> pa.Array:
    """The year alone, int32, length n. Source: 45 CFR 164.514(b)(2)(i)(C), "all elements of dates (except year)"."""
    if not _is_text(column.type):
        return pc.year(column).cast(pa.int32())
    if format:
        return pc.year(pc.strptime(column, format=format, unit="s", error_is_null=True)).cast(pa.int32())
    return pc.struct_field(pc.extract_regex(column.cast(pa.string()), _ISO), "year").cast(pa.int32())


def parsable(column: pa.Array, *, format: str | None = None) -> pa.Array:
    """bool, length n: whether a text is a date of the calendar in ISO 8601 (partial ones too) or in `format`; null is."""
    column = column.cast(pa.string())
    if format:
        parsed = _in_calendar(column, format)
    else:
        parts = pc.extract_regex(column, _ISO)
        whole = pc.not_equal(pc.struct_field(parts, "day"), "")
        parsed = _in_calendar(pc.if_else(whole, pc.utf8_slice_codeunits(_trim(column), 0, 10), _first_of(parts)), "%Y-%m-%d")
    return pc.or_(pc.is_null(column), pc.fill_null(parsed, False))


def _in_calendar(column: pa.Array, format: str) -> pa.Array:
    """Whether a text parses and prints back the same: strptime takes 30 February for 2 March, without a word."""
    parsed = pc.strptime(column, format=format, unit="s", error_is_null=True)
    return pc.equal(_without_zeros(pc.strftime(parsed, format=format)), _without_zeros(column))


def _without_zeros(column: pa.Array) -> pa.Array:
    """`03/04/2020` and `3/4/2020` are one date; so are `MAR` and `Mar`."""
    return pc.replace_substring_regex(pc.utf8_lower(_trim(column)), r"\b0+([0-9])", r"\1")


def _first_of(parts: pa.Array) -> pa.Array:
    """The first day of a partial date: `2014` -> `2014-01-01`, `2014-03` -> `2014-03-01`."""
    rest = pc.struct_field(parts, "rest")
    month = pc.if_else(pc.equal(rest, ""), "-01", pc.utf8_slice_codeunits(rest, 0, 3))
    return pc.binary_join_element_wise(pc.struct_field(parts, "year"), month, "-01", "")


def _shift_iso(column: pa.Array, offset: pa.Array) -> pa.Array:
    """ISO texts: the day is moved, time of day and zone are kept letter by letter."""
    parts = pc.extract_regex(column, _ISO)
    whole = pc.not_equal(pc.struct_field(parts, "day"), "")
    text = pc.utf8_slice_codeunits(_trim(column), 0, 10)
    day = pc.strptime(pc.if_else(whole, text, pa.scalar(None, pa.string())), format="%Y-%m-%d", unit="s", error_is_null=True)
    moved = shift(day.cast(pa.date32()), offset).cast(pa.string())
    moved = pc.binary_join_element_wise(moved, pc.struct_field(parts, "time"), "")
    return pc.if_else(pc.is_null(offset), pa.scalar(None, pa.string()), pc.if_else(whole, moved, pc.struct_field(parts, "year")))


def _shift_format(column: pa.Array, offset: pa.Array, format: str) -> pa.Array:
    parsed = pc.strptime(column.cast(pa.string()), format=format, unit="s", error_is_null=True)
    # Arrow prints seconds with %S only for whole-second units, so the unit stays "s".
    return pc.strftime(shift(parsed, offset), format=format)


def _trim(column: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(column)


def _is_text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def _is_sign(column: pa.Array) -> pa.Array:
    years = pc.year(column)
    return pc.or_(pc.less(years, FIRST_YEAR), pc.greater(years, LAST_YEAR))


def _per_day(type: pa.DataType) -> pa.Scalar:
    if pa.types.is_date(type):
        return pa.scalar(1, pa.int64())
    return pa.scalar(int(np.timedelta64(1, "D") / np.timedelta64(1, type.unit)), pa.int64())
