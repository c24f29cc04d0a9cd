"""Optimal full-domain generalization: the node of the lattice with the least loss that holds what is asked within the suppression budget.

Loss is additive over columns, so the columns' marginals give each node a lower bound before it is counted; and what is suppressed at a
node stays suppressed at all finer ones, so each count raises the bounds of the whole box below it. Nodes are met in the order of their
bounds; the coarsest node on a path that rules the met one out is found by halving, and rules out the most.
Source: El Emam et al. (2009), OLA; Kohlmayer et al. (2012), Flash, for the path and the roll-up; the bounds are ours.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.base import Hierarchy
from anonymize.privacy.judge import Judge, Progress, SearchSettings, Verdict
from anonymize.privacy.lattice import Encoded, Node, encode
from anonymize.privacy.models import columns_of
from anonymize.privacy.solution import Solution, empty_solution, make_solution

__all__ = ["SearchSettings", "search"]

#: A lattice of more nodes than this is met through a heap; a smaller one as an array of bounds.
_DENSE = 20_000_000


def search(tally: pa.Table, hierarchies: Mapping[str, Hierarchy], settings: SearchSettings, *, subject: str | None = None) -> Solution:
    """The least loss that holds k and the models of the settings.

    tally: the columns of `hierarchies` and `subjects` (int64): distinct tuples with their numbers of distinct subjects, each subject in one
    tuple. Where subjects may stand in several, it is of pairs: also the column `subject`, and `subjects` counts records; then a class holds
    as many as it has distinct subjects. With models it also has their sensitive columns, with a population `__population`.
    Loss: mean over records and columns of each value's loss, suppressed records counting 1.
    Raises AnonymizeError where no node holds: at the top all is one class, so only a table of fewer than k subjects does that, or
    bounds on the levels, or a model that the table as a whole does not hold.
    """
    return search_encoded(Judge(encode(tally, hierarchies, settings.weights, subject, columns_of(settings.models)), settings), hierarchies)


def search_encoded(judge: Judge, hierarchies: Mapping[str, Hierarchy]) -> Solution:
    """As `search`, of what a judge holds: a tally, or a part of one whose classes are compared with the whole."""
    lowest, highest = bounds(judge.encoded, judge.settings)
    if judge.encoded.total == 0:
        return empty_solution(judge.encoded, hierarchies, lowest)
    lattice = Lattice(judge, lowest, highest)
    best = lattice.best()
    if best is None:
        raise AnonymizeError(unreachable(judge, highest))
    return make_solution(judge, hierarchies, best, lattice.gap)


def bounds(encoded: Encoded, settings: SearchSettings) -> tuple[Node, Node]:
    """The finest and the coarsest node that the settings allow."""
    heights = encoded.heights
    low = tuple(min(settings.min_levels.get(c, 0), h) for c, h in zip(encoded.columns, heights, strict=True))
    high = tuple(min(settings.max_levels.get(c, h), h) for c, h in zip(encoded.columns, heights, strict=True))
    return low, tuple(max(a, b) for a, b in zip(low, high, strict=True))


class Lattice:
    """The search for one best node between two."""

    def __init__(self, judge: Judge, lowest: Node, highest: Node) -> None:
        self.judge, self.lowest, self.highest = judge, lowest, highest
        self.budget = int(judge.settings.suppression * judge.encoded.total + 1e-9)
        self.found: Verdict | None = None
        self._seen: dict[Node, Verdict] = {}
        nodes = float(np.prod([float(h - w + 1) for w, h in zip(lowest, highest, strict=True)]))
        self._bounds: _Bounds = _Dense(judge, lowest, highest) if nodes <= _DENSE else _Heap(judge, lowest, highest)
        self.gap = 0.0
        """The share by which the least loss may be under what was found: over 0 where the budget ended the search."""

    def best(self) -> Verdict | None:
        """The least loss within the budget, or None."""
        while (met := self._bounds.least()) is not None:
            node, bound = met
            if bound >= self._target():
                break
            if self.judge.work > self.judge.settings.work and self._holds_something():
                self.gap = self._gap(bound) or 0.0
                break
            self.judge.settings.tell(Progress(self.judge.checks, self._gap(bound)))
            self._climb(node)
            self._bounds.close(node)
        return self.found

    def _holds_something(self) -> bool:
        if self.found is None:
            self._count(self.highest)
        return self.found is not None

    def _gap(self, bound: float) -> float | None:
        return None if self.found is None else max(1 - bound / max(self.found.loss, 1e-300), 0.0)

    def _target(self) -> float:
        return float("inf") if self.found is None else self.found.loss * (1 - 1e-12)

    def _climb(self, node: Node) -> None:
        """Find the coarsest node on a path that rules this one out, or count this one."""
        path = self._bounds.path(node)
        low, high = 0, len(path) - 1
        while low < high:
            middle = (low + high + 1) // 2
            self._count(path[middle])
            if self._bounds.of(node) >= self._target():
                low = middle
            else:
                high = middle - 1
        if self._bounds.of(node) < self._target():
            self._count(node)

    def _count(self, node: Node) -> None:
        if node in self._seen:
            return
        verdict = self._seen[node] = self.judge.verdict(node)
        whole = verdict.least > self.budget or (verdict.suppressed > self.budget == 0 and self._convex)
        self._bounds.learn(verdict, float("inf") if whole else None)
        if verdict.suppressed <= self.budget and verdict.loss < self._target():
            self.found = verdict

    @property
    def _convex(self) -> bool:
        """Whether a class made of classes that hold, holds: true of all models but of presence, whose classes of nobody hold anything."""
        return not self.judge.settings.population


class _Bounds:
    """What is known of the loss of each node between two."""

    def least(self) -> tuple[Node, float] | None:
        """The open node of the least bound."""
        raise NotImplementedError

    def of(self, node: Node) -> float:
        """A node's bound."""
        raise NotImplementedError

    def path(self, node: Node) -> list[Node]:
        """From a node to the top, each the successor with the least bound."""
        raise NotImplementedError

    def learn(self, verdict: Verdict, bound: float | None) -> None:
        """Raise the bounds of all nodes at and below a counted one: to `bound`, or to what it says of each."""
        raise NotImplementedError

    def close(self, node: Node) -> None:
        """A node that was counted is not met again."""
        raise NotImplementedError


class _Dense(_Bounds):
    """Every node's bound in one array."""

    def __init__(self, judge: Judge, lowest: Node, highest: Node) -> None:
        self._judge, self._lowest = judge, lowest
        self._array = outer_sum([m[a : b + 1] for m, a, b in zip(judge.marginals, lowest, highest, strict=True)])
        self._flat = self._array.reshape(-1)
        self._steps = np.array(self._array.strides, np.int64) // self._array.itemsize
        self._low, self._extents = np.array(lowest, np.int64), np.array(self._array.shape, np.int64)

    def least(self) -> tuple[Node, float] | None:
        flat = int(self._flat.argmin())
        value = float(self._flat[flat])
        at = np.unravel_index(flat, self._array.shape)
        return None if value == float("inf") else (tuple(int(a) + w for a, w in zip(at, self._lowest, strict=True)), value)

    def of(self, node: Node) -> float:
        return float(self._array[self._place(node)])

    def path(self, node: Node) -> list[Node]:
        from anonymize.privacy import kernels

        place = np.array(node, np.int64) - self._low
        path = kernels.cheapest_path(self._flat, self._steps, self._extents, place) + self._low
        return [tuple(step) for step in path.tolist()]

    def learn(self, verdict: Verdict, bound: float | None) -> None:
        from anonymize.privacy import kernels

        place = self._place(verdict.node)
        if bound is not None:
            self._array[tuple(slice(0, at + 1) for at in place)] = bound
            return
        kept = self._judge.marginals - verdict.lost
        kernels.raise_bounds(self._flat, self._steps, np.array(place, np.int64) + 1, kept, self._low, verdict.barred * self._judge.weight)

    def close(self, node: Node) -> None:
        self._array[self._place(node)] = float("inf")

    def _place(self, node: Node) -> Node:
        return tuple(a - w for a, w in zip(node, self._lowest, strict=True))


def outer_sum(parts: list[np.ndarray]) -> np.ndarray:
    """Of one array a column, the sum for each node: float64, one axis a column."""
    total = np.zeros((1,) * len(parts))
    for c, part in enumerate(parts):
        total = total + part.reshape([-1 if d == c else 1 for d in range(len(parts))])
    return total


class _Heap(_Bounds):
    """A lattice too large for an array: nodes are met from the finest up, and bounds reckoned when asked for."""

    def __init__(self, judge: Judge, lowest: Node, highest: Node) -> None:
        self._judge, self._highest = judge, highest
        self._known: list[tuple[Node, float | None, Verdict]] = []
        self._closed: set[Node] = set()
        self._pushed = {lowest}
        self._queue = [(self.of(lowest), lowest)]

    def least(self) -> tuple[Node, float] | None:
        while self._queue:
            bound, node = self._queue[0]
            now = self.of(node)
            if node not in self._closed and now <= bound:
                return node, bound
            heapq.heappop(self._queue)
            if node in self._closed or now == float("inf"):
                self._push_above(node)
            else:
                # Its successors may be better than its raised bound: they are met in their own right.
                self._push_above(node)
                heapq.heappush(self._queue, (now, node))
        return None

    def of(self, node: Node) -> float:
        bound = sum(float(self._judge.marginals[c][level]) for c, level in enumerate(node))
        for at, fixed, verdict in self._known:
            if all(a <= b for a, b in zip(node, at, strict=True)):
                bound = max(bound, fixed if fixed is not None else self._from(verdict, node))
        return bound

    def path(self, node: Node) -> list[Node]:
        path = [node]
        while path[-1] != self._highest:
            at = path[-1]
            path.append(min(((*at[:c], level + 1, *at[c + 1 :]) for c, level in enumerate(at) if level < self._highest[c]), key=self.of))
        return path

    def learn(self, verdict: Verdict, bound: float | None) -> None:
        self._known.append((verdict.node, bound, verdict))

    def close(self, node: Node) -> None:
        self._closed.add(node)

    def _from(self, verdict: Verdict, node: Node) -> float:
        kept = sum(float(self._judge.marginals[c][level] - verdict.lost[c][level]) for c, level in enumerate(node))
        return kept + verdict.barred * self._judge.weight

    def _push_above(self, node: Node) -> None:
        for c, level in enumerate(node):
            above = (*node[:c], level + 1, *node[c + 1 :])
            if level < self._highest[c] and above not in self._pushed:
                self._pushed.add(above)
                heapq.heappush(self._queue, (self.of(above), above))


def unreachable(judge: Judge, highest: Node) -> str:
    """Why nothing holds, and what to do: from the coarsest node, the column whose going to its top saves the most records."""
    encoded, settings = judge.encoded, judge.settings
    verdict = judge.verdict(highest)
    words = f"k = {settings.k} cannot be reached over {', '.join(encoded.columns)}: even at the coarsest levels allowed "
    words += f"{verdict.suppressed / encoded.total:.1%} of the records would be suppressed, and {settings.suppression:.1%} may be. "
    limited = [c for c, (at, height) in enumerate(zip(highest, encoded.heights, strict=True)) if at < height]
    if limited:
        saved = {c: judge.verdict((*highest[:c], encoded.heights[c], *highest[c + 1 :])).suppressed for c in limited}
        worst = min(saved, key=saved.__getitem__)
        return words + f"Raise max-level of '{encoded.columns[worst]}' or drop that column; or allow more suppression"
    if settings.models:
        columns = ", ".join(columns_of(settings.models))
        return words + f"The table as a whole does not hold what is asked of {columns}: ask less, or drop the column"
    return words + "The table has too few subjects: wait for more, lower k, or allow more suppression"
