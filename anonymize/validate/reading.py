"""A column's cells as occurrences of what could be a needle: one stream for words, numbers, sequences, pairs of names and days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.policy.model import Kind
from anonymize.validate import features
from anonymize.validate.dates import days
from anonymize.validate.extract import SHORTEST_DISTINCT, SHORTEST_NUMBER
from anonymize.validate.hashing import MANY, U64, Hasher
from anonymize.validate.needles import Sieve
from anonymize.validate.opened import opened
from anonymize.validate.tokens import Bools, Ints, Tokens, slices

WORD, NUMBER, OTHER, DAY, SHORT = range(5)


@dataclass(frozen=True)
class Occurrences:
    """Places that the sieve let through, and all numbers; all arrays of length n. stream: WORD, NUMBER, OTHER, DAY or SHORT; row: in the
    batch; strong: of words, whether written with a capital or all of a cell; of days, whether a word of birth or death stands before;
    anybody: whether it counts in others' rows too; digits: of numbers, no more than 19."""

    stream: int
    row: Ints
    hash: U64
    strong: Bools
    anybody: Bools
    digits: Ints

    def expanded(self, cells: Cells) -> Occurrences:
        """From distinct cells to the rows that hold them."""
        row, each = cells.rows(self.row)
        return Occurrences(self.stream, row, self.hash[each], self.strong[each], self.anybody[each], self.digits[each])


class Cells:
    """The rows of each distinct cell of a column, put in order once somebody asks. codes: int64, of each row its cell, one of `size`; -1 for
    none."""

    def __init__(self, codes: Ints, size: int) -> None:
        self._codes, self._size = codes, size
        self._order: tuple[Ints, Ints] | None = None

    def rows(self, cell: Ints) -> tuple[Ints, Ints]:
        """For some cells, one after the other, every row that holds it; and of each such row the place of its cell among these."""
        if self._order is None:
            order = np.argsort(self._codes, kind="stable")
            self._order = order, np.searchsorted(self._codes[order], np.arange(self._size + 1))
        order, edges = self._order
        times = edges[cell + 1] - edges[cell]
        each = np.repeat(np.arange(len(cell)), times)
        turn = np.arange(len(each)) - np.repeat(np.cumsum(times) - times, times)
        return order[edges[cell][each] + turn], each


@dataclass(frozen=True)
class Reader:
    """Reads cells. text: free text, where a word counts in capitals alone; dates: whether days are searched for; settled: the hashes of words
    that are not looked for any more."""

    hasher: Hasher
    sieve: Sieve
    text: bool
    dates: bool
    settled: list[int] = field(default_factory=list)

    def occurrences(self, column: pa.Array) -> Iterator[Occurrences]:
        """What a column may hold: what the sieve lets through, and all numbers, so that chance can be told from more than chance.

        Raises TypeError where values of the column's type cannot be read; the gate then fails closed.
        """
        kind = column.type
        if pa.types.is_null(kind) or pa.types.is_boolean(kind):
            return
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_struct(kind):
            yield from self._nested(column)
        elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            yield from self._calendar(column)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            yield from self._amounts(column)
        elif pa.types.is_dictionary(kind) and _is_text(kind.value_type):
            yield from self._distinct(column)
        elif pa.types.is_dictionary(kind):
            yield from self.occurrences(column.cast(kind.value_type))
        elif _is_text(kind):
            yield from self._cells(column)
        else:
            raise TypeError(f"a column of {kind} cannot be searched")

    def _nested(self, column: pa.Array) -> Iterator[Occurrences]:
        if pa.types.is_struct(column.type):
            for place in range(column.type.num_fields):
                yield from self.occurrences(pc.struct_field(column, [place]))
            return
        parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
        for found in self.occurrences(pc.list_flatten(column)):
            yield Occurrences(found.stream, parents[found.row], found.hash, found.strong, found.anybody, found.digits)

    def _calendar(self, column: pa.Array) -> Iterator[Occurrences]:
        if self.dates:
            day = column.cast(pa.date32(), safe=False).cast(pa.int32())
            row = np.flatnonzero(day.is_valid().to_numpy(zero_copy_only=False))
            number = day.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
            low, high = int(number.min(initial=1 << 40)), int(number.max(initial=0))
            # A few thousand days for any number of rows, as a rule: each is hashed once.
            few = high - low < len(number)
            hashes = features.day_hashes(self.hasher, np.arange(low, high + 1) if few else number)
            place = number - low if few else np.arange(len(number))
            at = np.flatnonzero(self.sieve.passes(hashes)[place])
            yield _all(DAY, row[at], hashes[place[at]], np.zeros(len(at), bool), True)

    def _amounts(self, column: pa.Array) -> Iterator[Occurrences]:
        """Whole numbers, whatever the column's type; a number of a person is never a fraction."""
        number = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        exact = column if pa.types.is_integer(column.type) else pa.array(np.where(np.abs(number) < 2**53, number, np.nan), from_pandas=True)
        row = np.flatnonzero(np.isfinite(number) & (np.floor(number) == number) & exact.is_valid().to_numpy(zero_copy_only=False))
        value = np.abs(exact.take(pa.array(row)).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)).astype(np.uint64)
        digits = np.ceil(np.log10(value.astype(np.float64) + 1)).astype(np.int64)
        yield from self._numbers(row, value, digits, np.ones(len(row), bool))
        yield from self._short(row, value, digits)

    def _cells(self, column: pa.Array) -> Iterator[Occurrences]:
        """Each distinct text is read once; what is base64, RTF, HTML or XML is read as what stands in it."""
        column = _decoded(column) if _is_binary(column.type) else column.cast(pa.large_string())
        for low, piece in slices(column):
            for found in self._distinct(piece.dictionary_encode()):
                yield replace(found, row=found.row + low)

    def _distinct(self, column: pa.DictionaryArray) -> Iterator[Occurrences]:
        """Cells that are told apart already."""
        texts = column.dictionary
        texts = _decoded(texts) if _is_binary(texts.type) else texts.cast(pa.large_string())
        cells = Cells(column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), len(texts))
        for low, piece in slices(texts):
            tokens = Tokens.of(opened(piece), self.hasher)
            for found in self._streams(tokens) if len(tokens) else ():
                if len(found.row):
                    yield replace(found, row=found.row + low).expanded(cells)

    def _streams(self, tokens: Tokens) -> Iterator[Occurrences]:
        yield from self._words(tokens)
        for numbers in tokens.numbers():
            anybody = numbers.distinct & (numbers.digits >= SHORTEST_DISTINCT)
            yield from self._numbers(numbers.row, numbers.value, numbers.digits, anybody)
        if not self.text:
            alone = np.flatnonzero(tokens.alone & tokens.digit & (tokens.length <= 19))
            value = tokens.value[alone]
            yield from self._short(tokens.row[alone], value, np.ceil(np.log10(value.astype(np.float64) + 1)).astype(np.int64))
        yield from self._sequences(tokens)
        if self.dates:
            read = days(tokens)
            yield self._passing(DAY, read.row, features.day_hashes(self.hasher, read.day), strong=read.cued)

    def _words(self, tokens: Tokens) -> Iterator[Occurrences]:
        word = np.flatnonzero(~tokens.digit & (tokens.length >= 2) & (tokens.parts <= 2))
        hashes = tokens.hash[word] ^ features.WORD
        tag = tokens.bracketed[word] & np.isin(tokens.hash[word], _tags(self.hasher))
        passes = self._sought(hashes) & ~tag
        strong = tokens.capital[word] | (False if self.text else tokens.alone[word])
        yield _all(WORD, tokens.row[word[passes]], hashes[passes], strong[passes], False)
        compound = tokens.joined()
        hashes = compound.hash ^ features.WORD
        passes = self._sought(hashes)
        yield _all(WORD, compound.row[passes], hashes[passes], compound.capital[passes], False)
        yield from self._pairs(tokens)

    def _sought(self, words: U64) -> Bools:
        return self.sieve.passes(words) & ~np.isin(words, np.array(self.settled, np.uint64))

    def _pairs(self, tokens: Tokens) -> Iterator[Occurrences]:
        first, second = features.adjacent(tokens)
        both = self.sieve.passes(tokens.hash[first] ^ features.WORD) & self.sieve.passes(tokens.hash[second] ^ features.WORD)
        hashes = features.pair_hashes(self.hasher, tokens.hash[first[both]], tokens.hash[second[both]])
        yield self._passing(OTHER, tokens.row[first[both]], hashes)

    def _numbers(self, row: Ints, value: U64, digits: Ints, anybody: Bools) -> Iterator[Occurrences]:
        long = digits >= SHORTEST_NUMBER
        row, value, digits, anybody = row[long], value[long], digits[long], anybody[long] & (digits[long] >= SHORTEST_DISTINCT)
        yield Occurrences(NUMBER, row, features.number_hashes(self.hasher, value), np.ones(len(row), bool), anybody, np.minimum(digits, 19))

    def _short(self, row: Ints, value: U64, digits: Ints) -> Iterator[Occurrences]:
        few = digits < SHORTEST_NUMBER
        yield self._passing(SHORT, row[few], features.short_hashes(self.hasher, value[few]), anybody=False)

    def _sequences(self, tokens: Tokens) -> Iterator[Occurrences]:
        if len(tokens) >= MANY:
            from anonymize.validate import scanning

            at, hashes = scanning.sequences(tokens.hash, tokens.gap, features.LONGEST_SEQUENCE, features.NEAR, self.sieve.bits)
            yield _all(OTHER, tokens.row[at], hashes ^ features.SEQUENCE, tokens.capital[at] | (not self.text), True)
            return
        runs = features.Sequences(tokens)
        at = np.arange(len(tokens))
        for length in range(2, features.LONGEST_SEQUENCE + 1):
            at = at[runs.whole(at, length)]
            hashes = runs.windows(at, length)
            passes = np.flatnonzero(self.sieve.passes(hashes))
            yield _all(OTHER, tokens.row[at[passes]], hashes[passes], tokens.capital[at[passes]] | (not self.text), True)

    def _passing(self, stream: int, row: Ints, hashes: U64, *, strong: Bools | None = None, anybody: bool = True) -> Occurrences:
        passes = self.sieve.passes(hashes)
        return _all(stream, row[passes], hashes[passes], None if strong is None else strong[passes], anybody)


def _all(stream: int, row: Ints, hashes: U64, strong: Bools | None, anybody: bool) -> Occurrences:
    size = len(row)
    strong = np.ones(size, bool) if strong is None else strong
    return Occurrences(stream, row, hashes, strong, np.full(size, anybody), np.zeros(size, np.int64))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _decoded(column: pa.Array) -> pa.Array:
    """Bytes as text, what is no UTF-8 aside. A loop over rows: Arrow decodes nothing that is not valid as a whole."""
    return pa.array([None if value is None else value.decode("utf-8", "replace") for value in column.to_pylist()], pa.large_string())


def _tags(hasher: Hasher) -> npt.NDArray[np.uint64]:
    """The words of the tags that stand in scrubbed texts: `[NAME]`, `[HEALTH_PLAN]`."""
    return hasher.strings([part for kind in Kind for part in kind.value.split("-")])
