"""The tally in numbers, and what a node of the generalization lattice does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import Hierarchy

Node = tuple[int, ...]
"""A level for each column."""

POPULATION = "__population"
"""A tally's column of the people of the population who have a tuple."""

_NONE = np.empty(0, np.int32)
_WIDEST = 1 << 62


@dataclass(frozen=True)
class Sensitive:
    """A sensitive column of a tally: each tuple's value as a number, int32 (n), and the values in order, nulls being one."""

    codes: np.ndarray
    values: pa.Array


@dataclass(frozen=True)
class Cells:
    """Some tuples to be counted: all of a tally's, or one for each class of a node, from which coarser nodes are rolled up.

    codes: int32 (n, m), positions of leaves among all columns' leaves; rows: int64 (n), records; subjects: int32 (n), the subject's number,
    sorted, where the tally is of pairs, else empty (then `rows` are subjects, each in one tuple); at: the node that they stand for.
    """

    codes: np.ndarray
    rows: np.ndarray
    subjects: np.ndarray
    at: Node
    population: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """int64 (n): the people of the population with the tuple, where a population table was given; `rows` may be 0 then."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Encoded:
    """A tally as numbers: n distinct tuples (or triples with subject and sensitive values) by m columns.

    starts: int64 (m + 1), where each column's leaves begin among all leaves; heights: each column's top level;
    groups: int32 (levels, leaves), a leaf's group at a level; widths: int (m, levels), the groups of a column at a level;
    losses: float64 (levels, leaves), a leaf's loss times the column's weight (above a column's top: as at the top); weights: float64 (m).
    """

    columns: tuple[str, ...]
    cells: Cells
    starts: np.ndarray
    heights: Node
    groups: np.ndarray
    widths: list[list[int]]
    losses: np.ndarray
    weights: np.ndarray
    leaves: tuple[pa.Array, ...]
    sensitive: Mapping[str, Sensitive] = field(default_factory=dict)
    order: np.ndarray | None = None
    """Where the tuples were sorted by subject: their positions in the tally."""

    @property
    def total(self) -> int:
        """The records."""
        return int(self.cells.rows.sum())

    @property
    def weight(self) -> float:
        """What a suppressed record loses."""
        return float(self.weights.sum())

    def classes(self, node: Node, cells: Cells | None = None) -> tuple[np.ndarray, int]:
        """int32 (n): the equivalence class of each cell at a node, numbered from 0 as they are met; and how many there are."""
        from anonymize.privacy import kernels

        cells = cells or self.cells
        ids = np.empty(len(cells), np.int32)
        prior, count = _NONE, 1
        levels = np.array(node, np.int64)
        for strides, space in self._parts(node, len(cells)):
            steps = kernels.stride_groups(self.groups, self.starts, levels, strides)
            count = kernels.number_classes(cells.codes, steps, prior, space, space * count, ids)
            prior = ids
        return ids, count

    def _parts(self, node: Node, n: int) -> list[tuple[np.ndarray, int]]:
        """Strides of mixed radix numbers of groups, in as many parts as keep a key, led by a class's number, within 62 bits; and each part's
        space of keys."""
        parts: list[tuple[np.ndarray, int]] = []
        strides, space = np.zeros(len(node), np.int64), 1
        for c, level in enumerate(node):
            width = self.widths[c][level]
            if space * width > _WIDEST // max(n, 1):
                parts.append((strides, space))
                strides, space = np.zeros(len(node), np.int64), 1
            strides[c] = space
            space *= width
        return [*parts, (strides, space)]

    def sizes(self, ids: np.ndarray, count: int, cells: Cells | None = None) -> np.ndarray:
        """int64 (count): the number of distinct subjects of each class."""
        from anonymize.privacy import kernels

        cells = cells or self.cells
        if len(cells.subjects):
            return kernels.count_distinct(ids, cells.subjects, count)
        return kernels.add_up(ids, cells.rows, count)

    def rolled_up(self, node: Node, ids: np.ndarray, count: int, cells: Cells) -> Cells:
        """One cell a class (or a pair of class and subject), for counting coarser nodes."""
        from anonymize.privacy import kernels

        if len(cells.subjects):
            first, pair = kernels.first_of_each_pair(ids, cells.subjects, count)
            return Cells(cells.codes[first], kernels.add_up(pair, cells.rows, len(first)), cells.subjects[first], node)
        first = kernels.first_of_each(ids, count)
        return Cells(cells.codes[first], kernels.add_up(ids, cells.rows, count), _NONE, node)

    def part(self, some: np.ndarray) -> Encoded:
        """Some tuples, with all leaves and sensitive values of the whole. some: positions, ascending, so that subjects stay in order."""
        cells = self.cells
        part = Cells(
            cells.codes[some],
            cells.rows[some],
            cells.subjects[some] if len(cells.subjects) else cells.subjects,
            cells.at,
            cells.population[some] if len(cells.population) else cells.population,
        )
        return replace(self, cells=part, sensitive={name: replace(held, codes=held.codes[some]) for name, held in self.sensitive.items()})

    def leaf_rows(self) -> np.ndarray:
        """int64: the records of each leaf, over all columns' leaves."""
        rows = np.zeros(self.starts[-1], np.int64)
        for c in range(len(self.columns)):
            part = slice(self.starts[c], self.starts[c + 1])
            counted = np.bincount(self.cells.codes[:, c] - self.starts[c], self.cells.rows, self.starts[c + 1] - self.starts[c])
            rows[part] = counted.astype(np.int64)
        return rows

    def histograms(self) -> dict[str, np.ndarray]:
        """By sensitive column, int64 (s): the records, or the distinct subjects, that have each of its values."""
        from anonymize.privacy import kernels

        none, one = np.zeros(len(self.cells), np.int32), np.zeros(1, np.int32)
        return {
            name: kernels.histogram(none, one, held.codes, self.cells.rows, self.cells.subjects, 1, len(held.values))[0]
            for name, held in self.sensitive.items()
        }

    def marginals(self, leaf_rows: np.ndarray, at: Node | None = None) -> np.ndarray:
        """float64 (m, levels): the loss of some records, given by leaf, in each column at each level; under `at` as much as there."""
        from anonymize.privacy import kernels

        return kernels.loss_of_leaves(self.losses, self.starts, leaf_rows, np.array(at or (0,) * len(self.columns), np.int64))

    def labels(self, hierarchies: Mapping[str, Hierarchy], column: int, level: int) -> pa.Array:
        """string: leaf -> what is published at a level."""
        return hierarchies[self.columns[column]].generalize(self.leaves[column], level)


def encode(
    tally: pa.Table,
    hierarchies: Mapping[str, Hierarchy],
    weights: Mapping[str, float],
    subject: str | None = None,
    sensitive: Sequence[str] = (),
) -> Encoded:
    """Number a tally's leaves and draw each column's ladder over them. subject: the tally's column of subjects, where it is of pairs."""
    rows = tally["subjects"].to_numpy().astype(np.int64, copy=False)
    order = None
    subjects = _NONE
    if subject is not None:
        numbers = _numbered(tally[subject])[0]
        order = np.argsort(numbers, kind="stable")
        subjects, rows = numbers[order], rows[order]
    codes = np.zeros((len(rows), len(hierarchies)), np.int32)
    starts, ladders, leaves = [0], [], []
    for c, (column, hierarchy) in enumerate(hierarchies.items()):
        numbers, values = _numbered(tally[column])
        codes[:, c] = (numbers if order is None else numbers[order]) + starts[-1]
        starts.append(starts[-1] + len(values))
        ladders.append(_ladder(hierarchy, values, weights.get(column, 1.0)))
        leaves.append(values)
    height = max((len(groups) for groups, _ in ladders), default=1)
    return Encoded(
        columns=tuple(hierarchies),
        cells=Cells(codes, rows, subjects, (0,) * len(hierarchies), _population(tally, order)),
        starts=np.array(starts, np.int64),
        heights=tuple(len(groups) - 1 for groups, _ in ladders),
        groups=np.hstack([_padded(groups, height) for groups, _ in ladders]) if ladders else np.zeros((1, 0), np.int32),
        widths=[[int(level.max(initial=0)) + 1 for level in groups] for groups, _ in ladders],
        losses=np.hstack([_padded(losses, height) for _, losses in ladders]) if ladders else np.zeros((1, 0)),
        weights=np.array([weights.get(column, 1.0) for column in hierarchies]),
        leaves=tuple(leaves),
        sensitive={name: _sensitive(tally[name], order) for name in sensitive},
        order=order,
    )


def values_in_order(column: pa.ChunkedArray) -> pa.Array:
    """A sensitive column's values in the order in which models see them, null being one."""
    return _numbered(column)[1]


def _population(tally: pa.Table, order: np.ndarray | None) -> np.ndarray:
    if POPULATION not in tally.schema.names:
        return np.empty(0, np.int64)
    people = tally[POPULATION].to_numpy().astype(np.int64)
    return people if order is None else people[order]


def _sensitive(column: pa.ChunkedArray, order: np.ndarray | None) -> Sensitive:
    numbers, values = _numbered(column)
    return Sensitive(numbers if order is None else numbers[order], values)


def _padded(levels: np.ndarray, height: int) -> np.ndarray:
    return np.concatenate([levels, np.repeat(levels[-1:], height - len(levels), axis=0)])


def _ladder(hierarchy: Hierarchy, values: pa.Array, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """int32 and float64 (levels, leaves): each leaf's group, and its loss. A null is a group of its own until the top."""
    levels = range(len(hierarchy.levels))
    groups = np.stack([_numbered(hierarchy.generalize(values, level))[0] for level in levels])
    return groups, np.stack([hierarchy.loss(values, level) * weight for level in levels])


def _numbered(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """int32 (n): each value's number; and the values in order. Null is a value."""
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
        encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column, null_encoding="encode")
        chunks = encoded.chunks
        values = chunks[0].dictionary if chunks else pa.array([], encoded.type.value_type)
        column = pa.DictionaryArray.from_arrays(pa.chunked_array([c.indices for c in chunks], encoded.type.index_type).combine_chunks(), values)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode(null_encoding="encode")
    return _null_as_value(column)


def _null_as_value(column: pa.DictionaryArray) -> tuple[np.ndarray, pa.Array]:
    """A dictionary made elsewhere may mark a null in the indices, and may hold values that do not occur."""
    indices, values = column.indices, column.dictionary
    if indices.null_count:
        indices = indices.cast(pa.int32()).fill_null(len(values))
        values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    return indices.cast(pa.int32()).to_numpy(zero_copy_only=False), values
