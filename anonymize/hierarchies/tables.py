"""Hierarchies from CSV files, in ARX's own format."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, each_number, is_text


@dataclass(frozen=True)
class CsvHierarchy:
    """One row a leaf: the value, then its generalizations, finest first, `;` or `,` between; a last column of one value is the top.

    Source: the hierarchy files of ARX (arx.deidentifier.org).
    """

    rows: dict[str, tuple[str, ...]] = field(repr=False)
    depth: int
    name: str

    @classmethod
    def load(cls, file: Path) -> CsvHierarchy:
        """Read a file. Raises ValueError with the line of what is wrong."""
        text = file.read_text(encoding="utf-8-sig")
        delimiter = ";" if text.partition("\n")[0].count(";") >= text.partition("\n")[0].count(",") and ";" in text else ","
        rows: dict[str, tuple[str, ...]] = {}
        depth = 0
        for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1):
            if not cells:
                continue
            depth = depth or len(cells)
            if len(cells) != depth:
                raise ValueError(f"line {number} has {len(cells)} cells, the first line has {depth}")
            if cells[0] in rows and rows[cells[0]] != tuple(cells):
                raise ValueError(f"line {number} gives a value a second place")
            rows[cells[0]] = tuple(cells)
        if not rows:
            raise ValueError("the file is empty")
        rows, depth = _with_top(rows, depth)
        _nested(rows, depth)
        return cls(rows, depth, f"csv:{file.name}")

    @property
    def top(self) -> str:
        """What stands for every value at the last level: the file's own word."""
        return next(iter(self.rows.values()))[-1]

    def __hash__(self) -> int:
        return hash((self.name, self.depth, len(self.rows)))

    @property
    def levels(self) -> tuple[str, ...]:
        return (*(f"level {level}" for level in range(self.depth - 1)), ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type) or pa.types.is_integer(type) or pa.types.is_boolean(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: v if v in self.rows else None)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == self.depth - 1:
            return pa.repeat(self.top, len(values))
        return checked(values, each(values, lambda v: self.rows[v][level] if v in self.rows else None), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == self.depth - 1:
            return np.ones(len(values))
        under = Counter(row[level] for row in self.rows.values())
        every = max(len(self.rows) - 1, 1)
        return each_number(values, lambda v: (under[self.rows[v][level]] - 1) / every)


def _with_top(rows: dict[str, tuple[str, ...]], depth: int) -> tuple[dict[str, tuple[str, ...]], int]:
    """A file without a top gets one."""
    if depth > 1 and len({row[-1] for row in rows.values()}) == 1:
        return rows, depth
    return {leaf: (*row, ANY) for leaf, row in rows.items()}, depth + 1


def _nested(rows: dict[str, tuple[str, ...]], depth: int) -> None:
    """A value of a level lies under one value of the next; else a coarser level would tell more than a finer one."""
    for level in range(1, depth - 1):
        above: dict[str, str] = {}
        for row in rows.values():
            if above.setdefault(row[level], row[level + 1]) != row[level + 1]:
                raise ValueError(f"column {level + 1} is not nested: one of its values lies under two values of column {level + 2}")
