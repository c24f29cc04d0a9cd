# ruff: noqa: ARG002  (a model need not look at all that it is given)
"""What a class must hold to be published: each model a frozen object that judges all classes of a node at once.

`k` is counted in subjects by the search itself; the models here judge how often each class holds each sensitive value. All are asked of
the classes that are published, against the whole table as it was given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import Hierarchy

_EPSILON = 1e-9
#: Numbers of people that are looked at together; and a chance under which none is told from none.
_PEOPLE_AT_ONCE, _NEGLIGIBLE = 4096, 1e-300


class PopulationModel(Protocol):
    """A condition on the people of a class in the release and in the population it was drawn from."""

    @property
    def coarse(self) -> bool:
        """As in `Model`."""
        ...

    def holds(self, released: np.ndarray, population: np.ndarray) -> np.ndarray:
        """bool (n). released, population: int64 (n), the people of each class."""
        ...


class Model(Protocol):
    """A condition on the sensitive values of a class."""

    @property
    def column(self) -> str:
        """The sensitive column."""
        ...

    @property
    def coarse(self) -> bool:
        """Whether a class that fails rules out every class within it: then what is suppressed at a node is suppressed at finer ones."""
        ...

    def holds(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """bool (n). counts: int64 (n, s), how often each of n classes holds each of s values; whole: int64 (s), the table's."""
        ...

    def removals(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """float64 (n): how many records of each class must be suppressed, at the least, however it is divided. 0 is always true."""
        ...


class _Unbounded:
    def removals(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.zeros(len(counts))


@dataclass(frozen=True)
class DistinctL(_Unbounded):
    """At least l different sensitive values. Source: Machanavajjhala et al. (2007), l-Diversity, distinct variant."""

    column: str
    l: int  # noqa: E741
    coarse: bool = True

    def holds(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.asarray((counts > 0).sum(axis=1) >= self.l)


@dataclass(frozen=True)
class EntropyL(_Unbounded):
    """The entropy of the sensitive values is at least log(l). Source: Machanavajjhala et al. (2007), definition 4.1."""

    column: str
    l: float  # noqa: E741
    coarse: bool = False

    def holds(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        share = _shares(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.where(share > 0, share * np.log(share), 0.0).sum(axis=1)
        return np.asarray(entropy >= np.log(self.l) - _EPSILON)


@dataclass(frozen=True)
class RecursiveL(_Unbounded):
    """Recursive (c, l)-diversity: the most frequent value is rarer than c times all from the l-th most frequent on together.

    Source: Machanavajjhala et al. (2007), definition 4.2: r1 < c (r_l + r_(l+1) + … + r_s).
    """

    column: str
    c: float
    l: int  # noqa: E741
    coarse: bool = False

    def holds(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        ranked = -np.sort(-counts, axis=1)
        return np.asarray(ranked[:, 0] < self.c * ranked[:, self.l - 1 :].sum(axis=1))


@dataclass(frozen=True)
class CloseT:
    """The earth mover's distance between a class's sensitive values and the table's is at most t.

    distance: `equal` (all values are equally far), `ordered` (a step between neighbours in `order` is 1 / (s - 1)), or `hierarchical`
    (two values are as far as the level at which they meet in `tree`). order: for `ordered`, each value's rank, by default as they are
    numbered; tree: for `hierarchical`, (levels, s), each value's group at each level, finest first, the last being one group.
    Source: Li, Li and Venkatasubramanian (2007), t-Closeness, sections 4.1 to 4.3.
    """

    column: str
    t: float
    distance: str = "equal"
    order: tuple[int, ...] = ()
    tree: tuple[tuple[int, ...], ...] = ()
    coarse: bool = False

    def holds(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.asarray(self.distances(counts, whole) <= self.t + _EPSILON)

    def removals(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        # Parts that hold t make a whole that does (the distance is convex); taking x of n records away moves a class by at most x / n.
        return np.asarray(counts.sum(axis=1) * np.clip(self.distances(counts, whole) - self.t - _EPSILON, 0, 1))

    def distances(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """float64 (n), in [0, 1]."""
        apart = _shares(counts) - _shares(whole[None, :])
        if self.distance == "ordered":
            ranked = apart[:, np.argsort(np.array(self.order))] if self.order else apart
            return np.asarray(np.abs(ranked.cumsum(axis=1)[:, :-1]).sum(axis=1) / max(counts.shape[1] - 1, 1))
        if self.distance == "hierarchical":
            return self._through_the_tree(apart)
        return np.asarray(np.abs(apart).sum(axis=1) / 2)

    def _through_the_tree(self, apart: np.ndarray) -> np.ndarray:
        """What a node of the tree must exchange among its children costs the node's height over the tree's."""
        height = len(self.tree) - 1
        total = np.zeros(len(apart))
        for level in range(1, height + 1):
            below, above = np.array(self.tree[level - 1]), np.array(self.tree[level])
            over, under = np.zeros((len(apart), above.max() + 1)), np.zeros((len(apart), above.max() + 1))
            for child in np.unique(below):
                members = below == child
                extra, parent = apart[:, members].sum(axis=1), above[members][0]
                over[:, parent] += np.maximum(extra, 0)
                under[:, parent] += np.maximum(-extra, 0)
            total += level / height * np.minimum(over, under).sum(axis=1)
        return total


@dataclass(frozen=True)
class BetaLikeness(_Unbounded):
    """No value's share grows by more than a factor: (q - p) / p <= beta for each value with q > p (basic beta-likeness); or
    <= min(beta, -ln p), so that frequent values may grow less (enhanced).

    p: the table's share of a value, q: the class's. Source: Cao and Karras (2012), Publishing microdata with a robust privacy guarantee.
    """

    column: str
    beta: float
    enhanced: bool = True
    coarse: bool = False

    def holds(self, counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
        p, q = _shares(whole[None, :]), _shares(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = np.minimum(self.beta, -np.log(p)) if self.enhanced else np.full_like(p, self.beta)
            gain = np.where(q > p, (q - p) / p, 0.0)
        return np.asarray((gain <= bound + _EPSILON).all(axis=1))


@dataclass(frozen=True)
class DeltaPresence:
    """The chance that a person of the population stands in the release is within [low, high], in every class that is published.

    Source: Nergiz, Atzori and Clifton (2007), Hiding the presence of individuals from shared databases.
    """

    low: float
    high: float
    coarse: bool = False

    def holds(self, released: np.ndarray, population: np.ndarray) -> np.ndarray:
        """bool (n). released, population: int64 (n), the people of each class."""
        share = released / np.maximum(population, 1)
        return np.asarray((share >= self.low - _EPSILON) & (share <= self.high + _EPSILON))


@dataclass(frozen=True)
class KMap:
    """Every class that is published holds k people of the population. Source: Sweeney (2001), k-map; El Emam and Dankar (2008)."""

    k: int
    coarse: bool = True

    def holds(self, released: np.ndarray, population: np.ndarray) -> np.ndarray:
        """bool (n). released, population: int64 (n), the people of each class."""
        return np.asarray(population >= self.k)


def _shares(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.maximum(total, 1))


def safe_sampling_delta(k: int, drawn: float, epsilon: float) -> float:
    """The delta of (epsilon, delta)-differential privacy of drawing each person with probability `drawn` and then holding k, where the
    levels were chosen without looking at the data.

    Source: Li, Qardaji and Su (2012), On sampling, anonymization, and differential privacy, theorem 5: the largest chance, over the numbers n
    of people from ceil(k / gamma - 1), that more than gamma n of them are drawn; gamma = (e^epsilon - 1 + drawn) / e^epsilon. As in ARX.
    Raises ValueError where epsilon is under -ln(1 - drawn): there the theorem says nothing.
    """
    if epsilon < -math.log1p(-drawn) - _EPSILON:
        raise ValueError(f"epsilon must be at least -ln(1 - share) = {-math.log1p(-drawn):.3g} where a share of {drawn:g} is drawn")
    from scipy.special import bdtrc

    gamma = (math.exp(epsilon) - 1 + drawn) / math.exp(epsilon)
    if gamma >= 1:
        return 0.0
    # The chance falls with n but for a saw of period 1 / gamma; by Chernoff it is under exp(-n far), past which no more can come.
    far = math.log(gamma / drawn) * gamma + math.log((1 - gamma) / (1 - drawn)) * (1 - gamma)
    first, most = max(math.ceil(k / gamma - 1), 1), 0.0
    while most == 0.0 or math.exp(-first * far) >= most:
        n = np.arange(first, first + _PEOPLE_AT_ONCE)
        most = max(most, float(bdtrc(np.floor(gamma * n + _EPSILON), n, drawn).max()), _NEGLIGIBLE)
        first += _PEOPLE_AT_ONCE
    return most


def safe_sampling_k(delta: float, drawn: float, epsilon: float) -> int:
    """The least k that gives (epsilon, delta) together with drawing each person with probability `drawn`."""
    low, high = 0, 1
    while safe_sampling_delta(high, drawn, epsilon) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if safe_sampling_delta(middle, drawn, epsilon) > delta else (low, middle)
    return high


def parse_l(text: str) -> Model:
    """`occupation:5`, `occupation:entropy:3`, `occupation:recursive:4:3` (c, l). Raises ValueError."""
    column, _, rest = text.partition(":")
    words = rest.split(":")
    try:
        if len(words) == 1:
            return DistinctL(column, _least_two(words[0]))
        if words[0] == "distinct":
            return DistinctL(column, _least_two(words[1]))
        if words[0] == "entropy" and len(words) == 2 and float(words[1]) > 1:
            return EntropyL(column, float(words[1]))
        if words[0] == "recursive" and len(words) == 3:
            return RecursiveL(column, float(words[1]), _least_two(words[2]))
    except (ValueError, IndexError):
        pass
    raise ValueError(f"'{text}' is no l-diversity. Write COLUMN:L, COLUMN:entropy:L or COLUMN:recursive:C:L, L from 2")


def parse_t(text: str) -> CloseT:
    """`occupation:0.2`, `age:ordered:0.15`. Raises ValueError."""
    words = text.split(":")
    try:
        t = float(words[-1])
        if 0 <= t <= 1 and (len(words) == 2 or (len(words) == 3 and words[1] in ("equal", "ordered", "hierarchical"))):
            return CloseT(words[0], t, words[1] if len(words) == 3 else "equal")
    except ValueError:
        pass
    raise ValueError(f"'{text}' is no t-closeness. Write COLUMN:T or COLUMN:ordered:T or COLUMN:hierarchical:T, T from 0 to 1")


def parse_beta(text: str) -> BetaLikeness:
    """`diagnosis:1` (enhanced) or `diagnosis:basic:1`. Raises ValueError."""
    column, _, rest = text.rpartition(":")
    column, _, variant = column.rpartition(":") if column.endswith((":basic", ":enhanced")) else (column, "", "enhanced")
    try:
        beta = float(rest)
        if column and ":" not in column and 0 < beta < math.inf:
            return BetaLikeness(column, beta, variant == "enhanced")
    except ValueError:
        pass
    raise ValueError(f"'{text}' is no beta-likeness. Write COLUMN:BETA or COLUMN:basic:BETA, BETA over 0")


def _least_two(text: str) -> int:
    if int(text) < 2:
        raise ValueError
    return int(text)


def fitted(model: Model, values: pa.Array, hierarchy: Hierarchy | None) -> Model:
    """A model that knows the values it will meet. values: as `values_in_order`; hierarchy: the sensitive column's own.

    Only t-closeness needs it: `ordered` takes numbers by size, else the order of a file's leaves, else the alphabet; `hierarchical` takes the
    hierarchy. Raises ValueError where there is none, or it does not cover a value.
    """
    if not isinstance(model, CloseT) or model.distance == "equal":
        return model
    if model.distance == "ordered":
        return replace(model, order=ranks(values, hierarchy))
    if hierarchy is None:
        raise ValueError(f"hierarchical t-closeness of '{model.column}' needs its hierarchy")
    levels = [pc.dictionary_encode(hierarchy.generalize(values, level), null_encoding="encode") for level in range(len(hierarchy.levels))]
    return replace(model, tree=tuple(tuple(level.indices.to_pylist()) for level in levels))


def ranks(values: pa.Array, hierarchy: Hierarchy | None) -> tuple[int, ...]:
    """Each value's rank, null last."""
    texts = values.cast(pa.string()).to_pylist()
    leaves = list(getattr(hierarchy, "rows", {}))
    if all(text is None or _is_number(text) for text in texts):
        keys = [(text is None, float(text or 0), "") for text in texts]
    elif leaves:
        keys = [(text is None, float(leaves.index(text)) if text in leaves else len(leaves), text or "") for text in texts]
    else:
        keys = [(text is None, 0.0, text or "") for text in texts]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return tuple(int(rank) for rank in np.argsort(order))


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def columns_of(models: Sequence[Model]) -> list[str]:
    """The sensitive columns of some models, each once, in order."""
    return list(dict.fromkeys(model.column for model in models))
