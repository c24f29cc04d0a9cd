"""What the leak gate searches for: every identifier of every subject, as keyed hashes in sorted arrays on disk.

A needle is *own* (it counts in its subject's rows) or *distinct* as well (it counts in any row): full names, numbers of six digits
and more, e-mail addresses, street addresses, mixed codes. What is not searched for is counted, never silently left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anonymize.keys import Key
from anonymize.validate.extract import KINDS, Extracted, extract
from anonymize.validate.features import hasher_of
from anonymize.validate.hashing import U64, Hasher
from anonymize.validate.spool import Records, Spool

SHARED = 10
"""A value that this many subjects or more have is nobody's own: it is not searched for in others' rows."""
BATCH_SUBJECTS = 2_000
COUNTS = "needles.json"
_SIEVE_BITS = (16, 27)


@dataclass(frozen=True)
class Sorted:
    """Hashes in order, with their kinds, mapped from the disk."""

    hash: U64
    kind: npt.NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> Sorted:
        """What `Spool.finish` wrote."""
        return cls(_mapped(path.with_suffix(".hash"), np.uint64), _mapped(path.with_suffix(".kind"), np.uint8))


@dataclass(frozen=True)
class Needles:
    """The needles of a run. own: hashes bound to a subject; any: the same without the subject, a cheap first look; distinct: of any row.

    All are mapped from the disk: memory does not grow with the subjects.
    """

    hasher: Hasher
    own: Sorted
    any: Sorted
    distinct: Sorted
    counts: dict[str, Any] = field(default_factory=dict)
    """What is searched for and what is not, by kind: numbers alone."""

    @cached_property
    def sieve(self) -> Sieve:
        """Lets through every hash of a needle, and few others."""
        return Sieve.of(self.any.hash, self.distinct.hash)

    @classmethod
    def open(cls, path: Path, key: Key) -> Needles:
        """Map the needles that `build_needles` wrote."""
        counts = json.loads((path / COUNTS).read_text())
        return cls(hasher_of(key), Sorted.open(path / "own"), Sorted.open(path / "any"), Sorted.open(path / "distinct"), counts)


@dataclass(frozen=True)
class Sieve:
    """One bit of memory a slot: a hash whose slot is empty is no needle."""

    slots: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, *arrays: U64) -> Sieve:
        """A sieve for the hashes of some arrays."""
        total = sum(len(array) for array in arrays)
        bits = min(max(int(total * 16).bit_length(), _SIEVE_BITS[0]), _SIEVE_BITS[1])
        slots = np.zeros(1 << bits, bool)
        for array in arrays:
            for low in range(0, len(array), 1 << 20):
                slots[array[low : low + (1 << 20)] & np.uint64(len(slots) - 1)] = True
        return cls(slots)

    def passes(self, hashes: U64) -> npt.NDArray[np.bool_]:
        """bool, length n."""
        return self.slots[hashes & np.uint64(len(self.slots) - 1)]


def build_needles(identifiers: Iterator[pa.RecordBatch], key: Key, path: Path) -> Needles:
    """Turn every subject's identifiers into needles, under `path` (a folder of the private workspace).

    identifiers: batches with `__subject` (string) and `identifiers` or `__identifiers`: list<struct<kind, value, column>>.
    Called again it writes the same files.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    (path / COUNTS).unlink(missing_ok=True)
    spools = {name: Spool(path / f"{name}.parts") for name in ("own", "any", "distinct")}
    hasher, counted = hasher_of(key), _Counted()
    for batch in identifiers:
        for low in range(0, batch.num_rows, BATCH_SUBJECTS):
            part = batch.slice(low, BATCH_SUBJECTS)
            found = extract(part, hasher)
            _spool(found, hasher, spools)
            counted.add(found, part.num_rows)
    rows = {name: spool.finish(path / name, _of_few if name == "distinct" else _once) for name, spool in spools.items()}
    counts = {**counted.said(), "needles": {name: rows[name] for name in ("own", "distinct")}}
    (path / COUNTS).write_text(json.dumps(counts, sort_keys=True))
    return Needles.open(path, key)


class _Counted:
    """What was searched for and what was not, and how many numbers there are of each length."""

    def __init__(self) -> None:
        self._subjects = 0
        self._values, self._unsearched = Counter[str](), Counter[str]()
        self._digits, self._id_digits = np.zeros(20, np.int64), np.zeros(20, np.int64)

    def add(self, found: Extracted, subjects: int) -> None:
        """Count a batch of subjects."""
        self._subjects += subjects
        self._digits += found.digits
        self._id_digits += found.id_digits
        for number, kind in enumerate(KINDS):
            mine = found.value_kind == number
            self._values[kind] += int(mine.sum())
            self._unsearched[kind] += int((mine & ~found.searched).sum())

    def said(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "subjects": self._subjects,
            "values": {kind: number for kind, number in self._values.items() if number},
            "unsearched": {kind: number for kind, number in self._unsearched.items() if number},
            "digits": self._digits.tolist(),
            "id_digits": self._id_digits.tolist(),
        }


def _spool(found: Extracted, hasher: Hasher, spools: dict[str, Spool]) -> None:
    hashes, owner, kind = found.own.arrays()
    none = np.zeros(len(hashes), np.uint64)
    spools["own"].add(hasher.pairs(owner, hashes), none, kind)
    spools["any"].add(hashes, none, np.zeros(len(hashes), np.uint8))
    spools["distinct"].add(*found.distinct.arrays())


def _once(records: Records) -> Records:
    """One record of each hash: the first, of the kind that counts in any case where there is one."""
    return records[_fresh(records["hash"])]


def _of_few(records: Records) -> Records:
    """One record of each hash that fewer than SHARED subjects have."""
    records = records[_fresh(records["hash"]) | _fresh(records["owner"])]
    first = np.flatnonzero(_fresh(records["hash"]))
    owners = np.diff(np.append(first, len(records)))
    return records[first[owners < SHARED]]


def _fresh(column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    fresh = np.ones(len(column), bool)
    fresh[1:] = column[1:] != column[:-1]
    return fresh


def _mapped(path: Path, type: type[np.generic]) -> npt.NDArray[Any]:
    """A file as an array; an empty file cannot be mapped and is an empty array."""
    return np.memmap(path, type, "r") if path.stat().st_size else np.zeros(0, type)
