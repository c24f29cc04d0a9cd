"""Texts become typed values, column by column; a record whose value is not of its type is malformed, and the others go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import SourceError
from anonymize.policy.nearest import nearest
from anonymize.sources.base import ROW, Malformed

_PATTERNS = {
    "int64": r"^\s*[+-]?[0-9]{1,18}\s*$",
    "double": r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$",
    "bool": r"^(?i)\s*(true|false|t|f|yes|no|1|0)\s*$",
}
#: Whole numbers with a leading zero are codes (ZIP, MRN), not quantities.
_CODE = re.compile(r"[+-]?0[0-9]")
_GUESSES = [
    ("int64", pa.int64(), re.compile(r"[+-]?[0-9]{1,18}")),
    ("double", pa.float64(), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")),
    ("date", pa.date32(), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")),
    ("timestamp", pa.timestamp("us"), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")),
    ("timestamp", pa.timestamp("us", "UTC"), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")),
]


def guess_type(values: Iterable[str | None]) -> pa.DataType:
    """The Arrow type that all of a sample's values are written in; text where in doubt, and for codes with leading zeros."""
    present = [value for value in values if value]
    if not present or any(_CODE.match(value) for value in present):
        numbers: set[str] = {"int64", "double"}
    else:
        numbers = set()
    for name, type, pattern in _GUESSES:
        if present and name not in numbers and all(pattern.fullmatch(value) for value in present):
            return type
    return pa.string()


def wanted_types(where: str, schema: pa.Schema, columns: Sequence[str], types: Mapping[str, pa.DataType] | None) -> dict[str, pa.DataType]:
    """What each wanted column is to be read as: what is asked for, else what the source says. Raises SourceError for a column not there."""
    for column in columns:
        if column not in schema.names:
            raise SourceError(f"{where}: no column '{column}'.{nearest(column, schema.names)}")
    return {column: (types or {}).get(column, schema.field(column).type) for column in columns}


def convert(batch: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch | Malformed]:
    """Turn a batch of texts (and `__row`) into typed columns; a Malformed for each record that does not convert, then the good ones."""
    good = pa.repeat(True, batch.num_rows)
    reasons: dict[int, tuple[str, str]] = {}
    arrays = {ROW: batch[ROW]}
    for name, type in types.items():
        if batch[name].type == type:
            arrays[name] = batch[name]
            continue
        arrays[name], fine = _column(batch[name], type)
        if not pc.all(fine).as_py():
            for index in pc.indices_nonzero(pc.invert(fine)).to_pylist():
                reasons.setdefault(index, (f"not-{_name(type)}", name))
            good = pc.and_(good, fine)
    for index, (reason, column) in sorted(reasons.items()):
        yield Malformed(batch[ROW][index].as_py(), reason, column, raw=str(batch.slice(index, 1).to_pylist()[0]))
    typed = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    yield typed.filter(good) if reasons else typed


def _name(type: pa.DataType) -> str:
    if pa.types.is_timestamp(type):
        return "timestamp"
    return {"double": "float64", "date32[day]": "date"}.get(str(type), str(type))


def _column(column: pa.Array, type: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """The typed column, null where a text is not of the type, and which texts are."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column.cast(type, safe=False), pa.repeat(True, len(column))
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
