"""The methods by name: what each does to a column, which Arrow types it takes, and which it gives.

`accepts` is asked before the first record, so that a rule which cannot be honoured stops the run and never silently does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from anonymize.keys import Key
from anonymize.policy.model import Kind, Method, Role, Rule
from anonymize.transform import dates, numbers, pseudonym


@dataclass(frozen=True)
class Context:
    """What a method may know beside its column: the key, whether the column is the subject key, the subjects' shifts (int32 days)."""

    key: Key
    is_subject: bool
    offset: pa.Array


def _identity(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_integer(type)


def _number(type: pa.DataType) -> bool:
    return pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type)


def _text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def _date(type: pa.DataType) -> bool:
    return pa.types.is_date(type) or pa.types.is_timestamp(type) or _text(type)


def _any(_: pa.DataType) -> bool:
    return True


def _same(type: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(type) or pa.types.is_dictionary(type):
        return pa.string()
    return pa.date32() if pa.types.is_date(type) else type


def _pseudonym_type(type: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_integer(type) else pa.string()


def _string(_: pa.DataType) -> pa.DataType:
    return pa.string()


def _pseudonym(column: pa.Array, context: Context, rule: Rule) -> pa.Array:
    default = pseudonym.SUBJECT if context.is_subject else pseudonym.SHARED
    return pseudonym.pseudonymize(column, context.key, namespace=rule.namespace or default, uid=rule.format == "uid")


def _surrogate(column: pa.Array, context: Context, rule: Rule) -> pa.Array:
    from anonymize.transform.surrogates import surrogates

    return surrogates(column, context.key, kind=rule.kind or Kind.ID)


@dataclass(frozen=True)
class Spec:
    """One method: its function, the types it takes (and how to say so), the type it gives."""

    apply: Callable[[pa.Array, Context, Rule], pa.Array]
    takes: Callable[[pa.DataType], bool]
    words: str
    gives: Callable[[pa.DataType], pa.DataType] = _same


#: `generalize` and `scrub` pass a column on: the first is done after the search, the second needs the subject's record beside it.
SPECS: dict[Method, Spec] = {
    Method.PSEUDONYM: Spec(_pseudonym, _identity, "text or whole numbers", _pseudonym_type),
    Method.REDACT: Spec(lambda c, _, r: numbers.redact(c, (r.kind or Kind.ID).tag), _any, "anything", _string),
    Method.SURROGATE: Spec(_surrogate, _text, "text", _string),
    Method.SHIFT: Spec(lambda c, x, r: dates.shift(c, x.offset, format=r.format), _date, "dates, or text that is dates"),
    Method.YEAR: Spec(lambda c, _, r: dates.year(c, format=r.format), _date, "dates, or text that is dates", lambda _: pa.int32()),
    Method.ROUND: Spec(lambda c, _, r: numbers.round_to(c, r.digits or 0), _number, "numbers"),
    Method.CODE: Spec(lambda c, _, r: numbers.code(c, top=r.top, bottom=r.bottom), _number, "numbers"),
    Method.KEEP: Spec(lambda c, _x, _r: c, _any, "anything"),
    Method.SCRUB: Spec(lambda c, _x, _r: c, _text, "text", _string),
    Method.GENERALIZE: Spec(lambda c, _x, _r: c, _any, "anything"),
    Method.DROP: Spec(lambda c, _x, _r: c, _any, "anything"),
}


#: What a policy's `type` is in Arrow.
ARROW_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def accepts(rule: Rule, type: pa.DataType) -> str | None:
    """None where the rule's method takes a column of this type, else a sentence that says what it takes instead."""
    spec = SPECS[rule.method]
    if spec.takes(type):
        return None
    return f"method '{rule.method}' takes {spec.words}, and the source's column is {type}"


def output_type(rule: Rule, type: pa.DataType) -> pa.DataType:
    """The Arrow type of the column after its method (a quasi-identifier becomes text later, when it is generalized)."""
    return SPECS[rule.method].gives(type)


def needs_subject(rule: Rule) -> bool:
    """Whether the method can only be done where the table is about subjects."""
    return rule.method is Method.SHIFT


def is_searched(rule: Rule) -> bool:
    """Whether the column's values are looked up in the subject's texts and by the leak gate: identifiers, and dropped columns whose kind of
    PHI is known."""
    return rule.role is Role.IDENTIFIER or (rule.role is Role.DROP and rule.kind is not None)
