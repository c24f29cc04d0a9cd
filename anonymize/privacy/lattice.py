"""The tally in numbers, and what a node of the generalization lattice does to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from anonymize.hierarchies.base import Hierarchy

Node = tuple[int, ...]
"""A level for each column."""


@dataclass(frozen=True)
class Encoded:
    """A tally as numbers, n distinct tuples (or pairs of tuple and subject) by m columns.

    codes: int64 (n, m), each column's distinct leaves numbered; rows: float64 (n), the records of each; subjects: int64 (n), the subject's
    number where the tally is of pairs, else None (then `rows` are subjects, each in one tuple).
    groups[c][level]: int64, leaf -> its group at that level; losses[c][level]: float64, leaf -> its loss, times the column's weight.
    """

    columns: tuple[str, ...]
    codes: np.ndarray
    rows: np.ndarray
    subjects: np.ndarray | None
    groups: tuple[tuple[np.ndarray, ...], ...]
    losses: tuple[tuple[np.ndarray, ...], ...]
    labels: tuple[tuple[pa.Array, ...], ...]
    """labels[c][level]: string, leaf -> what is published."""

    @property
    def heights(self) -> Node:
        """Each column's top level."""
        return tuple(len(levels) - 1 for levels in self.groups)

    def classes(self, node: Node) -> np.ndarray:
        """int64 (n): the equivalence class of each tuple at a node, numbered from 0."""
        key = np.zeros(len(self.codes), np.int64)
        size = 1
        for column, level in enumerate(node):
            group = self.groups[column][level]
            width = int(group.max(initial=0)) + 1
            if size * width > 1 << 62:  # the mixed radix would overflow: number the classes found so far anew
                key = np.unique(key, return_inverse=True)[1].astype(np.int64)
                size = int(key.max(initial=0)) + 1
            key = key * width + group[self.codes[:, column]]
            size *= width
        return np.unique(key, return_inverse=True)[1].astype(np.int64)

    def sizes(self, classes: np.ndarray) -> np.ndarray:
        """int64: the number of distinct subjects of each class."""
        count = int(classes.max(initial=-1)) + 1
        if self.subjects is None:
            return np.bincount(classes, self.rows, count).astype(np.int64)
        width = int(self.subjects.max(initial=0)) + 1
        pairs = np.unique(classes * width + self.subjects)
        return np.bincount(pairs // width, minlength=count)

    def bound(self, node: Node) -> float:
        """The loss of a node were nothing suppressed: never more than its loss."""
        return float(sum((self.losses[c][level][self.codes[:, c]] * self.rows).sum() for c, level in enumerate(node)))


def encode(tally: pa.Table, hierarchies: Mapping[str, Hierarchy], weights: Mapping[str, float], subject: str | None) -> Encoded:
    """Number a tally's leaves and draw each column's ladder over them. subject: the tally's column of subjects, where it is of pairs."""
    codes, groups, losses, labels = [], [], [], []
    for column, hierarchy in hierarchies.items():
        values = tally[column].combine_chunks()
        # Nulls are a leaf of their own, which only the top merges with others.
        encoded = values.dictionary_encode(null_encoding="encode")
        leaves = encoded.dictionary
        codes.append(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64))
        levels = range(len(hierarchy.levels))
        labels.append(tuple(hierarchy.generalize(leaves, level) for level in levels))
        groups.append(tuple(_numbered(label) for label in labels[-1]))
        losses.append(tuple(hierarchy.loss(leaves, level) * weights.get(column, 1.0) for level in levels))
    rows = tally["subjects"].to_numpy().astype(np.float64)
    subjects = None
    if subject is not None:
        subjects = _numbered(tally[subject].combine_chunks())
    matrix = np.stack(codes, axis=1) if codes else np.zeros((len(rows), 0), np.int64)
    return Encoded(tuple(hierarchies), matrix, rows, subjects, tuple(groups), tuple(losses), tuple(labels))


def _numbered(values: pa.Array) -> np.ndarray:
    return values.dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False).astype(np.int64)
