"""Sorted arrays on disk that are larger than memory: records are spread over parts by their first bits, each part is sorted alone, and one
after the other they are the whole in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
_BITS = 5
_FLUSH_ROWS = 1 << 18


@dataclass(frozen=True)
class Records:
    """Columns of one length. owner: none where nobody asks whose a hash is."""

    hash: U64
    owner: U64 | None
    kind: npt.NDArray[np.uint8]

    def take(self, at: npt.NDArray[np.int64] | slice) -> Records:
        """The records at some places."""
        return Records(self.hash[at], None if self.owner is None else self.owner[at], self.kind[at])

    @classmethod
    def of(cls, parts: Sequence[Records]) -> Records:
        """One after the other; all with owners, or none."""
        owners = [part.owner for part in parts if part.owner is not None]
        whole = (np.concatenate([getattr(part, name) for part in parts]) for name in ("hash", "kind"))
        hashes, kinds = whole
        return cls(hashes, np.concatenate(owners) if owners else None, kinds)


class Spool:
    """Collects records in any order. folder: private, removed by `merge`. In it are the columns as files, written in runs, each in the order of
    the parts; and where in a run each part ends."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._waiting: list[Records] = []
        self._rows = 0

    def add(self, hashes: U64, owners: U64 | None, kinds: npt.NDArray[np.uint8]) -> None:
        """Add records, all arrays of length n."""
        self._waiting.append(Records(hashes, owners, kinds))
        self._rows += len(hashes)
        if self._rows >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._rows:
            return
        records = Records.of(self._waiting)
        part = (records.hash >> np.uint64(64 - _BITS)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=1 << _BITS)).astype(np.int64)
        run = records.take(order)
        for name, column in (("hash", run.hash), ("owner", run.owner), ("kind", run.kind), ("ends", ends)):
            if column is not None:
                with (self._folder / name).open("ab") as file:
                    column.tofile(file)
        self._waiting, self._rows = [], 0


def merge(folders: Sequence[Path], target: Path, reduce: Callable[[Records], Records]) -> int:
    """Write what some spools collected as `target.hash` (uint64) and `target.kind` (uint8), sorted by hash; returns their length.

    reduce: sorts the records of a part by hash and keeps some; it gets all of one hash at once.
    """
    rows, runs = 0, [run for folder in folders for run in _runs(folder)]
    with target.with_suffix(".hash").open("wb") as hashes, target.with_suffix(".kind").open("wb") as kinds:
        for number in range(1 << _BITS):
            parts = [records.take(slice(*edges[number : number + 2])) for records, edges in runs]
            if any(len(part.hash) for part in parts):
                kept = reduce(Records.of(parts))
                kept.hash.tofile(hashes)
                kept.kind.tofile(kinds)
                rows += len(kept.hash)
    del runs
    for folder in folders:
        shutil.rmtree(folder)
    return rows


def _runs(folder: Path) -> list[tuple[Records, npt.NDArray[np.int64]]]:
    """The runs of a spool, mapped from the disk, each with the edges of its parts."""
    if not (folder / "ends").exists():
        return []
    ends = np.fromfile(folder / "ends", np.int64).reshape(-1, 1 << _BITS)
    edges = np.concatenate([np.zeros((len(ends), 1), np.int64), ends], axis=1)
    edges += np.concatenate([[0], np.cumsum(ends[:-1, -1])])[:, None]
    owner = np.memmap(folder / "owner", np.uint64, "r") if (folder / "owner").exists() else None
    records = Records(np.memmap(folder / "hash", np.uint64, "r"), owner, np.memmap(folder / "kind", np.uint8, "r"))
    return [(records, edge) for edge in edges]
