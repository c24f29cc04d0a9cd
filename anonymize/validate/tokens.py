"""Texts and cells as arrays of tokens, however they are written: the leak gate's reading of what is about to be published.

A token is a longest run of letters or of digits, without case, diacritics, ligatures and zero-width signs. Everything is arrays: the cost
is linear in the text's length, and a note of 5 MB is one more array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.validate.hashing import U64, Hasher

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

SLICE_BYTES = 4 << 20
"""Text that is read at a time."""
LARGE = 1 << 16
"""Bytes from which on compiled code pays for loading the compiler."""
LETTER, DIGIT = 1, 2
_CLASS = np.zeros(256, np.uint8)
_CLASS[[*range(65, 91), *range(97, 123), *range(128, 256)]] = LETTER
_CLASS[48:58] = DIGIT
_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[65:91] += 32
_UPPER = np.zeros(256, bool)
_UPPER[65:91] = True
#: What stands between the groups of one number: `(555) 123-4567`, `555.123 4567`, a line's end.
_JOINS = np.zeros(256, bool)
_JOINS[[ord(sign) for sign in " \t\r\n-./()+"]] = True
_TIGHT = np.zeros(256, bool)
_TIGHT[[ord(sign) for sign in "-."]] = True
#: Letters that Unicode does not take apart, as people write them without.
_PLAIN = {
    "ß": "ss",
    "ẞ": "SS",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "Đ": "D",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    "ı": "i",
}
_APOSTROPHES, _HYPHENS = "[’‘ʼ`´′]", "[‐‑‒–—−]"
FAR = 1 << 40


def clean(column: pa.Array) -> pa.Array:
    """Texts in which only case is left of how a letter can be written. column: strings; nulls become empty."""
    text = column.cast(pa.large_string()).fill_null("")
    if _holds(text, 128):
        for sign, plain in _PLAIN.items():
            text = pc.replace_substring(text, sign, plain)
        text = pc.replace_substring_regex(pc.replace_substring_regex(text, _APOSTROPHES, "'"), _HYPHENS, "-")
        text = pc.replace_substring_regex(pc.utf8_normalize(text, "NFKD"), r"[\p{M}\p{Cf}]+", "")
        text = pc.replace_substring_regex(text, r"[^\p{L}\p{N}\x00-\x7F]+", " ")
    # Line ends that were escaped into the text, and words and numbers that were broken at one: `Garc-\nia`, `555-\n1234`.
    if _holds(text, ord("\\")):
        text = pc.replace_substring_regex(text, r"\\[nrt]", "\n")
    return pc.replace_substring_regex(text, r"-[ \t]*\r?\n[ \t]*", "-") if _holds(text, ord("\n")) else text


def _holds(text: pa.Array, byte: int) -> bool:
    """Whether large strings hold a byte, or where it is 128, one that is not ASCII."""
    raw = bytes_of(text)[1]
    return bool((raw >= byte).any() if byte == 128 else (raw == byte).any())


def slices(column: pa.Array) -> Iterator[tuple[int, pa.Array]]:
    """A column of strings in pieces of some megabytes, each with the number of its first row."""
    lengths = pc.binary_length(column.cast(pa.large_string())).fill_null(0).to_numpy(zero_copy_only=False)
    piece = np.cumsum(lengths, dtype=np.int64) // SLICE_BYTES
    edges = [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(column)]
    for low, high in pairwise(edges):
        if high > low:
            yield low, column.slice(low, high - low)


@dataclass(frozen=True)
class Tokens:
    """The tokens of some texts, in order. All arrays have length n.

    row: the number of a token's text; start, end: in `buffer`; hash: of its bytes; gap: bytes to the next token of its text, FAR at a text's
    end; parts: how many tokens stand in its run of letters and digits: 1 for `Smith`, 2 for `Smith2`, many inside of codes; value: the number
    that digits are (modulo 2^64), 0 for letters; capital: whether the first letter was one.
    """

    hasher: Hasher
    buffer: Bytes
    """Lower-case bytes of all texts, and 16 more."""
    row: Ints
    start: Ints
    end: Ints
    digit: Bools
    capital: Bools
    gap: Ints
    parts: Ints
    value: U64
    hash: U64

    @classmethod
    def of(cls, column: pa.Array, hasher: Hasher) -> Tokens:
        """Read a column of strings."""
        text = clean(column)
        offsets, raw = bytes_of(text)
        if len(raw) >= LARGE:
            from anonymize.validate import scanning

            row, start, end, gap, parts, value = scanning.scan(raw, _CLASS, offsets, FAR)
        else:
            row, start, end, gap, parts, value = _scan(offsets, raw)
        buffer = _lower(text, raw)
        digit, capital = _CLASS[raw[start]] == DIGIT, _UPPER[raw[start]]
        return cls(hasher, buffer, row, start, end, digit, capital, gap, parts, value, hasher.spans(buffer, start, end))

    def __len__(self) -> int:
        return len(self.row)

    @property
    def length(self) -> Ints:
        """Bytes of each token."""
        return self.end - self.start

    @property
    def alone(self) -> Bools:
        """Whether a token is all that its text holds."""
        last = self.gap == FAR
        return last & np.concatenate([np.ones(1, bool), last[:-1]])[: len(last)]

    @property
    def bracketed(self) -> Bools:
        """Whether a token stands in the brackets of a tag: `[NAME]`, `[HEALTH_PLAN]`."""
        before = np.where(self.start > 0, self.buffer[self.start - 1], 0)
        after = self.buffer[self.end]
        return np.isin(before, [ord("["), ord("_")]) & np.isin(after, [ord("]"), ord("_")])

    def joined(self) -> Joined:
        """Words over apostrophes and hyphens: `O'Brien` as `obrien`, `Garcia-Lopez` as `garcialopez`."""
        letter = ~self.digit
        link = np.zeros(len(self), bool)
        if len(self) > 1:
            sign = self.buffer[self.end[:-1]]
            link[:-1] = letter[:-1] & letter[1:] & (self.gap[:-1] == 1) & ((sign == ord("'")) | (sign == ord("-")))
        follows = np.concatenate([np.zeros(1, bool), link[:-1]]) if len(self) else link
        first, last = np.flatnonzero(link & ~follows), np.flatnonzero(~link & follows)
        gone = np.zeros(len(self.buffer) + 1, np.int64)
        gone[self.end[link] + 1] = 1
        before = np.cumsum(gone)
        kept = np.ones(len(self.buffer), bool)
        kept[self.end[link]] = False
        start, end = self.start[first], self.end[last]
        hashes = self.hasher.spans(self.buffer[kept], start - before[start], end - before[end])
        return Joined(self.row[first], hashes, self.capital[first], end - before[end] - start + before[start])

    def numbers(self) -> Iterator[Numbers]:
        """Every number of the texts: each group of digits alone, then each two to six groups that can be one number."""
        value, length = self.value, self.length
        total, zeros = length, self._zeros()
        alive = self.digit & (self.parts <= 3)
        yield Numbers(self.row[alive], value[alive], (total - zeros)[alive], np.ones(int(alive.sum()), bool))
        join, tight, line = self._joints()
        low = np.flatnonzero(self.digit)
        value, total, shape = value[low], total[low], total[low]
        all_tight, lines = np.ones(len(low), bool), np.zeros(len(low), np.int64)
        for groups in range(2, 7):
            joint = low + groups - 2
            on = join[joint]
            low, joint = low[on], joint[on]
            after = joint + 1
            value = value[on] * _TENS[np.minimum(length[after], 19)] + self.value[after]
            total, shape = total[on] + length[after], shape[on] * 32 + length[after]
            all_tight, lines = all_tight[on] & tight[joint], lines[on] + line[joint]
            digits = total - zeros[low]
            broken = (lines == 1) & (groups == 2)
            halves = (groups == 2) & (length[low] >= 3) & (length[after] >= 3)
            distinct = (digits >= 9) & (all_tight | broken | np.isin(shape, _SHAPES))
            sound = (total <= 19) & ((digits >= 9) | ((digits >= 6) & (all_tight | broken | halves)))
            yield Numbers(self.row[low[sound]], value[sound], digits[sound], distinct[sound])

    def _zeros(self) -> Ints:
        """Leading zeros of each token of digits."""
        zeros = np.zeros(len(self), np.int64)
        at = np.flatnonzero(self.digit & (self.buffer[self.start] == 48)) if len(self) else np.zeros(0, np.int64)
        while len(at):
            zeros[at] += 1
            place = self.start[at] + zeros[at]
            at = at[(place < self.end[at]) & (self.buffer[place] == 48)]
        return zeros

    def _joints(self) -> tuple[Bools, Bools, Bools]:
        """Of each token and the next: whether they can be groups of one number, whether only `-` or `.` is between, whether a line ends."""
        join, tight, line = (np.zeros(len(self) + 6, bool) for _ in range(3))
        near = np.flatnonzero(self.digit[:-1] & self.digit[1:] & (self.gap[:-1] >= 1) & (self.gap[:-1] <= 4))
        at, gap = self.end[near], self.gap[near]
        fine, ends = np.ones(len(at), bool), np.zeros(len(at), bool)
        for place in range(4):
            sign = self.buffer[at + place]
            fine &= (place >= gap) | _JOINS[sign]
            ends |= (place < gap) & (sign == 10)
        join[near], line[near] = fine, ends
        tight[near] = (gap == 1) & _TIGHT[self.buffer[at]]
        return join, tight, line


@dataclass(frozen=True)
class Joined:
    """Words over apostrophes and hyphens."""

    row: Ints
    hash: U64
    capital: Bools
    length: Ints


@dataclass(frozen=True)
class Numbers:
    """Numbers of the texts. digits: without leading zeros; distinct: whether the grouping is one that numbers of people have."""

    row: Ints
    value: U64
    digits: Ints
    distinct: Bools


_TENS = np.array([10**n for n in range(20)], np.uint64)


def _shape(*groups: int) -> int:
    code = 0
    for group in groups:
        code = code * 32 + group
    return code


#: Groupings of telephone and social security numbers that may be written with any signs between.
_SHAPES = np.array([_shape(*g) for g in ((3, 3, 4), (1, 3, 3, 4), (2, 3, 3, 4), (3, 7), (1, 3, 7), (6, 4), (3, 2, 4), (5, 4), (3, 6))])


def _scan(offsets: Ints, raw: Bytes) -> tuple[Ints, Ints, Ints, Ints, Ints, U64]:
    """row, start, end, gap, parts and value of each token."""
    kind = _CLASS[raw]
    edge = np.ones(len(raw) + 1, bool)
    edge[1:-1] = kind[1:] != kind[:-1]
    edge[offsets] = True
    start = np.flatnonzero((kind > 0) & edge[:-1])
    end = np.flatnonzero((kind > 0) & edge[1:]) + 1
    row = np.searchsorted(offsets, start, side="right") - 1
    gap = np.full(len(row), FAR, np.int64)
    if len(row) > 1:
        gap[:-1] = np.where(row[1:] == row[:-1], start[1:] - end[:-1], FAR)
    return row, start, end, gap, _parts(gap), _value(raw, start, end, kind[start] == DIGIT)


def _parts(gap: Ints) -> Ints:
    if not len(gap):
        return np.zeros(0, np.int64)
    begins = np.ones(len(gap), bool)
    begins[1:] = gap[:-1] > 0
    run = np.cumsum(begins) - 1
    return np.bincount(run)[run]


def _value(raw: Bytes, start: Ints, end: Ints, digit: Bools) -> U64:
    out = np.zeros(len(start), np.uint64)
    at = np.flatnonzero(digit)
    start, end = start[at], end[at]
    number = np.zeros(len(at), np.uint64)
    for place in range(min(int((end - start).max(initial=0)), 40)):
        more = start + place < end
        number[more] = number[more] * np.uint64(10) + (raw[start[more] + place] - 48)
    out[at] = number
    return out


def bytes_of(text: pa.Array) -> tuple[Ints, Bytes]:
    """The offsets and the bytes of large strings, from zero on."""
    if not len(text):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, places, data = text.buffers()
    offsets = np.frombuffer(places, np.int64)[text.offset : text.offset + len(text) + 1]
    raw = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data is not None else np.zeros(0, np.uint8)
    return offsets - offsets[0], raw


def _lower(text: pa.Array, raw: Bytes) -> Bytes:
    """The bytes in lower case and 16 zeros. Where lower-casing would move bytes, letters outside of ASCII keep their case."""
    if (raw >= 128).any():
        offsets, lowered = bytes_of(pc.utf8_lower(text))
        if len(lowered) == len(raw) and np.array_equal(offsets, bytes_of(text)[0]):
            raw = lowered
    return np.concatenate([_LOWER[raw], np.zeros(16, np.uint8)])
