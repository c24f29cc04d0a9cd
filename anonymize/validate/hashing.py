"""Keyed 64-bit hashes of many short texts and numbers at once.

SipHash-1-3 (Aumasson and Bernstein 2012; the rounds of Python's and Rust's own tables), over numpy arrays: without the key a hash says
nothing of its value, so what is searched for can lie in a file.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_T = TypeVar("_T", bound=np.generic)
U64 = npt.NDArray[np.uint64]
_CHUNK = 1 << 15
"""Elements a pass: what fits into the processor's cache."""
MANY = 4_096
"""Elements from which on compiled code pays for loading the compiler."""
LONGEST = 64
"""Bytes of a token that are hashed; its length is hashed as well."""
_INIT = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(8)], np.uint64)


class Hasher:
    """Hashes under one key. key: 16 bytes or more, of which the first 16 count."""

    def __init__(self, key: bytes) -> None:
        self._k0, self._k1 = (np.uint64(int.from_bytes(key[i : i + 8], "little")) for i in (0, 8))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hasher) and (self._k0, self._k1) == (other._k0, other._k1)

    def __hash__(self) -> int:
        return hash((self._k0, self._k1))

    def spans(self, buffer: npt.NDArray[np.uint8], start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> U64:
        """uint64, length n: the hash of each span of bytes. buffer: holds 8 bytes more than any span reaches."""
        if len(start) >= MANY:
            from anonymize.validate import siphash

            return siphash.spans(buffer, start.astype(np.int64, copy=False), end.astype(np.int64, copy=False), LONGEST, self._state)
        words = np.lib.stride_tricks.as_strided(buffer.view(), shape=(max(len(buffer) - 7, 0), 8), strides=(1, 1))
        out = np.empty(len(start), np.uint64)
        for low in range(0, len(start), _CHUNK):
            part = slice(low, low + _CHUNK)
            out[part] = self._spans(words, start[part], np.minimum(end[part] - start[part], LONGEST))
        return out

    def _spans(self, words: npt.NDArray[np.uint8], start: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> U64:
        state = self._start(len(start))
        whole = length >> 3
        for number in range(int(whole.max(initial=0))):
            active = np.flatnonzero(whole > number)
            some = [v[active] for v in state]
            _absorb(some, _gather(words, start[active] + 8 * number))
            for v, changed in zip(state, some, strict=True):
                v[active] = changed
        last = _gather(words, start + 8 * whole) & _MASKS[length & 7]
        last |= (length.astype(np.uint64) & np.uint64(0xFF)) << np.uint64(56)
        _absorb(state, last)
        return _finish(state)

    def pairs(self, first: U64, second: U64) -> U64:
        """uint64, length n: the hash of each pair of words, as of 16 bytes."""
        if len(first) >= MANY:
            from anonymize.validate import siphash

            return siphash.pairs(np.ascontiguousarray(first), np.ascontiguousarray(second), self._state)
        out = np.empty(len(first), np.uint64)
        for low in range(0, len(first), _CHUNK):
            part = slice(low, low + _CHUNK)
            state = self._start(len(first[part]))
            for word in (first[part], second[part], np.full(len(first[part]), 16 << 56, np.uint64)):
                _absorb(state, word)
            out[part] = _finish(state)
        return out

    def strings(self, values: list[str]) -> U64:
        """uint64, length n: the hash of each text's UTF-8, as `spans` would give."""
        data = [value.encode() for value in values]
        end = np.cumsum([len(d) for d in data], dtype=np.int64)
        buffer = np.frombuffer(b"".join(data) + bytes(16), np.uint8)
        return self.spans(buffer, np.concatenate([np.zeros(1, np.int64), end[:-1]])[: len(data)], end)

    @property
    def _state(self) -> U64:
        return np.concatenate(self._start(1))

    def _start(self, n: int) -> list[U64]:
        keys = (self._k0, self._k1, self._k0, self._k1)
        return [np.full(n, np.uint64(word) ^ key, np.uint64) for word, key in zip(_INIT, keys, strict=True)]


def distinct(column: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """The distinct values, ascending. By sorting: numpy's own tells them apart by hashes, which takes a hundred times as long where most are."""
    column = np.sort(column)
    return column[fresh(column)]


def fresh(column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """bool, length n: whether a value is another than the one before."""
    other = np.ones(len(column), bool)
    other[1:] = column[1:] != column[:-1]
    return other


def _gather(words: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> U64:
    """The eight bytes from each place on, little-endian."""
    return np.ascontiguousarray(words[at]).view("<u8").reshape(-1).astype(np.uint64, copy=False)


def _absorb(v: list[U64], word: U64) -> None:
    v[3] ^= word
    _round(v)
    v[0] ^= word


def _finish(v: list[U64]) -> U64:
    v[2] ^= np.uint64(0xFF)
    for _ in range(3):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _round(v: list[U64]) -> None:
    _half(v, 0, 1, 13)
    v[0] = _rotated(v[0], 32)
    _half(v, 2, 3, 16)
    _half(v, 0, 3, 21)
    _half(v, 2, 1, 17)
    v[2] = _rotated(v[2], 32)


def _half(v: list[U64], a: int, b: int, bits: int) -> None:
    v[a] += v[b]
    v[b] = _rotated(v[b], bits)
    v[b] ^= v[a]


def _rotated(x: U64, bits: int) -> U64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))
