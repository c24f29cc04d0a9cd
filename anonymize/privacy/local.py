"""Local recoding: each record is generalized as little as its own surroundings ask for, and nothing need be suppressed.

Classes that hold are peeled off in the order of what they cost: nodes of the lattice by the mean loss of the records that are still
left (reckoned anew as they go), and at a node the classes whose own loss is no more than the node's turn; the others wait for theirs.
What is left in the end is fewer than k subjects: each goes to the published class that it makes coarser at the least cost. Then, where k is all
that is asked, tuples move between classes, dear classes are dissolved and large ones parted, while that loses less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.base import ANY, Hierarchy
from anonymize.privacy.judge import WORK_A_NODE, Judge, Progress, SearchSettings
from anonymize.privacy.lattice import Encoded, Node, encode
from anonymize.privacy.models import columns_of
from anonymize.privacy.search import bounds, outer_sum, unreachable
from anonymize.privacy.solution import SUPPRESSED
from anonymize.privacy.tuples import Tuples

#: Costs are reckoned anew when this share of the records has left, or so many nodes were met.
_SHRINK, _BATCH = 0.95, 500
#: How much more than its node a class may cost to be taken now.
_SLACK = 0.02
_MOST_NODES = 30_000_000
#: So many classes are tried for a tuple that is left over, the cheapest first.
_TRIED = 64
#: So often a class is looked at as a host, a tuple, when the outcome is made better: the most is won early, the rest can cost ten times as much.
_VISITS = 1000


@dataclass(frozen=True)
class LocalSolution:
    """What is published for each tuple of the tally.

    tuples: those that are published; published: by column, what stands for each, dictionary of string; loss, k, classes,
    suppressed: as in `Solution`; shares: by column, the share of published records at each of its levels; cut: the share of records that the
    budget left to be made as coarse as need be.
    """

    has_text: ClassVar[bool] = False
    hierarchies: Mapping[str, Hierarchy]
    tuples: Tuples = field(repr=False)
    published: Mapping[str, pa.DictionaryArray] = field(repr=False)
    shares: Mapping[str, tuple[float, ...]]
    loss: float
    k: int
    classes: int
    suppressed: int
    checks: int = 0
    cut: float = 0.0

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
        words = f"the budget ended the search: {self.cut:.1%} of the records were made as coarse as need be, and may be coarser than they must"
        cut = {"cut": words} if self.cut else {}
        return {"k": self.k, "classes": self.classes, "loss": round(self.loss, 6), "levels": levels, **cut}


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
        self.judge = Judge(encoded, settings)
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
        self._work, self.cut = settings.work, 0.0

    def run(self) -> None:
        """Peel, then house what is left."""
        left = np.arange(len(self.place))
        while self.encoded.cells.rows[left].any() and np.isfinite(self._later).any() and self._work > 0:
            left = self._round(left)
            self.settings.tell(Progress(self.checks, published=1 - float(self.encoded.cells.rows[left].sum()) / self.encoded.total))
        if self._work <= 0:
            left = self._coarsely(left)
        published = self.place >= 0
        self.levels[published] = self.nodes[self.place[published]]
        left = left[self.encoded.cells.rows[left] > 0]  # of the population no one need be housed
        if len(left):
            self._house(left)
        self._improve()
        lost = int(self.encoded.cells.rows[self.place < 0].sum())
        if lost > int(self.settings.suppression * self.encoded.total + 1e-9):
            raise AnonymizeError(unreachable(self.judge, self.highest))

    def _improve(self) -> None:
        """Move tuples between classes, and dissolve and part classes, where that loses less. Only where k is all that is asked, and a tuple's
        records are subjects of their own: then sizes alone say what holds."""
        from anonymize.privacy import improving

        e, published = self.encoded, np.flatnonzero(self.place >= 0)
        if self._one_by_one or len(e.cells.subjects) or not len(published):
            return
        ids, first = self._published_classes(published)
        ids = ids.astype(np.int64)
        visits = min(_VISITS * len(published), self._work / max(len(self.highest), 1))
        lowest, highest = np.array(self.lowest, np.int64), np.array(self.highest, np.int64)
        codes, rows = e.cells.codes[published], e.cells.rows[published]
        levels, _ = improving.improve(codes, rows, ids, len(first), lowest, highest, e.groups, e.losses, e.starts, self.settings.k, visits)
        self.levels[published] = levels[ids]

    def _coarsely(self, left: np.ndarray) -> np.ndarray:
        """Publish what the budget left, along the cheapest path of ever coarser nodes, whatever it costs."""
        rest = int(self.encoded.cells.rows[left].sum())
        self.cut = rest / self.encoded.total
        marginals = self.encoded.part(left).marginals(self.encoded.part(left).leaf_rows())
        path, at, shape = [], list(self.lowest), [high - low + 1 for low, high in zip(self.lowest, self.highest, strict=True)]
        while True:
            path.append(int(np.ravel_multi_index([a - low for a, low in zip(at, self.lowest, strict=True)], shape)))
            steps = [(float(marginals[c][at[c] + 1] - marginals[c][at[c]]), c) for c in range(len(at)) if at[c] < self.highest[c]]
            if not steps:
                break
            at[min(steps)[1]] += 1
        self._work = float("inf")
        order = np.array(path, np.int64)
        costs = np.full(len(order), self.encoded.weight)
        met = self._met_one_by_one if self._one_by_one else self._met_compiled
        return met(left, order, costs, 0)

    def _round(self, left: np.ndarray) -> np.ndarray:
        """Meet the next nodes in the order of their cost."""
        costs = np.maximum(self._costs(left), self._later)
        open_ = np.flatnonzero(np.isfinite(costs))
        if len(open_) > _BATCH:
            open_ = open_[np.argpartition(costs[open_], _BATCH)[:_BATCH]]
        order = open_[np.argsort(costs[open_], kind="stable")]
        stop = int(self.encoded.cells.rows[left].sum() * _SHRINK)
        met = self._met_one_by_one if self._one_by_one else self._met_compiled
        return met(left, order, costs[order], stop)

    def _met_compiled(self, left: np.ndarray, order: np.ndarray, costs: np.ndarray, stop: int) -> np.ndarray:
        from anonymize.privacy import peeling

        e, cells = self.encoded, self.encoded.cells
        height = len(e.groups)
        widths = np.array([[*w, *[w[-1]] * (height - len(w))] for w in e.widths], np.int64)
        subjects = cells.subjects[left] if len(cells.subjects) else cells.subjects
        place = np.full(len(left), -1, np.int64)
        kept, visited, done = peeling.peel(
            cells.codes[left], cells.rows[left], subjects, e.groups, e.losses, e.starts, widths,
            self.nodes[order], costs, order, self.settings.k, _SLACK, stop, place, self._later, self._work,
        )  # fmt: skip
        self.place[left] = place
        self.checks += int(visited)
        self._work -= done
        return left[kept]

    def _met_one_by_one(self, left: np.ndarray, order: np.ndarray, costs: np.ndarray, stop: int) -> np.ndarray:
        """As compiled, for models that look at sensitive values. These are asked only of classes that hold k and are not too dear yet."""
        from anonymize.privacy import kernels

        part = self.encoded.part(left)
        for number, cost in zip(order, costs, strict=True):
            if part.total <= stop or self._work <= 0:
                break
            self.checks += 1
            self._work -= len(part.cells) * (len(self.highest) + len(self.settings.models)) + WORK_A_NODE
            node = tuple(int(level) for level in self.nodes[number])
            ids, count = part.classes(node)
            sizes = part.sizes(ids, count)
            large = np.flatnonzero(sizes >= self.settings.k)
            first = kernels.first_of_each(ids, count)[large]
            own = part.losses[self.nodes[number][None, :], part.cells.codes[first]].sum(axis=1)
            cheap = own <= cost * (1 + _SLACK) + 1e-12
            self._later[number] = own[~cheap].min(initial=np.inf)
            if not cheap.any():
                continue
            asked = np.zeros(count, bool)
            asked[large[cheap]] = True
            now = self.judge.of_part(part).good(ids, count, sizes, asked=asked)[1][ids]
            if now.any():
                self.place[left[now]] = number
                left = left[~now]
                part = self.encoded.part(left)
        return left

    def _good(self, part: Encoded, node: Node) -> tuple[np.ndarray, np.ndarray]:
        ids, count = part.classes(node)
        return ids, self.judge.of_part(part).good(ids, count, part.sizes(ids, count))[1]

    @property
    def _one_by_one(self) -> bool:
        """Whether models look at more than k, or a tuple does not fit into a number."""
        if self.settings.models or self.settings.population:
            return True
        return float(np.prod([float(max(w)) for w in self.encoded.widths])) >= 2.0**62

    def _costs(self, left: np.ndarray) -> np.ndarray:
        """float64 (nodes): the mean loss of what is left at each node."""
        part = self.encoded.part(left)
        marginals = part.marginals(part.leaf_rows())
        parts = [m[a : b + 1] for m, a, b in zip(marginals, self.lowest, self.highest, strict=True)]
        return outer_sum(parts).reshape(-1) / max(part.total, 1)

    def _house(self, left: np.ndarray) -> None:
        """Each tuple that is left goes to the class that it makes coarser at the least cost, if that class still holds."""
        from anonymize.privacy import peeling

        published = np.flatnonzero(self.place >= 0)
        if not len(published):
            return
        e, hosts = self.encoded, _Hosts(self, published)
        same = e.part(left).classes((0,) * len(self.highest))[0]
        newcomers = np.split(np.argsort(same, kind="stable"), np.flatnonzero(np.diff(np.sort(same))) + 1)
        highest = np.array(self.highest, np.int64)
        for newcomer in newcomers:
            members = left[newcomer]
            rows = int(e.cells.rows[members].sum())
            found, levels = peeling.cheapest_hosts(
                e.cells.codes[members[0]], rows, hosts.codes, hosts.levels, hosts.rows, hosts.costs, highest, e.groups, e.losses, _TRIED
            )
            for host, at in zip(found, levels, strict=True):
                if self._sure or self._holds(np.concatenate([hosts.members(host), members]), tuple(at.tolist())):
                    hosts.take_in(host, members, at, rows)
                    break
        hosts.settle()

    @property
    def _sure(self) -> bool:
        """Whether a class that holds, holds with newcomers too: true of k and of each model whose failing goes down to parts."""
        return self.settings.coarse

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
        ids, good = self._good(self.encoded.part(np.sort(members)), node)
        return bool(good.all()) and len(good) == 1 and len(ids) > 0

    def solution(self, hierarchies: Mapping[str, Hierarchy]) -> LocalSolution:
        """What was found, by tuple."""
        e = self.encoded
        published = np.flatnonzero(self.place >= 0)
        rows = e.cells.rows[published]
        ids, first = self._published_classes(published) if len(published) else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        part = e.part(published)
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
        return LocalSolution(hierarchies, tuples, labels, shares, loss, smallest, len(first), lost, self.checks, self.cut)


class _Hosts:
    """The published classes while newcomers are taken in. codes, levels: int64 (hosts, m), of a first tuple; rows: int64; costs: float64, a
    record's loss."""

    def __init__(self, peeler: Peeler, published: np.ndarray) -> None:
        self._peeler, self._published = peeler, published
        self._ids, first = peeler._published_classes(published)
        self.codes = peeler.encoded.cells.codes[published[first]]
        self.levels = peeler.levels[published[first]].copy()
        self.rows = np.bincount(self._ids, peeler.encoded.cells.rows[published], len(first)).astype(np.int64)
        self.costs = peeler._loss_at(published[first], self.levels)
        self._new: dict[int, list[np.ndarray]] = {}

    def members(self, host: int) -> np.ndarray:
        """All tuples of a class."""
        return np.concatenate([self._published[self._ids == host], *self._new.get(host, [])])

    def take_in(self, host: int, members: np.ndarray, levels: np.ndarray, rows: int) -> None:
        """Add tuples, and make the class as coarse as they need it."""
        self._new.setdefault(int(host), []).append(members)
        self.levels[host] = levels
        self.rows[host] += rows
        self.costs[host] = self._peeler.encoded.losses[levels, self.codes[host]].sum()

    def settle(self) -> None:
        """Write the classes' levels to all their tuples."""
        changed = np.isin(self._ids, list(self._new))
        self._peeler.levels[self._published[changed]] = self.levels[self._ids[changed]]
        for host, parts in self._new.items():
            for members in parts:
                self._peeler.levels[members] = self.levels[host]
                self._peeler.place[members] = 0


def _published_tuples(
    encoded: Encoded, hierarchies: Mapping[str, Hierarchy], published: np.ndarray, levels: np.ndarray
) -> tuple[Tuples, dict[str, pa.DictionaryArray]]:
    """Each distinct tuple that is published, and by column what stands for it."""
    if not len(published):
        empty = pa.array([], pa.string()).dictionary_encode()
        return Tuples([pa.array([], pa.string())] * len(encoded.columns)), dict.fromkeys(encoded.columns, empty)
    ids = encoded.part(published).classes((0,) * len(encoded.columns))[0]
    one = published[np.unique(ids, return_index=True)[1]]
    exact, labels = [], {}
    for c, name in enumerate(encoded.columns):
        leaf = encoded.cells.codes[one, c] - encoded.starts[c]
        ladder = [encoded.labels(hierarchies, c, level) for level in range(encoded.heights[c] + 1)]
        exact.append(ladder[0].take(pa.array(leaf)))
        every = pa.concat_arrays([step.cast(pa.string()) for step in ladder])
        labels[name] = pa.DictionaryArray.from_arrays(pa.array(levels[one, c] * len(ladder[0]) + leaf, pa.int32()), every)
    return Tuples(exact), labels
