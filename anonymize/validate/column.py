"""One column under the leak gate: what was met in it, and what of that is a leak."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.policy.model import Kind
from anonymize.validate.extract import CASED, ID, KINDS, SURE
from anonymize.validate.hashing import U64, distinct
from anonymize.validate.needles import Needles
from anonymize.validate.reading import DAY, NUMBER, SHORT, WORD, Occurrences, Reader
from anonymize.validate.tokens import Bools, Ints

if TYPE_CHECKING:
    from anonymize.validate.leak import Columns, Leak

PLAIN = np.uint8(0xFF & ~CASED)
"""Leaves of a kind's byte the kind."""
SHOWN = 5
"""Row positions that a result names."""
CHANCE = 0.05
"""So many hits that chance gives them in this share of columns are no leak."""
SHARED_KINDS = frozenset({Kind.ADDRESS.value, Kind.DATE.value, Kind.AGE.value})
"""What k subjects may share in a quasi-identifier."""
MANY = 10_000
"""Distinct hits that are counted."""
DAY_SUBJECTS, DAY_SHARE = 3, 0.02
"""So many subjects, and such a share of the rows, may bear one of their own days by chance where dates were shifted."""
SHORT_SHARE, SHORT_VALUES = 0.5, 3
"""A column of which such a share is its subjects' own short numbers, of so many values, is taken for their ids."""


@dataclass
class Rows:
    """A number of rows and the positions of the first few."""

    rows: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, positions: Ints) -> None:
        """Add positions, ascending and distinct."""
        self.rows += len(positions)
        self.first += positions[: SHOWN - len(self.first)].tolist() if len(self.first) < SHOWN else []


@dataclass
class Word:
    """A name that was met in a column of cells: where, and up to k subjects who have it there and do not bear it."""

    kind: int = 0
    hits: Rows = field(default_factory=Rows)
    others: set[int] = field(default_factory=set)


class Sketch:
    """How many distinct hashes were met, in little memory. Source: linear counting (Whang et al. 1990); a few percent off up to a million."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 18, bool)

    def add(self, hashes: U64) -> None:
        """Note hashes."""
        self._slots[hashes >> np.uint64(64 - 18)] = True

    def count(self) -> float:
        """About how many were noted."""
        return -len(self._slots) * math.log(max(1 - self._slots.mean(), 1 / len(self._slots)))


@dataclass
class Chance:
    """Numbers of one length: how many distinct ones were tried, and which of them hit. A number that hits is a leak only where more do than
    chance explains."""

    hits: Rows = field(default_factory=Rows)
    values: set[int] = field(default_factory=set)
    kind: int = 0
    tried: Sketch | None = None

    def try_(self, hashes: U64) -> None:
        """Note what was tried."""
        self.tried = self.tried or Sketch()
        self.tried.add(hashes)

    def hit(self, row: Ints, hashes: U64, kind: np.ndarray) -> None:
        """Note what hit; arrays of one length."""
        if len(row):
            self.hits.add(distinct(row))
            self.kind = int(kind[0] & PLAIN)
            if len(self.values) < MANY:
                self.values.update(hashes.tolist())

    def is_leak(self, needles: float, digits: int) -> bool:
        """Whether more hit than chance explains. needles: how many numbers of that length are searched for."""
        if not self.values or self.tried is None:
            return False
        return _tail(len(self.values), self.tried.count() * needles / (9 * 10.0 ** (digits - 1))) < CHANCE


@dataclass
class Tally:
    """Hits that count only if there are more than chance explains."""

    hits: Rows = field(default_factory=Rows)
    subjects: set[int] = field(default_factory=set)
    values: set[int] = field(default_factory=set)
    kind: int = 0


class ColumnSearch:
    """Reads a column batch by batch. Memory is bounded by the distinct names that a column of cells holds, not by its rows."""

    def __init__(self, table: str, name: str, needles: Needles, columns: Columns, k: int) -> None:
        self.table, self.name, self.needles = table, name, needles
        self.text, self.shifted, self.quasi = name in columns.text, name in columns.shifted, name in columns.quasi
        self.allowed = pa.array(sorted(columns.allowed.get(name, ())), pa.string())
        self.others = max(k - 1, 2)
        self.rows = self.cells = 0
        self._reader = Reader(needles.hasher, needles.sieve, self.text, Kind.DATE.value in needles.counts["values"])
        self._hits: dict[tuple[int, bool], Rows] = {}
        self._words: dict[int, Word] = {}
        self._days, self._short = Tally(), Tally()
        self._numbers = {own: [Chance() for _ in range(20)] for own in (True, False)}

    def read(self, column: pa.Array, owner: U64, offset: int) -> None:
        """Read a batch. owner: each row's subject, hashed, 0 for nobody; offset: the position of its first row in the table."""
        if len(self.allowed) and pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if len(self.allowed) and pa.types.is_string(column.type):
            column = pc.if_else(pc.is_in(column, self.allowed), pa.scalar(None, pa.string()), column)
        self.rows += len(column)
        self.cells += len(column) - column.null_count
        met: dict[tuple[int, bool], list[Ints]] = {}
        for found in self._reader.occurrences(column):
            if len(found.row):
                self._judge(found, owner, offset, met)
        for which, rows in met.items():
            self._hits.setdefault(which, Rows()).add(distinct(np.concatenate(rows)) + offset)

    def _judge(self, found: Occurrences, owner: U64, offset: int, met: dict[tuple[int, bool], list[Ints]]) -> None:
        mine = owner[found.row]
        bound = self.needles.hasher.pairs(mine, found.hash)
        # Only what the sieve lets through can be a needle: a look into it saves the search.
        passes = self.needles.sieve.passes(found.hash) if found.stream == NUMBER else np.ones(len(mine), bool)
        place, likely = np.full(len(mine), -1), np.flatnonzero(passes & (mine != 0))
        place[likely] = self.needles.own.find(bound[likely])
        own = place >= 0
        kind = self.needles.own.kind[np.maximum(place, 0)] if len(self.needles.own.hash) else np.zeros(len(place), np.uint8)
        if found.stream == WORD and not self.text:
            self._meet(found, own & (found.strong | (kind & CASED == 0)), kind & PLAIN, mine, offset)
            return
        if found.stream == DAY and self.shifted:
            self._tally(self._days, found, own & ~found.strong, mine, kind, offset)
            own &= found.strong
        if found.stream == SHORT:
            self._tally(self._short, found, own, mine, kind, offset)
            return
        if found.stream == NUMBER:
            own &= ~self._mere_ids(found, own & (kind == ID), bound, mine, kind, offset)
        else:
            own &= found.strong | (kind & CASED == 0)
        _collect(met, found.row, kind & PLAIN, own, True)
        self._anybody(found, own, passes, offset, met)

    def _mere_ids(self, found: Occurrences, hit: Bools, bound: U64, mine: U64, kind: np.ndarray, offset: int) -> Bools:
        """Numbers of records, of which a subject can have thousands: judged by chance at the end. Returns which of the hits are such."""
        short = (found.digits < SURE) & (mine != 0)
        for digits in np.flatnonzero(np.bincount(found.digits[short])):
            these = short & (found.digits == digits)
            chance = self._numbers[True][int(digits)]
            chance.try_(bound[these])
            chance.hit(found.row[these & hit] + offset, bound[these & hit], kind[these & hit])
        return short & hit

    def _anybody(self, found: Occurrences, own: Bools, passes: Bools, offset: int, met: dict[tuple[int, bool], list[Ints]]) -> None:
        """Identifiers of others."""
        at = np.flatnonzero(found.anybody & ~own)
        place, likely = np.full(len(at), -1), np.flatnonzero(passes[at])
        place[likely] = self.needles.distinct.find(found.hash[at[likely]])
        kind = self.needles.distinct.kind[np.maximum(place, 0)] & PLAIN if len(self.needles.distinct.hash) else place.astype(np.uint8)
        if found.stream != NUMBER:
            _collect(met, found.row[at], kind, place >= 0, False)
            return
        for digits in np.flatnonzero(np.bincount(found.digits[at])):
            these = found.digits[at] == digits
            chance, hit = self._numbers[False][int(digits)], these & (place >= 0)
            chance.try_(found.hash[at[these]])
            chance.hit(found.row[at[hit]] + offset, found.hash[at[hit]], kind[hit])

    def _meet(self, found: Occurrences, own: Bools, kind: np.ndarray, mine: U64, offset: int) -> None:
        """Names in cells: who bears what the cell says, and who does not."""
        order = np.argsort(found.hash, kind="stable")
        hashes, starts = np.unique(found.hash[order], return_index=True)
        # A loop over the distinct names of a batch, not over its rows.
        for value, some in zip(hashes.tolist(), np.split(order, starts[1:]), strict=True):
            word = self._words.setdefault(value, Word())
            hit = some[own[some]]
            if len(hit):
                word.kind = int(kind[hit[0]])
                word.hits.add(distinct(found.row[hit]) + offset)
            if len(word.others) < self.others:
                strangers = np.setdiff1d(distinct(mine[some[~own[some]]]), distinct(mine[hit]), assume_unique=True)
                word.others.update(strangers[strangers != 0][: self.others].tolist())
                if len(word.others) >= self.others:
                    self._reader.settled.append(value)  # shared by so many who do not bear it, whatever else comes

    def _tally(self, tally: Tally, found: Occurrences, hit: Bools, mine: U64, kind: np.ndarray, offset: int) -> None:
        at = np.flatnonzero(hit)
        if len(at):
            tally.kind = int(kind[at[0]] & PLAIN)
            tally.hits.add(distinct(found.row[at]) + offset)
            for known, met in ((tally.subjects, mine), (tally.values, found.hash)):
                if len(known) < SHOWN:
                    known.update(distinct(met[at])[:SHOWN].tolist())

    def leaks(self) -> list[Leak]:
        """What stops the release."""
        from anonymize.validate.leak import Leak

        hits = {which: rows for which, rows in self._hits.items() if rows.rows}
        for kind, own, rows in self._deferred():
            _merge(hits.setdefault((kind, own), Rows()), rows, self.rows)
        if self.quasi:
            hits = {(kind, own): rows for (kind, own), rows in hits.items() if not (own and KINDS[kind] in SHARED_KINDS)}
        found = [Leak(self.table, self.name, KINDS[kind], rows.rows, own, tuple(rows.first)) for (kind, own), rows in hits.items()]
        return sorted(found, key=lambda leak: (not leak.own, leak.kind))

    def _deferred(self) -> list[tuple[int, bool, Rows]]:
        found = [(w.kind, True, w.hits) for w in self._words.values() if w.hits.rows and len(w.others) < self.others]
        if len(self._days.subjects) >= DAY_SUBJECTS and self._days.hits.rows >= DAY_SHARE * self.rows:
            found.append((self._days.kind, True, self._days.hits))
        if len(self._short.values) >= SHORT_VALUES and self._short.hits.rows >= SHORT_SHARE * self.cells:
            found.append((self._short.kind, True, self._short.hits))
        counts = self.needles.counts
        for digits in range(20):
            ids = counts["id_digits"][digits] / max(counts["subjects"], 1)
            for own, number in ((True, ids), (False, counts["digits"][digits])):
                chance = self._numbers[own][digits]
                if chance.is_leak(number, digits):
                    found.append((chance.kind, own, chance.hits))
        return found


def _collect(met: dict[tuple[int, bool], list[Ints]], row: Ints, kind: np.ndarray, hit: Bools, own: bool) -> None:
    for number in np.flatnonzero(np.bincount(kind[hit])):
        met.setdefault((int(number), own), []).append(row[hit & (kind == number)])


def _merge(into: Rows, more: Rows, most: int) -> None:
    into.first = sorted({*into.first, *more.first})[:SHOWN]
    into.rows = min(into.rows + more.rows, most)


def _tail(hits: int, expected: float) -> float:
    """The chance of so many hits or more where so many are expected (Poisson)."""
    if expected <= 0:
        return 0.0
    if hits > 10 * expected + 100:
        return 0.0
    term = below = math.exp(-expected)
    for number in range(1, hits):
        term *= expected / number
        below += term
    return 1.0 - below
