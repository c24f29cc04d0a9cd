"""Dates of the calendar in texts, in the forms that people write them: as days, so that one number is sought and not thirty spellings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from anonymize.validate.hashing import U64, Hasher
from anonymize.validate.tokens import Bools, Ints, Tokens
from anonymize.validate.vocabulary import months, words

FIRST_YEAR, LAST_YEAR = 1850, 2199
FILLER, CUE = 13, 14


@dataclass(frozen=True)
class Days:
    """Days since 1970-01-01 that a text may name; cued: whether a word of birth or death stands before it."""

    row: Ints
    day: Ints
    cued: Bools


def days(tokens: Tokens) -> Days:
    """Every reading of every date: `1950-03-04`, `3/4/50` (both ways), `4 March 1950`, `Mar 4th, 1950`, `19500304`."""
    code = _word_codes(tokens)
    month = np.where(code <= 12, code, 0)
    whole = np.flatnonzero(tokens.digit & (tokens.length == 8) & (tokens.parts <= 2))
    found = [*_packed(tokens, whole)]
    kept = np.flatnonzero(code != FILLER)
    if len(kept) > 2:
        a, b, c = kept[:-2], kept[1:-1], kept[2:]
        near = (tokens.row[a] == tokens.row[c]) & (tokens.start[c] - tokens.end[a] <= 24)
        # A year is first or last, of four digits or, last, of two.
        size = np.where(tokens.digit, tokens.end - tokens.start, 0)
        near &= (size[a] == 4) | (size[c] == 4) | (size[c] == 2)
        found += _written(tokens, month, a[near], b[near], c[near])
    at = np.concatenate([place for place, _ in found]) if found else np.zeros(0, np.int64)
    day = np.concatenate([day for _, day in found]) if found else np.zeros(0, np.int64)
    return Days(tokens.row[at], day, _cued(tokens, code == CUE, at))


def _packed(tokens: Tokens, at: Ints) -> list[tuple[Ints, Ints]]:
    """`19500304`, `03041950`, `04031950`."""
    v = tokens.value[at].astype(np.int64)
    readings = [
        (v // 10_000, v // 100 % 100, v % 100),
        (v % 10_000, v // 1_000_000, v // 10_000 % 100),
        (v % 10_000, v // 10_000 % 100, v // 1_000_000),
    ]
    return [_checked(at, *reading) for reading in readings]


def _written(tokens: Tokens, month: Ints, a: Ints, b: Ints, c: Ints) -> list[tuple[Ints, Ints]]:
    """Three tokens as a date, in each order that can be meant."""
    number = np.where(tokens.digit, tokens.value.astype(np.int64), -1)
    size = np.where(tokens.digit, tokens.length, 0)
    x, y, z = number[a], number[b], number[c]
    full_first, full_last = size[a] == 4, size[c] == 4
    signs = np.isin(tokens.buffer[tokens.end[a]], [ord("/"), ord("-"), ord(".")])
    short = (size[c] == 2) & ((signs & np.isin(tokens.buffer[tokens.end[b]], [ord("/"), ord("-"), ord(".")])) | (month[a] > 0) | (month[b] > 0))
    plain, found = (month[a] == 0) & (month[b] == 0) & (size[b] <= 2) & (size[b] > 0), []
    for years, usable in ((z, full_last), (1900 + z, short), (2000 + z, short)):
        found += [
            _checked(a, years, x, y, usable & plain & (size[a] <= 2)),
            _checked(a, years, y, x, usable & plain & (size[a] <= 2)),
            _checked(a, years, month[a], y, usable & (month[a] > 0)),
            _checked(a, years, month[b], x, usable & (month[b] > 0)),
        ]
    return [*found, _checked(a, x, y, z, full_first & plain), _checked(a, x, month[b], z, full_first & (month[b] > 0))]


def _checked(at: Ints, year: Ints, month: Ints, day: Ints, usable: Bools | None = None) -> tuple[Ints, Ints]:
    """The readings that are dates, as days since 1970-01-01."""
    good = (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    good = good if usable is None else good & usable
    months_since = (year[good] - 1970) * 12 + month[good] - 1
    first = months_since.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return at[good], first + day[good] - 1


def _word_codes(tokens: Tokens) -> Ints:
    """Of each token: 1 to 12 for a month's name, FILLER, CUE, or 0."""
    hashes, known = _coded(tokens.hasher)
    codes, letters = np.zeros(len(tokens), np.int64), np.flatnonzero(~tokens.digit)
    wanted = tokens.hash[letters]
    place = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    codes[letters] = np.where(hashes[place] == wanted, known[place], 0)
    return codes


@lru_cache(maxsize=2)
def _coded(hasher: Hasher) -> tuple[U64, Ints]:
    """The words that have a code, as sorted hashes, and their codes."""
    named = [(word, number) for number, names in enumerate(months(), 1) for word in names]
    named += [(word, FILLER) for word in words("date-fillers")] + [(word, CUE) for word in words("date-cues")]
    hashes = hasher.strings([word for word, _ in named])
    order = np.argsort(hashes)
    return hashes[order], np.array([code for _, code in named])[order]


def _cued(tokens: Tokens, is_cue: Bools, at: Ints) -> Bools:
    """Of some tokens whether one of the four before is a word of birth or death, in the same text."""
    cue = np.cumsum(np.concatenate([[0], is_cue]))
    low = np.maximum(at - 4, np.searchsorted(tokens.row, tokens.row[at]))
    return cue[at] > cue[low]
