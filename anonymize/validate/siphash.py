"""SipHash-1-3 of many spans or pairs, compiled: what `hashing.py` says in arrays.

Import this inside functions: the compiler takes a second to load.
"""

from __future__ import annotations

import numpy as np

from anonymize.privacy.compiled import compiled

_N13, _N16, _N17, _N21, _N32, _N56, _N64 = (np.uint64(n) for n in (13, 16, 17, 21, 32, 56, 64))
_FF = np.uint64(0xFF)


@compiled
def _left(x: np.uint64, bits: np.uint64) -> np.uint64:
    return (x << bits) | (x >> (_N64 - bits))


@compiled
def _round(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a += b
    b = _left(b, _N13) ^ a
    a = _left(a, _N32)
    c += d
    d = _left(d, _N16) ^ c
    a += d
    d = _left(d, _N21) ^ a
    c += b
    b = _left(b, _N17) ^ c
    c = _left(c, _N32)
    return a, b, c, d


@compiled
def _finished(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> np.uint64:
    c ^= _FF
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    return a ^ b ^ c ^ d


@compiled
def pairs(first: np.ndarray, second: np.ndarray, start: np.ndarray) -> np.ndarray:
    """uint64 (n): the hash of each pair of words. first, second: uint64 (n); start: uint64 (4), the state under the key."""
    out = np.empty(first.size, np.uint64)
    end = np.uint64(16) << _N56
    for n in range(first.size):
        a, b, c, d = start[0], start[1], start[2], start[3]
        for word in (first[n], second[n], end):
            d ^= word
            a, b, c, d = _round(a, b, c, d)
            a ^= word
        out[n] = _finished(a, b, c, d)
    return out


@compiled
def spans(buffer: np.ndarray, begins: np.ndarray, ends: np.ndarray, longest: int, start: np.ndarray) -> np.ndarray:
    """uint64 (n): the hash of each span of bytes, of which no more than the `longest` first ones count. buffer: uint8."""
    out = np.empty(begins.size, np.uint64)
    for n in range(begins.size):
        a, b, c, d = start[0], start[1], start[2], start[3]
        at, length = begins[n], min(ends[n] - begins[n], longest)
        for _ in range(length >> 3):
            word = np.uint64(0)
            for place in range(8):
                word |= np.uint64(buffer[at + place]) << np.uint64(8 * place)
            d ^= word
            a, b, c, d = _round(a, b, c, d)
            a ^= word
            at += 8
        word = (np.uint64(length) & _FF) << _N56
        for place in range(length & 7):
            word |= np.uint64(buffer[at + place]) << np.uint64(8 * place)
        d ^= word
        a, b, c, d = _round(a, b, c, d)
        a ^= word
        out[n] = _finished(a, b, c, d)
    return out
