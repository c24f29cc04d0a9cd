"""HMAC-SHA256 of many short values at once, compiled: sixteen values side by side in the processor's wide registers.

Source: HMAC as in RFC 2104, SHA-256 as in FIPS 180-4; the tests hold every length against Python's `hmac`. A key's two padded blocks are
digested once, so a value of up to 55 bytes costs two blocks. Import this inside functions: the compiler takes a second to load.
"""

from __future__ import annotations

import hmac

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anonymize.privacy.compiled import compiled

LANES = 16
SHORT = 55
"""Bytes that fit into one block with their length."""
Digests = npt.NDArray[np.uint32]
_START = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19],
    np.uint32,
)


def _roots() -> npt.NDArray[np.uint32]:
    """The first 32 bits of the fractions of the cube roots of the first 64 primes."""
    primes = [n for n in range(2, 312) if all(n % m for m in range(2, int(n**0.5) + 1))]
    roots = []
    for prime in primes[:64]:
        low, high = 0, 8 << 32
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**3 <= prime << 96 else (low, middle)
        roots.append(low & 0xFFFFFFFF)
    return np.array(roots, np.uint32)


_K = _roots()


def digests(secret: bytes, values: pa.Array) -> Digests:
    """uint32 (n, 8), big-endian words in the machine's order: the HMAC of each value's UTF-8. values: strings; a null's is that of no byte."""
    values = values.cast(pa.large_string())
    _, places, data = values.buffers()
    offsets = np.frombuffer(places, np.int64)[values.offset : values.offset + len(values) + 1] if len(values) else np.zeros(1, np.int64)
    text = np.frombuffer(data, np.uint8) if data is not None and len(data) else np.zeros(1, np.uint8)
    inner, outer = (_padded(secret, sign) for sign in (0x36, 0x5C))
    out = _hmac(text, offsets, inner, outer, _K)
    for row in np.flatnonzero(np.diff(offsets) > SHORT).tolist():
        digest = hmac.digest(secret, values[row].as_py().encode(), "sha256")
        out[row] = np.frombuffer(digest, ">u4")
    return out


def _padded(secret: bytes, sign: int) -> npt.NDArray[np.uint32]:
    """The state of SHA-256 after the key's block. secret: no longer than a block."""
    if len(secret) > 64:
        raise ValueError("a key is no longer than a block of SHA-256")
    block = bytes(one ^ sign for one in secret.ljust(64, b"\0"))
    words = np.empty((64, LANES), np.uint32)
    words[:16] = np.frombuffer(block, ">u4").astype(np.uint32)[:, None]
    state = np.empty((8, LANES), np.uint32)
    state[:] = _START[:, None]
    _absorb(words, state, np.empty((8, LANES), np.uint32), _K)
    return state[:, 0].copy()


@compiled
def _absorb(w: np.ndarray, state: np.ndarray, v: np.ndarray, k: np.ndarray) -> None:
    """One block a lane. w: uint32 (64, lanes), of which the first 16 are given; state: uint32 (8, lanes), changed; v: room of that shape."""
    for t in range(16, 64):
        for lane in range(LANES):
            a, b = w[t - 15, lane], w[t - 2, lane]
            s0 = np.uint32((a >> 7) | (a << 25)) ^ np.uint32((a >> 18) | (a << 14)) ^ np.uint32(a >> 3)
            s1 = np.uint32((b >> 17) | (b << 15)) ^ np.uint32((b >> 19) | (b << 13)) ^ np.uint32(b >> 10)
            w[t, lane] = np.uint32(w[t - 16, lane] + s0 + w[t - 7, lane] + s1)
    for row in range(8):
        for lane in range(LANES):
            v[row, lane] = state[row, lane]
    for t in range(64):
        for lane in range(LANES):
            a, b, c, d = v[0, lane], v[1, lane], v[2, lane], v[3, lane]
            e, f, g, h = v[4, lane], v[5, lane], v[6, lane], v[7, lane]
            s1 = np.uint32((e >> 6) | (e << 26)) ^ np.uint32((e >> 11) | (e << 21)) ^ np.uint32((e >> 25) | (e << 7))
            one = np.uint32(h + s1 + ((e & f) ^ (~e & g)) + k[t] + w[t, lane])
            s0 = np.uint32((a >> 2) | (a << 30)) ^ np.uint32((a >> 13) | (a << 19)) ^ np.uint32((a >> 22) | (a << 10))
            two = np.uint32(s0 + ((a & b) ^ (a & c) ^ (b & c)))
            v[7, lane], v[6, lane], v[5, lane], v[4, lane] = g, f, e, np.uint32(d + one)
            v[3, lane], v[2, lane], v[1, lane], v[0, lane] = c, b, a, np.uint32(one + two)
    for row in range(8):
        for lane in range(LANES):
            state[row, lane] = np.uint32(state[row, lane] + v[row, lane])


@compiled
def _hmac(text: np.ndarray, offsets: np.ndarray, inner: np.ndarray, outer: np.ndarray, k: np.ndarray) -> np.ndarray:
    n = offsets.size - 1
    out = np.empty((n, 8), np.uint32)
    w, state, v = np.empty((64, LANES), np.uint32), np.empty((8, LANES), np.uint32), np.empty((8, LANES), np.uint32)
    for low in range(0, n, LANES):
        many = min(LANES, n - low)
        w[:16] = 0
        for lane in range(many):
            start, length = offsets[low + lane], offsets[low + lane + 1] - offsets[low + lane]
            if length > SHORT:
                length = 0
            for place in range(length):
                w[place >> 2, lane] |= np.uint32(text[start + place]) << np.uint32(24 - 8 * (place & 3))
            w[length >> 2, lane] |= np.uint32(0x80) << np.uint32(24 - 8 * (length & 3))
            w[15, lane] = np.uint32((64 + length) * 8)
        for row in range(8):
            for lane in range(LANES):
                state[row, lane] = inner[row]
        _absorb(w, state, v, k)
        for row in range(8):
            for lane in range(LANES):
                w[row, lane] = state[row, lane]
                state[row, lane] = outer[row]
        for row in range(8, 16):
            for lane in range(LANES):
                w[row, lane] = 0
        for lane in range(LANES):
            w[8, lane] = np.uint32(0x80000000)
            w[15, lane] = np.uint32((64 + 32) * 8)
        _absorb(w, state, v, k)
        for lane in range(many):
            for row in range(8):
                out[low + lane, row] = state[row, lane]
    return out


@compiled
def codes(digests: np.ndarray) -> np.ndarray:
    """uint8 (n, 24): the first 120 bits of each digest in base32 (RFC 4648), in lower case."""
    n = digests.shape[0]
    out = np.empty((n, 24), np.uint8)
    for row in range(n):
        for sign in range(24):
            bit = sign * 5
            word, at = bit >> 5, bit & 31
            both = (np.uint64(digests[row, word]) << np.uint64(32)) | np.uint64(digests[row, word + 1])
            five = (both >> np.uint64(59 - at)) & np.uint64(31)
            out[row, sign] = five + (97 if five < 26 else 24)
    return out
