"""Compiled look-up in sorted hashes, and in a sieve of them. Import this inside functions: the compiler takes a second to load."""

from __future__ import annotations

import numpy as np

from anonymize.privacy.compiled import compiled


@compiled
def find(table: np.ndarray, starts: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """int64 (n): where each hash stands in a table, the first of equal ones; -1 where it does not.

    table: uint64, sorted; starts: int64 (2^b + 1), where the hashes of each first b bits begin, and the table's length.
    """
    shift = np.uint64(64)
    size = starts.size - 1
    while size > 1:
        shift -= np.uint64(1)
        size >>= 1
    places = np.empty(hashes.size, np.int64)
    for n in range(hashes.size):
        wanted = hashes[n]
        first = wanted >> shift
        places[n] = -1
        for place in range(starts[first], starts[first + np.uint64(1)]):
            if table[place] >= wanted:
                if table[place] == wanted:
                    places[n] = place
                break
    return places


@compiled
def mark(bits: np.ndarray, hashes: np.ndarray) -> None:
    """Set each hash's bit of a sieve. bits: uint8, a power of two of them."""
    mask = np.uint64(8 * bits.size - 1)
    for n in range(hashes.size):
        slot = hashes[n] & mask
        bits[slot >> np.uint64(3)] |= np.uint8(1) << np.uint8(slot & np.uint64(7))


@compiled
def passes(bits: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """bool (n): whether each hash's bit is set."""
    mask, out = np.uint64(8 * bits.size - 1), np.empty(hashes.size, np.bool_)
    for n in range(hashes.size):
        slot = hashes[n] & mask
        out[n] = (bits[slot >> np.uint64(3)] >> np.uint8(slot & np.uint64(7))) & np.uint8(1) != 0
    return out
