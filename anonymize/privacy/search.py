"""Optimal full-domain generalization: the node of the lattice with the least loss that holds k within the suppression budget.

Nodes are met in the order of a lower bound of their loss, so the first that cannot be beaten ends the search; what fails at a node fails
at all finer ones. Source: El Emam et al. (2009), OLA; Kohlmayer et al. (2012), Flash.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.base import Hierarchy
from anonymize.privacy.lattice import Encoded, Node, encode
from anonymize.privacy.solution import Solution, make_solution


@dataclass(frozen=True)
class SearchSettings:
    """k: subjects a class; suppression: the largest share of records that may be suppressed; weights, min_levels, max_levels: by column."""

    k: int = 5
    suppression: float = 0.05
    weights: Mapping[str, float] = field(default_factory=dict)
    min_levels: Mapping[str, int] = field(default_factory=dict)
    max_levels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """A node that was counted: its loss, and which tuples it suppresses."""

    loss: float
    suppressed_rows: float
    kept: np.ndarray


def search(tally: pa.Table, hierarchies: Mapping[str, Hierarchy], settings: SearchSettings, *, subject: str | None = None) -> Solution:
    """The least loss that holds k.

    tally: the columns of `hierarchies` and `subjects` (int64): distinct tuples with their numbers of distinct subjects, each subject in one
    tuple. Where subjects may stand in several, it is of pairs: also the column `subject`, and `subjects` counts records; then a class holds
    as many as it has distinct subjects. Loss: mean over records and columns of each value's loss, suppressed records counting 1.
    Raises AnonymizeError where no node holds k: everything at its top is one class, so only a table of fewer than k subjects does that, or
    bounds on the levels.
    """
    encoded = encode(tally, hierarchies, settings.weights, subject)
    total = float(encoded.rows.sum())
    lowest, highest = _bounds(encoded, settings)
    if total == 0:
        return make_solution(encoded, hierarchies, lowest, np.zeros(0, bool), 0.0, settings.k)
    best = _best(encoded, settings, lowest, highest, settings.suppression * total + 1e-9)
    if best is None:
        raise AnonymizeError(
            f"k = {settings.k} cannot be reached over {', '.join(encoded.columns)} with {settings.suppression:.0%} suppression, even at the "
            f"coarsest levels. Raise privacy.suppression or max-level, drop a column, or wait for more subjects"
        )
    node, checked = best
    weight = sum(settings.weights.get(column, 1.0) for column in encoded.columns)
    return make_solution(encoded, hierarchies, node, checked.kept, checked.loss / total / weight, settings.k)


def _bounds(encoded: Encoded, settings: SearchSettings) -> tuple[Node, Node]:
    heights = encoded.heights
    low = tuple(min(settings.min_levels.get(c, 0), h) for c, h in zip(encoded.columns, heights, strict=True))
    high = tuple(min(settings.max_levels.get(c, h), h) for c, h in zip(encoded.columns, heights, strict=True))
    return low, tuple(max(a, b) for a, b in zip(low, high, strict=True))


def _best(encoded: Encoded, settings: SearchSettings, lowest: Node, highest: Node, budget: float) -> tuple[Node, Checked] | None:
    """Best first from the finest node. A node's successors have no lesser bound, so each is pushed when the node is met."""
    best: tuple[Node, Checked] | None = None
    failed = _Failed()
    queue: list[tuple[float, Node]] = [(encoded.bound(lowest), lowest)]
    seen = {lowest}
    while queue:
        bound, node = heapq.heappop(queue)
        if best is not None and bound >= best[1].loss:
            break
        if not failed.covers(node):
            checked = _check(encoded, node, settings)
            if checked.suppressed_rows > budget:
                _probe_upwards(encoded, node, highest, settings, budget, failed)
            elif best is None or checked.loss < best[1].loss:
                best = (node, checked)
        for column, level in enumerate(node):
            above = (*node[:column], level + 1, *node[column + 1 :])
            if level < highest[column] and above not in seen:
                seen.add(above)
                heapq.heappush(queue, (encoded.bound(above), above))
    return best


def _probe_upwards(encoded: Encoded, node: Node, highest: Node, settings: SearchSettings, budget: float, failed: _Failed) -> None:
    """Walk a path from a failed node up, halving it: the coarsest failed node on it rules out all that are finer."""
    path = [node]
    while path[-1] != highest:
        last = path[-1]
        column = max((c for c in range(len(last)) if last[c] < highest[c]), key=lambda c: highest[c] - last[c])
        path.append((*last[:column], last[column] + 1, *last[column + 1 :]))
    low, high = 0, len(path) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _check(encoded, path[middle], settings).suppressed_rows > budget:
            low = middle
        else:
            high = middle - 1
    failed.add(path[low])


class _Failed:
    """The coarsest nodes known to fail; every finer node fails with them, for what is suppressed at a node is suppressed below it."""

    def __init__(self) -> None:
        self._nodes = np.zeros((0, 0), np.int64)

    def add(self, node: Node) -> None:
        row = np.array([node], np.int64)
        kept = self._nodes[~(self._nodes <= row).all(axis=1)] if len(self._nodes) else np.zeros((0, len(node)), np.int64)
        self._nodes = np.concatenate([kept, row])

    def covers(self, node: Node) -> bool:
        return bool(len(self._nodes)) and bool((self._nodes >= np.array(node)).all(axis=1).any())


def _check(encoded: Encoded, node: Node, settings: SearchSettings) -> Checked:
    classes = encoded.classes(node)
    kept = (encoded.sizes(classes) >= settings.k)[classes]
    loss = sum(
        (np.where(kept, encoded.losses[c][level][encoded.codes[:, c]], settings.weights.get(encoded.columns[c], 1.0)) * encoded.rows).sum()
        for c, level in enumerate(node)
    )
    return Checked(float(loss), float(encoded.rows[~kept].sum()), kept)
