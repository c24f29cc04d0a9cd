"""Texts become typed values, column by column; a record whose value is not of its type is malformed, and the others go on."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import SourceError
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed

_PATTERNS = {
    "int64": r"^\s*[+-]?[0-9]{1,19}\s*$",
    "double": r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$",
    "bool": r"^(?i)\s*(true|false|t|f|yes|no|1|0)\s*$",
}
#: What stands in Python's texts for what is no text.
_LONE = re.compile("[\ud800-\udfff]")
#: Whole numbers with a leading zero are codes (ZIP, MRN), not quantities.
_CODE = re.compile(r"[+-]?0[0-9]")
_GUESSES = [
    ("int64", pa.int64(), re.compile(r"[+-]?[0-9]{1,18}")),
    ("double", pa.float64(), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")),
    ("date", pa.date32(), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")),
    ("timestamp", pa.timestamp("us"), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")),
    ("timestamp", pa.timestamp("us", "UTC"), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")),
]


def guess_type(values: Iterable[str | None], *, numbers: bool = True) -> pa.DataType:
    """The Arrow type that all of a sample's values are written in; text where in doubt, and for codes with leading zeros.

    numbers: whether digits can be a quantity (in JSON's strings they cannot).
    """
    present = [value for value in values if value]
    codes = not numbers or any(_CODE.match(value) for value in present)
    for name, type, pattern in _GUESSES:
        if present and not (codes and name in ("int64", "double")) and all(pattern.fullmatch(value) for value in present):
            return type
    return pa.string()


def wanted_types(where: str, schema: pa.Schema, columns: Sequence[str], types: Mapping[str, pa.DataType] | None) -> dict[str, pa.DataType]:
    """What each wanted column is to be read as: what is asked for, else what the source says. Raises SourceError for a column not there."""
    for column in columns:
        if column not in schema.names:
            raise SourceError(f"{where}: no column '{column}'.{nearest(column, schema.names)}")
    return {column: (types or {}).get(column, schema.field(column).type) for column in columns}


def text_batch(rows: Sequence[int], records: Sequence[tuple[str | None, ...]], names: Sequence[str]) -> Iterator[pa.RecordBatch | Malformed]:
    """Records of texts as a batch led by `__row`; a Malformed (`bad-encoding`) for each that holds what is no text, then the good ones.

    Bytes that are not of the file's encoding, and halves of characters in JSON (`"\\ud83d"`), reach here as lone surrogates.
    """
    try:
        yield _texts(rows, records, names)
    except UnicodeEncodeError:
        good = []
        for index, record in enumerate(records):
            column = next((name for name, value in zip(names, record, strict=True) if value and _LONE.search(value)), None)
            if column is None:
                good.append(index)
            else:
                raw = str(record).encode("utf-8", "replace").decode()
                yield Malformed(rows[index], "bad-encoding", column, raw=raw, fields=dict(zip(names, record, strict=True)))
        yield _texts([rows[index] for index in good], [records[index] for index in good], names)


def _texts(rows: Sequence[int], records: Sequence[tuple[str | None, ...]], names: Sequence[str]) -> pa.RecordBatch:
    columns: Iterable[Any] = zip(*records, strict=True) if records else ([] for _ in names)
    return pa.RecordBatch.from_arrays([pa.array(rows, pa.int64()), *(pa.array(c, pa.string()) for c in columns)], names=[ROW, *names])


def convert(batch: pa.RecordBatch, types: Mapping[str, pa.DataType], inferred: Container[str] = ()) -> Iterator[pa.RecordBatch | Malformed]:
    """Turn a batch of texts (and `__row`) into typed columns; a Malformed for each record that does not convert, then the good ones.

    inferred: columns whose type is a guess from a sample. There a number with a leading zero, met after the sample, is a code: as a number
    it would silently become another code (`02139`), so its record is malformed (`leading-zero`).
    """
    good = pa.repeat(True, batch.num_rows)
    reasons: dict[int, tuple[str, str]] = {}
    arrays = {ROW: batch[ROW]}
    for name, type in types.items():
        if batch[name].type == type:
            arrays[name] = batch[name]
            continue
        arrays[name], fine = _column(batch[name], type)
        for reason, passed in ((f"not-{_name(type)}", fine), ("leading-zero", _no_code(batch[name], type, name in inferred))):
            if passed is not None and not pc.all(passed, min_count=0).as_py():
                for index in pc.indices_nonzero(pc.invert(passed)).to_pylist():
                    reasons.setdefault(index, (reason, name))
                good = pc.and_(good, passed)
    for index, (reason, column) in sorted(reasons.items()):
        record = batch.slice(index, 1).drop_columns([ROW]).to_pylist()[0]
        yield Malformed(batch[ROW][index].as_py(), reason, column, raw=str(record), fields=record)
    typed = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    yield typed.filter(good) if reasons else typed


def _no_code(column: pa.Array, type: pa.DataType, inferred: bool) -> pa.Array | None:
    """Which texts are no number with a leading zero; None where that says nothing."""
    if not inferred or not pa.types.is_string(column.type) or not (pa.types.is_integer(type) or pa.types.is_floating(type)):
        return None
    return pc.invert(pc.match_substring_regex(column, r"^\s*[+-]?0[0-9]")).fill_null(True)


def _name(type: pa.DataType) -> str:
    if pa.types.is_timestamp(type):
        return "timestamp"
    return {"double": "float64", "date32[day]": "date"}.get(str(type), str(type))


def _column(column: pa.Array, type: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """The typed column, null where a text is not of the type, and which texts are."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            return column.cast(type), pa.repeat(True, len(column))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return _column(column.cast(pa.string()), type)
    if pa.types.is_string(type):
        return column.cast(type), pa.repeat(True, len(column))
    text = pc.utf8_trim_whitespace(column)
    matched = pc.match_substring_regex(text, _PATTERNS[str(type)]) if str(type) in _PATTERNS else pa.repeat(True, len(text))
    text = pc.if_else(matched, text, pa.scalar(None, text.type))
    typed = _boolean(text) if pa.types.is_boolean(type) else _cast(text, type)
    return typed, pc.or_(pc.is_null(column), pc.is_valid(typed))


def _boolean(text: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(text)
    true = pc.is_in(lower, pa.array(["true", "t", "yes", "1"]))
    return pc.if_else(pc.is_null(lower), pa.scalar(None, pa.bool_()), true)


def _cast(text: pa.Array, type: pa.DataType) -> pa.Array:
    """Cast all at once; where one value does not, each distinct value alone, so that only its records fall out."""
    try:
        return text.cast(type)
    except pa.ArrowInvalid:
        encoded = text.dictionary_encode()
        return pa.array([_one(value, type) for value in encoded.dictionary.to_pylist()], type).take(encoded.indices)


def _one(value: str | None, type: pa.DataType) -> object:
    try:
        return pa.scalar(value, pa.string()).cast(type).as_py()
    except pa.ArrowInvalid:
        return None
