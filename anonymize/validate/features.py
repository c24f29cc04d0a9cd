"""How a value is hashed: the same for what is searched for and for what is searched, so that the two meet.

Words, numbers, days, sequences of words, and pairs of names each have their own range of hashes; none can be taken for another.
"""

from __future__ import annotations

import numpy as np

from anonymize.keys import Key
from anonymize.validate.hashing import U64, Hasher
from anonymize.validate.tokens import Bools, Ints, Tokens

WORD, NUMBER, DAY, SEQUENCE, PAIR, SHORT = (np.uint64(n * 0x9E3779B97F4A7C15 % (1 << 64)) for n in range(1, 7))
LONGEST_SEQUENCE = 8
"""Tokens of a sequence that are compared; what follows does not count."""
BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(BASE, -1, 1 << 64)
NEAR = 6
"""Bytes that may stand between two words of one sequence, as in `12 Elm St.,  Apt 3`."""


def hasher_of(key: Key) -> Hasher:
    """The leak gate's hashes under a run's key."""
    return Hasher(key.derive("needle"))


def number_hashes(hasher: Hasher, value: U64) -> U64:
    """Of numbers, whatever their leading zeros."""
    return hasher.pairs(value, np.full(len(value), NUMBER, np.uint64))


def short_hashes(hasher: Hasher, value: U64) -> U64:
    """Of numbers too short to be searched for but as a whole column's cells."""
    return hasher.pairs(value, np.full(len(value), SHORT, np.uint64))


def day_hashes(hasher: Hasher, day: Ints) -> U64:
    """Of days since 1970-01-01."""
    return hasher.pairs(day.astype(np.int64).view(np.uint64), np.full(len(day), DAY, np.uint64))


def pair_hashes(hasher: Hasher, first: U64, second: U64) -> U64:
    """Of two words in either order."""
    return hasher.pairs(np.minimum(first, second), np.maximum(first, second)) ^ PAIR


class Sequences:
    """Hashes of runs of tokens, any run in a few operations: sums of the tokens' hashes, each times a power of its place."""

    def __init__(self, tokens: Tokens) -> None:
        size = len(tokens)
        powers = _powers(BASE, size)
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(tokens.hash * powers, dtype=np.uint64)])
        self._inverse = _powers(_INVERSE, size)
        far = tokens.gap > NEAR
        self._breaks = np.concatenate([[0], np.cumsum(far)])

    def windows(self, at: Ints, length: int | Ints) -> U64:
        """uint64: the hash of each run of `length` tokens from a place on."""
        return ((self._sums[at + length] - self._sums[at]) * self._inverse[at]) ^ SEQUENCE

    def whole(self, at: Ints, length: int) -> Bools:
        """bool: whether the run stands in one text, with little between its tokens."""
        fits = at + length <= len(self._breaks) - 1
        end = np.where(fits, at + length - 1, at)
        return fits & (self._breaks[end] == self._breaks[at])


def _powers(base: int, size: int) -> U64:
    """uint64: base to the powers of 0 to size - 1, modulo 2^64."""
    factors = np.full(size, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)


def adjacent(tokens: Tokens) -> tuple[Ints, Ints]:
    """Places of two words that follow each other, an initial or two of one letter aside: `Maria E. Garcia`."""
    word = np.flatnonzero(~tokens.digit & (tokens.length >= 2) & (tokens.parts <= 2))
    first, second = word[:-1], word[1:]
    near = (tokens.row[first] == tokens.row[second]) & (tokens.start[second] - tokens.end[first] <= 8)
    between = second - first
    near &= between <= 3
    return first[near], second[near]
