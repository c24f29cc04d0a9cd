"""Texts taken apart into tokens, compiled: what `tokens.py` says in arrays; and which texts are no base64 of a text, as `opened.py` would find.

Import this inside functions: the compiler takes a second to load.
"""

from __future__ import annotations

import numpy as np

from anonymize.privacy.compiled import compiled
from anonymize.validate.features import BASE, SEQUENCE

_TEN = np.uint64(10)
_ALPHABET = np.full(256, -1, np.int16)
_ALPHABET[[ord(sign) for sign in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"]] = np.arange(64)
_ALPHABET[[ord(sign) for sign in "-_"]] = (62, 63)
LONGEST_NUMBER = 40


@compiled
def _number(raw: np.ndarray, classes: np.ndarray, offsets: np.ndarray) -> int:
    found = 0
    for text in range(offsets.size - 1):
        before = 0
        for at in range(offsets[text], offsets[text + 1]):
            kind = classes[raw[at]]
            if kind != 0 and kind != before:
                found += 1
            before = kind
    return found


@compiled
def _fill(
    raw: np.ndarray,
    classes: np.ndarray,
    offsets: np.ndarray,
    far: int,
    longest: int,
    row: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    gap: np.ndarray,
    parts: np.ndarray,
    value: np.ndarray,
) -> None:
    n = 0
    for text in range(offsets.size - 1):
        first, run = n, n
        at, stop = offsets[text], offsets[text + 1]
        while at < stop:
            kind = classes[raw[at]]
            if kind == 0:
                at += 1
                continue
            begin, number = at, np.uint64(0)
            while at < stop and classes[raw[at]] == kind:
                if kind == 2 and at - begin < longest:
                    number = number * _TEN + np.uint64(raw[at] - 48)
                at += 1
            if n > first:
                gap[n - 1] = begin - end[n - 1]
                if gap[n - 1] > 0:
                    parts[run:n] = n - run
                    run = n
            row[n], start[n], end[n], value[n] = text, begin, at, number
            n += 1
        if n > first:
            gap[n - 1] = far
            parts[run:n] = n - run


def scan(raw: np.ndarray, classes: np.ndarray, offsets: np.ndarray, far: int) -> tuple[np.ndarray, ...]:
    """row, start, end, gap, parts (int64) and value (uint64) of each token, as `tokens.Tokens` says them.

    raw: uint8, all texts; classes: uint8 (256), a byte's class; offsets: int64 (texts + 1).
    """
    size = _number(raw, classes, offsets)
    row, start, end, gap, parts = (np.empty(size, np.int64) for _ in range(5))
    value = np.empty(size, np.uint64)
    _fill(raw, classes, offsets, far, LONGEST_NUMBER, row, start, end, gap, parts, value)
    return row, start, end, gap, parts, value


@compiled
def _sequences(
    hashes: np.ndarray, gap: np.ndarray, powers: np.ndarray, near: int, marks: np.uint64, bits: np.ndarray, at: np.ndarray, out: np.ndarray
) -> int:
    found, mask = 0, np.uint64(8 * bits.size - 1)
    for first in range(hashes.size):
        total = hashes[first]
        for place in range(1, min(powers.size, hashes.size - first)):
            if gap[first + place - 1] > near:
                break
            total += hashes[first + place] * powers[place]
            slot = (total ^ marks) & mask
            if (bits[slot >> np.uint64(3)] >> np.uint8(slot & np.uint64(7))) & np.uint8(1) != 0:
                if found < at.size:
                    at[found], out[found] = first, total
                found += 1
    return found


def sequences(hashes: np.ndarray, gap: np.ndarray, longest: int, near: int, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64, uint64 (n): where a run of two to `longest` tokens begins that a sieve lets through, and its hash, as of `features.Sequences`
    without its mark. hashes, gap: of the tokens; near: what may stand between two; bits: of the sieve."""
    powers = np.full(longest, BASE, np.uint64)
    powers[0] = 1
    powers = np.cumprod(powers, dtype=np.uint64)
    size = len(hashes)
    while True:
        at, out = np.empty(size, np.int64), np.empty(size, np.uint64)
        found = _sequences(hashes, gap, powers, near, SEQUENCE, bits, at, out)
        if found <= size:
            return at[:found], out[:found]
        size = found


@compiled
def _undecodable(raw: np.ndarray, offsets: np.ndarray, alphabet: np.ndarray, shortest: int, out: np.ndarray) -> None:
    for text in range(offsets.size - 1):
        low, high = offsets[text], offsets[text + 1]
        out[text] = False
        if high - low < shortest:
            continue
        plain = True
        for at in range(low, high):
            if alphabet[raw[at]] < 0:
                plain = False
                break
        if not plain:
            continue
        if (high - low) % 4 == 1:
            out[text] = True
            continue
        bits, held, wanted, number = 0, 0, 0, 0
        first = 0
        for at in range(low, high):
            bits = (bits << 6) | alphabet[raw[at]]
            held += 6
            if held < 8:
                continue
            held -= 8
            byte = (bits >> held) & 0xFF
            bits &= (1 << held) - 1
            number += 1
            if number == 1:
                first = byte
                if byte >= 0xFE:
                    continue
            if number == 2 and first >= 0xFE:
                if (first == 0xFF and byte == 0xFE) or (first == 0xFE and byte == 0xFF):
                    break
                out[text] = True
                break
            if wanted > 0:
                if byte & 0xC0 != 0x80:
                    out[text] = True
                    break
                wanted -= 1
            elif byte >= 0x80:
                if byte < 0xC2 or byte > 0xF4:
                    out[text] = True
                    break
                wanted = 1 if byte < 0xE0 else (2 if byte < 0xF0 else 3)
            elif byte == 0x7F or (byte < 32 and not (9 <= byte <= 13 or 28 <= byte <= 31)):
                out[text] = True
                break
        else:
            if wanted > 0:
                out[text] = True


def undecodable(raw: np.ndarray, offsets: np.ndarray, shortest: int) -> np.ndarray:
    """bool (texts): those of nothing but so many and more signs of base64 (RFC 4648, either alphabet), without padding, that decode to bytes
    that are no text: neither UTF-8 without control signs, nor UTF-16 with its mark. False where that is not certain."""
    out = np.empty(offsets.size - 1, np.bool_)
    _undecodable(raw, offsets, _ALPHABET, shortest, out)
    return out
