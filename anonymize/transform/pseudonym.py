"""A value's stand-in: the same everywhere in a project, of fixed length, and without the key not to be had back."""

from __future__ import annotations

import base64
import hmac

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.keys import Key

TEXT_LENGTH = 24
SUBJECT = "subject"
"""The namespace of subject keys."""
SHARED = "id"
"""The namespace of all other ids, unless the policy says otherwise; foreign keys meet in it without a word."""
MANY = 4_096
"""Values from which on the compiled digests pay for loading the compiler."""


def pseudonymize(column: pa.Array, key: Key, *, namespace: str = SHARED, uid: bool = False) -> pa.Array:
    """Replace each id by its pseudonym; equal ids of a namespace get equal pseudonyms, in any table and any run of the project.

    column: strings or integers, length n; nulls stay null, surrounding blanks do not count.
    uid: as DICOM's unique identifiers, `2.25.` and a UUID as a whole number (PS3.5 Annex B.2; the UUID of version 8 as in RFC 9562), so that
    the tables still join with images that were given the same UIDs.
    Returns strings of 24 characters (120 bits in base32) for strings, positive int64 (63 bits) for integers.
    Source: HMAC-SHA256 (RFC 2104), truncated as in NIST SP 800-107; keyed, as the guidance on 45 CFR 164.514(c) asks of a code
    that is derived from an identifier.
    """
    integer = pa.types.is_integer(column.type)
    secret = key.derive(f"pseudonym:{namespace}")
    if len(column) >= MANY and not uid and not pa.types.is_dictionary(column.type):
        return _of_many(canonical(column), secret, integer)
    encoded = column.dictionary_encode()
    digests = [_digest(secret, value) for value in canonical(encoded.dictionary).to_pylist()]
    if integer:
        values = pa.array([None if d is None else int.from_bytes(d[:8], "big") >> 1 for d in digests], pa.int64())
    else:
        form = _uid if uid else _code
        values = pa.array([None if d is None else form(d) for d in digests], pa.string())
    return values.take(encoded.indices)


def _of_many(values: pa.Array, secret: bytes, integer: bool) -> pa.Array:
    """The same, of each row: what is compiled digests a value sooner than a dictionary finds it again."""
    from anonymize.transform.digests import codes, digests

    found = digests(secret, values)
    valid = values.is_valid().buffers()[1] if values.null_count else None
    if integer:
        numbers = (found[:, 0].astype(np.uint64) << np.uint64(31)) | (found[:, 1] >> np.uint32(1)).astype(np.uint64)
        return pa.Array.from_buffers(pa.int64(), len(values), [valid, pa.py_buffer(numbers)])
    places = pa.py_buffer(np.arange(0, TEXT_LENGTH * (len(values) + 1), TEXT_LENGTH, dtype=np.int32))
    return pa.Array.from_buffers(pa.string(), len(values), [valid, places, pa.py_buffer(codes(found))])


def _code(digest: bytes) -> str:
    return base64.b32encode(digest[:15]).decode().lower()


def _uid(digest: bytes) -> str:
    number = int.from_bytes(digest[:16], "big")
    version, variant = 0xF << 76, 0x3 << 62
    return f"2.25.{(number & ~version & ~variant) | 8 << 76 | 2 << 62}"


def canonical(column: pa.Array) -> pa.Array:
    """The text under which an id is hashed: `17` for 17 and for ` 17 `. Raises ArrowInvalid for types that are no ids."""
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _digest(secret: bytes, value: str | None) -> bytes | None:
    return None if value is None else hmac.digest(secret, value.encode(), "sha256")
