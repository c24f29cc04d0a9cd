"""Local recoding: each record is generalized as little as its own surroundings ask for, and nothing need be suppressed.

Classes that hold are peeled off in the order of what they cost: nodes of the lattice by the mean loss of the records that are still
left (reckoned anew as they go), and at a node the classes whose own loss is no more than the node's turn; the others wait for theirs.
What is left in the end is fewer than k subjects: each goes to the published class that it makes coarser at the least cost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.base import ANY, Hierarchy
from anonymize.privacy.judge import Judge, SearchSettings
from anonymize.privacy.lattice import Cells, Encoded, Node, encode
from anonymize.privacy.models import columns_of
from anonymize.privacy.search import bounds, outer_sum, unreachable
from anonymize.privacy.solution import SUPPRESSED
from anonymize.privacy.tuples import Tuples

#: Costs are reckoned anew when this share of the records has left, or so many nodes were met.
_SHRINK, _BATCH = 0.95, 500
#: How much more than its node a class may cost to be taken now.
_SLACK = 0.02
_MOST_NODES = 30_000_000


@dataclass(frozen=True)
class LocalSolution:
    """What is published for each tuple of the tally.

    tuples: those that are published; published: by column, what stands for each, dictionary of string; loss, k, classes,
    suppressed: as in `Solution`; shares: by column, the share of published records at each of its levels.
    """

    hierarchies: Mapping[str, Hierarchy]
    tuples: Tuples = field(repr=False)
    published: Mapping[str, pa.DictionaryArray] = field(repr=False)
    shares: Mapping[str, tuple[float, ...]]
    loss: float
    k: int
    classes: int
    suppressed: int
    checks: int = 0

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its quasi-identifiers generalized (strings), and `__suppressed`: bool. A tuple that the search has not seen is
        suppressed: closed by default."""
        exact = [hierarchy.generalize(batch[name], 0) for name, hierarchy in self.hierarchies.items()]
        places = self.tuples.find(exact, batch.num_rows)
        found = pa.array(places, mask=places < 0)
        general = {name: pc.fill_null(_texts(values, found), ANY) for name, values in self.published.items()}
        known = pc.is_valid(found)
        nulls = {name: pc.and_(known, pc.is_null(_texts(values, found))) for name, values in self.published.items()}
        arrays = [
            pc.if_else(nulls[name], pa.scalar(None, pa.string()), general[name]) if name in general else batch[name]
            for name in batch.schema.names
        ]
        return pa.RecordBatch.from_arrays([*arrays, pc.invert(known)], names=[*batch.schema.names, SUPPRESSED])

    def counts(self) -> dict[str, Any]:
        """What may stand in a record: by column, the share of records at each level."""
        levels = {
            name: {h.levels[level]: round(share, 4) for level, share in enumerate(self.shares[name]) if share}
            for name, h in self.hierarchies.items()
        }
        return {"k": self.k, "classes": self.classes, "loss": round(self.loss, 6), "levels": levels}


def _texts(values: pa.DictionaryArray, found: pa.Array) -> pa.Array:
    return values.dictionary.take(values.indices.take(found))


def recode_locally(
    tally: pa.Table, hierarchies: Mapping[str, Hierarchy], settings: SearchSettings, *, subject: str | None = None
) -> LocalSolution:
    """Local recoding of what `search` takes; equal tuples are published alike.

    Suppresses only where the settings' highest levels or models leave no other way, and no more than `suppression`.
    Raises AnonymizeError where that is not enough.
    """
    encoded = encode(tally, hierarchies, settings.weights, subject, columns_of(settings.models))
    peeler = Peeler(encoded, settings)
    if encoded.total:
        peeler.run()
    return peeler.solution(hierarchies)


class Peeler:
    """The state of one local recoding: at which node each tuple is published, -1 where not yet."""

    def __init__(self, encoded: Encoded, settings: SearchSettings) -> None:
        self.encoded, self.settings = encoded, settings
        self.lowest, self.highest = bounds(encoded, settings)
        shape = [h - w + 1 for w, h in zip(self.lowest, self.highest, strict=True)]
        if np.prod([float(side) for side in shape]) > _MOST_NODES:
            raise AnonymizeError("local recoding meets every node of the lattice, and here are too many: set min-level or max-level of columns")
        grid = np.indices(shape).reshape(len(shape), -1).T if shape else np.zeros((1, 0), np.int64)
        self.nodes = np.ascontiguousarray(grid + np.array(self.lowest, np.int64)).astype(np.int64)
        self.place = np.full(len(encoded.cells), -1, np.int64)
        self.levels = np.zeros((len(encoded.cells), len(shape)), np.int64)
        self.checks = 0
        self._later = np.zeros(len(self.nodes))
        self._until = time.monotonic() + settings.seconds if settings.seconds else float("inf")

    def run(self) -> None:
        """Peel, then house what is left."""
        left = np.arange(len(self.place))
        while len(left) and np.isfinite(self._later).any() and time.monotonic() < self._until:
            left = self._round(left)
        published = self.place >= 0
        self.levels[published] = self.nodes[self.place[published]]
        if len(left):
            self._house(left)
        lost = int(self.encoded.cells.rows[self.place < 0].sum())
        if lost > int(self.settings.suppression * self.encoded.total + 1e-9):
            raise AnonymizeError(unreachable(Judge(self.encoded, self.settings), self.highest))

    def _round(self, left: np.ndarray) -> np.ndarray:
        """Meet the next nodes in the order of their cost."""
        costs = np.maximum(self._costs(left), self._later)
        open_ = np.flatnonzero(np.isfinite(costs))
        if len(open_) > _BATCH:
            open_ = open_[np.argpartition(costs[open_], _BATCH)[:_BATCH]]
        order = open_[np.argsort(costs[open_], kind="stable")]
        stop = int(self.encoded.cells.rows[left].sum() * _SHRINK)
        if self.settings.models or self.settings.population or self._too_wide():
            return self._met_one_by_one(left, order, costs[order], stop)
        return self._met_compiled(left, order, costs[order], stop)

    def _met_compiled(self, left: np.ndarray, order: np.ndarray, costs: np.ndarray, stop: int) -> np.ndarray:
        from anonymize.privacy import peeling

        e, cells = self.encoded, self.encoded.cells
        height = len(e.groups)
        widths = np.array([[*w, *[w[-1]] * (height - len(w))] for w in e.widths], np.int64)
        subjects = cells.subjects[left] if len(cells.subjects) else cells.subjects
        place = np.full(len(left), -1, np.int64)
        kept, visited = peeling.peel(
            cells.codes[left], cells.rows[left], subjects, e.groups, e.losses, e.starts, widths,
            self.nodes[order], costs, order, self.settings.k, _SLACK, stop, place, self._later,
        )  # fmt: skip
        self.place[left] = place
        self.checks += int(visited)
        return left[kept]

    def _met_one_by_one(self, left: np.ndarray, order: np.ndarray, costs: np.ndarray, stop: int) -> np.ndarray:
        """As compiled, for models that look at sensitive values."""
        for number, cost in zip(order, costs, strict=True):
            part = _part(self.encoded, left)
            if part.total <= stop:
                break
            node = tuple(int(level) for level in self.nodes[number])
            ids, good = self._good(part, node)
            first = np.unique(ids, return_index=True)[1]
            codes = part.cells.codes[first]
            own = part.losses[np.array(node, np.int64)[None, :], codes].sum(axis=1) if len(node) else np.zeros(len(first))
            now = good & (own <= cost * (1 + _SLACK) + 1e-12)
            waiting = good & ~now
            self._later[number] = own[waiting].min() if waiting.any() else np.inf
            self.place[left[now[ids]]] = number
            left = left[~now[ids]]
            self.checks += 1
        return left

    def _good(self, part: Encoded, node: Node) -> tuple[np.ndarray, np.ndarray]:
        ids, count = part.classes(node)
        judge = Judge(part, self.settings, whole=self.encoded)
        return ids, judge.good(ids, count, part.sizes(ids, count))[1]

    def _too_wide(self) -> bool:
        return float(np.prod([float(max(w)) for w in self.encoded.widths])) >= 2.0**62

    def _costs(self, left: np.ndarray) -> np.ndarray:
        """float64 (nodes): the mean loss of what is left at each node."""
        part = _part(self.encoded, left)
        marginals = part.marginals(part.leaf_rows())
        parts = [m[a : b + 1] for m, a, b in zip(marginals, self.lowest, self.highest, strict=True)]
        return outer_sum(parts).reshape(-1) / max(part.total, 1)

    def _house(self, left: np.ndarray) -> None:
        """Each tuple that is left goes to the class that it makes coarser at the least cost, if that class still holds."""
        same = _part(self.encoded, left).classes((0,) * len(self.highest))[0]
        for tuple_ in range(int(same.max()) + 1):
            members = left[same == tuple_]
            for class_, node in self._hosts(members[0]):
                if self._holds(np.concatenate([class_, members]), node):
                    together = np.concatenate([class_, members])
                    self.levels[together] = node
                    self.place[together] = 0
                    break

    def _hosts(self, newcomer: int) -> list[tuple[np.ndarray, Node]]:
        """The classes published so far, and the node at which each would take a tuple in, the cheapest first."""
        published = np.flatnonzero(self.place >= 0)
        ids, first = self._published_classes(published)
        levels = self.levels[published[first]].copy()
        codes = self.encoded.cells.codes
        for c in range(levels.shape[1]):
            ladder = self.encoded.groups[:, codes[newcomer, c]][None, :] == self.encoded.groups[:, codes[published[first], c]].T
            meets = np.where(ladder.any(axis=1), ladder.argmax(axis=1), 1 << 20)
            levels[:, c] = np.maximum(levels[:, c], meets)
        able = np.flatnonzero((levels <= np.array(self.highest)).all(axis=1))
        rows = np.bincount(ids, self.encoded.cells.rows[published], len(first))
        before = self._loss_at(published[first], self.levels[published[first]])
        after = self._loss_at(published[first][able], levels[able])
        price = rows[able] * (after - before[able]) + after * self.encoded.cells.rows[newcomer]
        chosen = able[np.argsort(price, kind="stable")[:64]]
        return [(published[ids == h], tuple(int(level) for level in levels[h])) for h in chosen]

    def _published_classes(self, published: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class of each published tuple, and each class's first: equal levels and equal groups."""
        codes, levels = self.encoded.cells.codes[published], self.levels[published]
        key, size = np.zeros(len(published), np.int64), 1
        for c in range(levels.shape[1]):
            for part in (levels[:, c], self.encoded.groups[levels[:, c], codes[:, c]]):
                width = int(part.max(initial=0)) + 1
                if size * width > 1 << 62:
                    key = np.unique(key, return_inverse=True)[1].astype(np.int64)
                    size = int(key.max(initial=0)) + 1
                key, size = key * width + part, size * width
        _, first, ids = np.unique(key, return_index=True, return_inverse=True)
        return ids, first

    def _loss_at(self, tuples: np.ndarray, levels: np.ndarray) -> np.ndarray:
        return np.asarray(self.encoded.losses[levels, self.encoded.cells.codes[tuples]].sum(axis=1))

    def _holds(self, members: np.ndarray, node: Node) -> bool:
        ids, good = self._good(_part(self.encoded, np.sort(members)), node)
        return bool(good.all()) and len(good) == 1 and len(ids) > 0

    def solution(self, hierarchies: Mapping[str, Hierarchy]) -> LocalSolution:
        """What was found, by tuple."""
        e = self.encoded
        published = np.flatnonzero(self.place >= 0)
        rows = e.cells.rows[published]
        ids, first = self._published_classes(published) if len(published) else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        part = _part(e, published)
        sizes = part.sizes(ids.astype(np.int32), len(first))
        lost = e.total - int(rows.sum())
        total = float((self._loss_at(published, self.levels[published]) * rows).sum()) + lost * e.weight if len(published) else lost * e.weight
        tuples, labels = _published_tuples(e, hierarchies, published, self.levels)
        shares = {
            name: tuple((np.bincount(self.levels[published, c], rows, h + 1) / max(rows.sum(), 1)).tolist())
            for c, (name, h) in enumerate(zip(e.columns, e.heights, strict=True))
        }
        loss = total / max(e.total, 1) / max(e.weight, 1e-300)
        smallest = int(sizes[np.bincount(ids, rows, len(first)) > 0].min()) if rows.sum() else 0
        return LocalSolution(hierarchies, tuples, labels, shares, loss, smallest, len(first), lost, self.checks)


def _part(encoded: Encoded, some: np.ndarray) -> Encoded:
    """Some tuples of a tally. some: positions, ascending, so that subjects stay in order."""
    cells = encoded.cells
    part = Cells(
        cells.codes[some],
        cells.rows[some],
        cells.subjects[some] if len(cells.subjects) else cells.subjects,
        cells.at,
        cells.population[some] if len(cells.population) else cells.population,
    )
    sensitive = {name: replace(held, codes=held.codes[some]) for name, held in encoded.sensitive.items()}
    return replace(encoded, cells=part, sensitive=sensitive)


def _published_tuples(
    encoded: Encoded, hierarchies: Mapping[str, Hierarchy], published: np.ndarray, levels: np.ndarray
) -> tuple[Tuples, dict[str, pa.DictionaryArray]]:
    """Each distinct tuple that is published, and by column what stands for it."""
    if not len(published):
        empty = pa.array([], pa.string()).dictionary_encode()
        return Tuples([pa.array([], pa.string())] * len(encoded.columns)), dict.fromkeys(encoded.columns, empty)
    ids = _part(encoded, published).classes((0,) * len(encoded.columns))[0]
    one = published[np.unique(ids, return_index=True)[1]]
    exact, labels = [], {}
    for c, name in enumerate(encoded.columns):
        leaf = encoded.cells.codes[one, c] - encoded.starts[c]
        ladder = [encoded.labels(hierarchies, c, level) for level in range(encoded.heights[c] + 1)]
        exact.append(ladder[0].take(pa.array(leaf)))
        every = pa.concat_arrays([step.cast(pa.string()) for step in ladder])
        labels[name] = pa.DictionaryArray.from_arrays(pa.array(levels[one, c] * len(ladder[0]) + leaf, pa.int32()), every)
    return Tuples(exact), labels
