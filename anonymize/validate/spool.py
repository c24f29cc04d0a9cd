"""Sorted arrays on disk that are larger than memory: records are spread over files by their first bits, each file is sorted alone, and one
after the other they are the whole in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

RECORD = np.dtype([("hash", "<u8"), ("owner", "<u8"), ("kind", "u1")])
Records = npt.NDArray[np.void]
_BITS = 5
_FLUSH_ROWS = 1 << 20


class Spool:
    """Collects records (hash, owner, kind) in any order. folder: private, removed by `merge`."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._waiting: list[Records] = []
        self._rows = 0

    def add(self, hashes: npt.NDArray[np.uint64], owners: npt.NDArray[np.uint64], kinds: npt.NDArray[np.uint8]) -> None:
        """Add records, all arrays of length n."""
        records = np.empty(len(hashes), RECORD)
        records["hash"], records["owner"], records["kind"] = hashes, owners, kinds
        self._waiting.append(records)
        self._rows += len(records)
        if self._rows >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        records = np.concatenate(self._waiting)
        part = (records["hash"] >> np.uint64(64 - _BITS)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        edges = np.searchsorted(part[order], np.arange((1 << _BITS) + 1))
        for number in range(1 << _BITS):
            if edges[number] < edges[number + 1]:
                with (self._folder / f"{number:02}").open("ab") as file:
                    records[order[edges[number] : edges[number + 1]]].tofile(file)
        self._waiting, self._rows = [], 0


def merge(folders: Sequence[Path], target: Path, reduce: Callable[[Records], Records]) -> int:
    """Write what some spools collected as `target.hash` (uint64) and `target.kind` (uint8), sorted by hash; returns their length.

    reduce: keeps some of a file's records; it gets them sorted by hash, owner and kind, all of one hash at once.
    """
    rows = 0
    with target.with_suffix(".hash").open("wb") as hashes, target.with_suffix(".kind").open("wb") as kinds:
        for number in range(1 << _BITS):
            parts = [np.fromfile(folder / f"{number:02}", RECORD) for folder in folders if (folder / f"{number:02}").exists()]
            if parts:
                kept = reduce(_sorted(np.concatenate(parts)))
                kept["hash"].tofile(hashes)
                kept["kind"].tofile(kinds)
                rows += len(kept)
    for folder in folders:
        shutil.rmtree(folder)
    return rows


def _sorted(records: Records) -> Records:
    """By hash, owner and kind. By the hash first, as the numbers that they are; only those that share one are then looked at as records."""
    records = records[np.argsort(records["hash"])]
    same = np.zeros(len(records) + 1, bool)
    same[1:-1] = records["hash"][1:] == records["hash"][:-1]
    ties = np.flatnonzero(same[:-1] | same[1:])
    some = records[ties]
    records[ties] = some[np.lexsort((some["kind"], some["owner"], some["hash"]))]
    return records
