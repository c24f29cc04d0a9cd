"""A value's stand-in: the same everywhere in a project, of fixed length, and without the key not to be had back."""

from __future__ import annotations

import base64
import hmac

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.keys import Key

TEXT_LENGTH = 24
SUBJECT = "subject"
"""The namespace of subject keys."""
SHARED = "id"
"""The namespace of all other ids, unless the policy says otherwise; foreign keys meet in it without a word."""


def pseudonymize(column: pa.Array, key: Key, *, namespace: str = SHARED) -> pa.Array:
    """Replace each id by its pseudonym; equal ids of a namespace get equal pseudonyms, in any table and any run of the project.

    column: strings or integers, length n; nulls stay null, surrounding blanks do not count.
    Returns strings of 24 characters (120 bits in base32) for strings, positive int64 (63 bits) for integers.
    Source: HMAC-SHA256 (RFC 2104), truncated as in NIST SP 800-107; keyed, as the guidance on 45 CFR 164.514(c) asks of a code
    that is derived from an identifier.
    """
    encoded = column.dictionary_encode()
    integer = pa.types.is_integer(column.type)
    secret = key.derive(f"pseudonym:{namespace}")
    digests = [_digest(secret, value) for value in canonical(encoded.dictionary).to_pylist()]
    if integer:
        values = pa.array([None if d is None else int.from_bytes(d[:8], "big") >> 1 for d in digests], pa.int64())
    else:
        values = pa.array([None if d is None else base64.b32encode(d[:15]).decode().lower() for d in digests], pa.string())
    return values.take(encoded.indices)


def canonical(column: pa.Array) -> pa.Array:
    """The text under which an id is hashed: `17` for 17 and for ` 17 `. Raises ArrowInvalid for types that are no ids."""
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _digest(secret: bytes, value: str | None) -> bytes | None:
    return None if value is None else hmac.digest(secret, value.encode(), "sha256")
