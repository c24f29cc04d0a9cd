"""What the leak gate searches for: every identifier of every subject, as keyed hashes in sorted arrays on disk.

A needle is *own* (it counts in its subject's rows) or *distinct* as well (it counts in any row): full names, numbers of six digits
and more, e-mail addresses, street addresses, mixed codes. What is not searched for is counted, never silently left out.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.keys import Key
from anonymize.validate.extract import KINDS, Extracted, extract, member
from anonymize.validate.features import hasher_of
from anonymize.validate.hashing import MANY, U64, Hasher, distinct, fresh
from anonymize.validate.spool import Records, Spool, merge

SHARED = 10
"""A value that this many subjects or more have is nobody's own: it is not searched for in others' rows."""
PIECE = 50_000
"""Identifiers that are read at a time."""
SORTED = ("own", "distinct")
LARGE = 1 << 16
"""Hashes from which on they are looked up by compiled code."""
COUNTS, ANY = "needles.json", "any.hash"
_SIEVE_BITS = (16, 29)


@dataclass(frozen=True)
class Sorted:
    """Hashes in order, with their kinds, mapped from the disk."""

    hash: U64
    kind: npt.NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> Sorted:
        """What `Spool.finish` wrote."""
        return cls(_mapped(path.with_suffix(".hash"), np.uint64), _mapped(path.with_suffix(".kind"), np.uint8))

    def find(self, hashes: U64) -> npt.NDArray[np.int64]:
        """int64, length n: where each hash stands; -1 where it does not."""
        if len(self.hash) < LARGE:
            return member(self.hash, hashes)
        from anonymize.validate.lookup import find

        return find(self.hash, self._starts, hashes)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Where the hashes of each first bits begin: hashes are even, so that a few stand between one start and the next."""
        bits = max(len(self.hash).bit_length() - 3, 1)
        edges = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
        return np.append(np.searchsorted(self.hash, edges), len(self.hash)).astype(np.int64)


@dataclass(frozen=True)
class Needles:
    """The needles of a run. own: hashes bound to a subject; distinct: of any row; path: where they lie, and beside them the own ones without
    the subject, for a cheap first look.

    All are mapped from the disk: memory does not grow with the subjects.
    """

    hasher: Hasher
    own: Sorted
    distinct: Sorted
    path: Path
    counts: dict[str, Any] = field(default_factory=dict)
    """What is searched for and what is not, by kind: numbers alone."""

    @cached_property
    def sieve(self) -> Sieve:
        """Lets through every hash of a needle, and few others."""
        first = self.path / ANY
        total = first.stat().st_size // 8 + len(self.distinct.hash)
        return Sieve.of(chain(_pieces_of(first), [self.distinct.hash]), total)

    @classmethod
    def open(cls, path: Path, key: Key) -> Needles:
        """Map the needles that `build_needles` wrote."""
        counts = json.loads((path / COUNTS).read_text())
        return cls(hasher_of(key), Sorted.open(path / "own"), Sorted.open(path / "distinct"), path, counts)


@dataclass(frozen=True)
class Sieve:
    """One bit a slot: a hash whose slot is empty is no needle. bits: uint8, eight slots each, the lowest bit first."""

    bits: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, hashes: Iterable[U64], total: int) -> Sieve:
        """A sieve for the hashes of some arrays, that are so many."""
        size = 1 << min(max(int(total * 16).bit_length(), _SIEVE_BITS[0]), _SIEVE_BITS[1])
        if total >= LARGE:
            from anonymize.validate import lookup

            bits = np.zeros(size >> 3, np.uint8)
            for array in hashes:
                lookup.mark(bits, array)
            return cls(bits)
        slots = np.zeros(size, bool)
        for array in hashes:
            slots[array & np.uint64(size - 1)] = True
        return cls(np.packbits(slots, bitorder="little"))

    def passes(self, hashes: U64) -> npt.NDArray[np.bool_]:
        """bool, length n."""
        if len(hashes) >= MANY:
            from anonymize.validate import lookup

            return lookup.passes(self.bits, np.ascontiguousarray(hashes))
        slot = hashes & np.uint64(8 * len(self.bits) - 1)
        return np.asarray((self.bits[slot >> np.uint64(3)] >> (slot & np.uint64(7)).astype(np.uint8)) & np.uint8(1)).astype(bool)


def build_needles(identifiers: Iterator[pa.RecordBatch], key: Key, path: Path) -> Needles:
    """Turn every subject's identifiers into needles, under `path` (a folder of the private workspace).

    identifiers: batches with `__subject` (string) and `identifiers` or `__identifiers`: list<struct<kind, value, column>>.
    Called again it writes the same files.
    """
    prepare(path)
    return finish([gather(identifiers, key, path, 0)], key, path)


def prepare(path: Path) -> None:
    """A folder for needles, which holds none."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    (path / COUNTS).unlink(missing_ok=True)
    for parts in path.glob("*.parts"):
        shutil.rmtree(parts)
    for part in path.glob("any.*"):
        part.unlink()


def gather(identifiers: Iterator[pa.RecordBatch], key: Key, path: Path, part: int) -> Gathered:
    """The needles of some subjects, into files of their own: several processes may work on parts of them. As `build_needles`."""
    spools = {name: Spool(path / f"{name}.{part}.parts") for name in SORTED}
    hasher, counted = hasher_of(key), Gathered(part)
    with (path / f"any.{part}").open("wb") as any_:
        for batch in identifiers:
            for some in _pieces(batch):
                found = extract(some, hasher)
                hashes, owner, kind = found.own.arrays()
                spools["own"].add(hasher.pairs(owner, hashes), None, kind)
                spools["distinct"].add(*found.distinct.arrays())
                distinct(hashes).tofile(any_)
                counted.add(found, some.num_rows)
    for spool in spools.values():
        spool.flush()
    return counted


def merge_parts(path: Path, name: str) -> int:
    """Sort what all parts gathered for one file of needles (`own`, `distinct`); returns how many there are."""
    folders = sorted(path.glob(f"{name}.*.parts"))
    return merge(folders, path / name, _of_few if name == "distinct" else _once)


def finish(parts: Sequence[Gathered], key: Key, path: Path, merged: Sequence[int] | None = None) -> Needles:
    """The needles of all subjects, from what was gathered of parts of them. merged: how many `merge_parts` gave, where it was called."""
    rows = merged or [merge_parts(path, name) for name in SORTED]
    with (path / ANY).open("wb") as out:
        for part in parts:
            with (path / f"any.{part.part}").open("rb") as hashes:
                shutil.copyfileobj(hashes, out, 1 << 20)
            (path / f"any.{part.part}").unlink()
    (path / COUNTS).write_text(json.dumps({**said(parts), "needles": dict(zip(SORTED, rows, strict=True))}, sort_keys=True))
    return Needles.open(path, key)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Subjects with some ten thousand identifiers together; one who has more is a piece by herself."""
    lists = batch["identifiers"] if "identifiers" in batch.schema.names else batch["__identifiers"]
    ends = np.cumsum(pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False))
    low = 0
    while low < batch.num_rows:
        before = ends[low - 1] if low else 0
        high = max(int(np.searchsorted(ends, before + PIECE, side="right")), low + 1)
        yield batch.slice(low, high - low)
        low = high


@dataclass
class Gathered:
    """What was searched for and what was not of some subjects, and how many numbers there are of each length."""

    part: int
    subjects: int = 0
    values: Counter[str] = field(default_factory=Counter)
    unsearched: Counter[str] = field(default_factory=Counter)
    digits: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(20, np.int64))
    id_digits: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(20, np.int64))

    def add(self, found: Extracted, subjects: int) -> None:
        """Count a batch of subjects."""
        self.subjects += subjects
        self.digits += found.digits
        self.id_digits += found.id_digits
        for number, kind in enumerate(KINDS):
            mine = found.value_kind == number
            self.values[kind] += int(mine.sum())
            self.unsearched[kind] += int((mine & ~found.searched).sum())


def said(parts: Sequence[Gathered]) -> dict[str, Any]:
    """The counts of all parts, as JSON holds them."""
    values, unsearched = (sum((getattr(part, name) for part in parts), Counter[str]()) for name in ("values", "unsearched"))
    return {
        "subjects": sum(part.subjects for part in parts),
        "values": dict(values),
        "unsearched": dict(unsearched),
        "digits": sum((part.digits for part in parts), np.zeros(20, np.int64)).tolist(),
        "id_digits": sum((part.id_digits for part in parts), np.zeros(20, np.int64)).tolist(),
    }


def _once(records: Records) -> Records:
    """One record of each hash: of the kind that counts in any case where there is one."""
    records = records.take(np.argsort(records.hash))
    first = np.flatnonzero(fresh(records.hash))
    return Records(records.hash[first], None, np.minimum.reduceat(records.kind, first))


def _of_few(records: Records) -> Records:
    """One record of each hash that fewer than SHARED subjects have: the first by owner and kind. By the hash first, as the numbers that they
    are; only those that share one are then looked at as records."""
    assert records.owner is not None  # for the type checker: what counts in any row is gathered with its owners
    records = records.take(np.argsort(records.hash))
    same = np.zeros(len(records.hash) + 1, bool)
    same[1:-1] = records.hash[1:] == records.hash[:-1]
    tied = same[:-1] | same[1:]
    some = records.take(np.flatnonzero(tied))
    assert some.owner is not None
    some = some.take(np.lexsort((some.kind, some.owner, some.hash)))
    assert some.owner is not None
    first = np.flatnonzero(fresh(some.hash))
    owners = np.add.reduceat((fresh(some.hash) | fresh(some.owner)).astype(np.int64), first) if len(first) else first
    few = some.take(first[owners < SHARED])
    kept = Records.of([records.take(np.flatnonzero(~tied)), few])
    return kept.take(np.argsort(kept.hash))


def _pieces_of(path: Path) -> Iterator[U64]:
    """A file of hashes, some megabytes at a time."""
    with path.open("rb") as file:
        while len(piece := np.fromfile(file, np.uint64, 1 << 19)):
            yield piece


def _mapped(path: Path, type: type[np.generic]) -> npt.NDArray[Any]:
    """A file as an array; an empty file cannot be mapped and is an empty array."""
    return np.memmap(path, type, "r") if path.stat().st_size else np.zeros(0, type)
