"""Judging a node of the lattice: which classes may be published, and what the node loses. Shared by all searches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import le

import numpy as np

from anonymize.privacy.lattice import Cells, Encoded, Node
from anonymize.privacy.models import Model, PopulationModel

#: Rolled-up cells are kept for so many nodes; more cost more memory than they save.
_KEPT = 24
#: So many cells and columns are counted in a second of a usual core. A budget of seconds is one of this work: the same on every machine.
WORK_A_SECOND = 60_000_000
#: What a node costs beside its cells.
WORK_A_NODE = 20_000
#: In all so many cells, or a quarter of the tally where that is more.
_MOST_CELLS = 2_000_000


@dataclass(frozen=True)
class Progress:
    """How far a search is. checks: nodes counted; gap: the share by which the least loss may still be under the best found, None before one is
    found; published: the share of records that local recoding has placed, None in other searches."""

    checks: int
    gap: float | None = None
    published: float | None = None

    def __str__(self) -> str:
        words = f"{self.checks:,} nodes counted"
        if self.published is not None:
            return f"{words}, {self.published:.1%} of the records placed"
        return words + (", none holds yet" if self.gap is None else f", the best is at most {self.gap:.1%} from the least loss")


@dataclass(frozen=True)
class SearchSettings:
    """What must hold, and what may be lost.

    k: subjects a class; suppression: the largest share of records that may be suppressed; weights, min_levels, max_levels: by column;
    models: what classes must hold beside k; population: what they must hold against the population; seconds: after as much work as a
    usual core does in them the best so far is taken (0: no limit, the optimum); it is counted and not timed, so that the same input gives
    the same outcome; watch: told now and then how far the search is.
    """

    k: int = 5
    suppression: float = 0.05
    weights: Mapping[str, float] = field(default_factory=dict)
    min_levels: Mapping[str, int] = field(default_factory=dict)
    max_levels: Mapping[str, int] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    population: tuple[PopulationModel, ...] = ()
    seconds: float = 0.0
    watch: Callable[[Progress], None] | None = field(default=None, compare=False, repr=False)

    @property
    def work(self) -> float:
        """The budget: cells times columns that may be counted."""
        return self.seconds * WORK_A_SECOND if self.seconds else float("inf")

    def tell(self, progress: Progress) -> None:
        """Say how far the search is."""
        if self.watch is not None:
            self.watch(progress)

    @property
    def coarse(self) -> bool:
        """Whether each class that fails rules out the classes within it, by every model."""
        return all(model.coarse for model in (*self.models, *self.population))


@dataclass(frozen=True)
class Verdict:
    """A node as counted. loss: weighted, summed over records; suppressed: records; lost: float64 (m, levels), the loss of the records
    which no finer node can publish; barred: the number of these."""

    node: Node
    loss: float
    suppressed: int
    barred: int
    least: float
    lost: np.ndarray


class Judge:
    """Counts nodes; keeps small tables of classes to count coarser nodes from."""

    def __init__(self, encoded: Encoded, settings: SearchSettings) -> None:
        self.encoded, self.settings = encoded, settings
        self.checks, self.work = 0, 0
        self.weight = encoded.weight
        self._columns = np.arange(len(encoded.columns))
        self._small: list[Cells] = []
        self._whole = encoded.histograms()

    @cached_property
    def marginals(self) -> np.ndarray:
        """As `Encoded.marginals`, of all records."""
        return self.encoded.marginals(self.encoded.leaf_rows())

    def of_part(self, part: Encoded) -> Judge:
        """A judge of some of the tuples, who compares classes with the whole."""
        other = copy.copy(self)
        other.__dict__.pop("marginals", None)
        other.encoded, other._small = part, []
        return other

    def verdict(self, node: Node) -> Verdict:
        """Count a node."""
        self.checks += 1
        cells = self._cells(node)
        self.work += len(cells) * (len(node) + len(self.settings.models)) + WORK_A_NODE
        ids, count = self.encoded.classes(node, cells)
        sizes = self.encoded.sizes(ids, count, cells)
        barring, good, least = self.good(ids, count, sizes, cells)
        self._keep(node, ids, count, cells)
        lost, barred = self._lost(cells, ids, barring)
        if good is barring:
            own, suppressed = lost, barred
        else:
            own, suppressed = self._lost(cells, ids, good)
        kept = float((self.marginals - own)[self._columns, list(node)].sum())
        return Verdict(node, kept + suppressed * self.weight, suppressed, barred, barred + least, lost)

    def good(
        self, ids: np.ndarray, count: int, sizes: np.ndarray, cells: Cells | None = None, asked: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """bool (count), twice: the classes that pass what bars all finer nodes too, and those that pass everything; and how many records
        of the former must be suppressed at any finer node. asked: bool (count), where only some classes are to be judged."""
        cells = cells or self.encoded.cells
        least = 0.0
        barring = sizes >= self.settings.k if asked is None else (sizes >= self.settings.k) & asked
        good = barring
        for model in self.settings.models:
            passed, removed = self._sensitive(model, ids, count, good)
            least = max(least, removed)
            barring, good = (barring & passed if model.coarse else barring), good & passed
        for people in self.settings.population:
            passed = people.holds(sizes, self._people(ids, count, cells))
            barring, good = (barring & passed if people.coarse else barring), good & passed
        return (good, good, 0.0) if self.settings.coarse else (barring, good, least)

    def _sensitive(self, model: Model, ids: np.ndarray, count: int, asked: np.ndarray) -> tuple[np.ndarray, float]:
        """Judge the classes that have passed so far; the others have failed anyway. And how many records must go from them at least."""
        from anonymize.privacy import kernels

        held = self.encoded.sensitive[model.column]
        places = np.where(asked, np.cumsum(asked) - 1, -1).astype(np.int32)
        cells = self.encoded.cells
        counts = kernels.histogram(ids, places, held.codes, cells.rows, cells.subjects, int(asked.sum()), len(held.values))
        whole = self._whole[model.column]
        passed = np.zeros(count, bool)
        passed[asked] = model.holds(counts, whole)
        least = 0.0 if model.coarse else float(model.removals(counts, whole).sum())
        return passed, least

    @staticmethod
    def _people(ids: np.ndarray, count: int, cells: Cells) -> np.ndarray:
        from anonymize.privacy import kernels

        return kernels.add_up(ids, cells.population, count)

    def _lost(self, cells: Cells, ids: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, int]:
        from anonymize.privacy import kernels

        leaves, total = kernels.lost_leaves(cells.codes, ids, good, cells.rows, int(self.encoded.starts[-1]))
        # After a roll-up one leaf stands for a class: what its records lose below the class's own level is not known, but is no more.
        return self.encoded.marginals(leaves, cells.at), int(total)

    def _cells(self, node: Node) -> Cells:
        """The fewest cells from which a node can be counted."""
        for cells in self._small:
            if all(map(le, cells.at, node)):
                return cells
        return self.encoded.cells

    def _keep(self, node: Node, ids: np.ndarray, count: int, cells: Cells) -> None:
        if self.settings.models or self.settings.population or count > len(cells) // 2 or len(cells) < 4096:
            return
        small = self.encoded.rolled_up(node, ids, count, cells)
        if len(small) <= len(cells) // 2:
            self._small = sorted([*self._small, small], key=len)[:_KEPT]
            while len(self._small) > 1 and sum(map(len, self._small)) > max(_MOST_CELLS, len(self.encoded.cells) // 4):
                self._small.pop()
