"""How likely somebody is found in a release: figures from the sizes of its equivalence classes alone.

Sources: El Emam (2013), Guide to the De-Identification of Personal Health Information, for the three attackers; Hoshino (2001), Pitman's model;
Zayatz (1991); Chen and Keller-McNulty (1998), the slide negative binomial model (SNB), with Shlosser's estimator of classes as in Haas and
Stokes (1998); Dankar et al. (2012), Estimating the re-identification risk of clinical data sets, for the choice among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """Equivalence classes by their size: size[i] subjects are in each of count[i] classes."""

    size: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, histogram: Mapping[int, int]) -> Sizes:
        """From size -> number of classes."""
        sizes = sorted(histogram)
        return cls(np.array(sizes, np.int64), np.array([histogram[size] for size in sizes], np.int64))

    @property
    def subjects(self) -> int:
        """All people."""
        return int((self.size * self.count).sum())

    @property
    def classes(self) -> int:
        """All classes."""
        return int(self.count.sum())

    def of_size(self, size: int) -> int:
        """The classes of a size."""
        return int(self.count[self.size == size].sum())


@dataclass(frozen=True)
class Risk:
    """Chances, from 0 to 1.

    highest, average, at_risk: of the prosecutor, who knows that the person is in the release: in the smallest class, over all people, and the
    share of people whose own is over the threshold. journalist: highest, of one who knows only that she is in the population; marketer: the
    share of people that one finds who matches everybody with the population. unique: share alone in their class; population_unique: the
    estimated share of the population that is alone in it, by `model`.
    """

    subjects: int
    classes: int
    highest: float
    average: float
    at_risk: float
    threshold: float
    journalist: float
    marketer: float
    unique: float
    population_unique: float
    model: str

    def asdict(self) -> dict[str, Any]:
        """For a record."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def risk(sizes: Sizes, *, threshold: float = 0.09, population: int | None = None) -> Risk:
    """The risk of a release. threshold: 0.09 is EMA's (policy 0070); population: the people it was drawn from, by default no more than it.

    A class's people in the population are estimated by their share: size over the sampling fraction.
    """
    n = sizes.subjects
    if not n:
        return Risk(0, 0, 0.0, 0.0, 0.0, threshold, 0.0, 0.0, 0.0, 0.0, "none")
    people = max(population or n, n)
    drawn = n / people
    chance = 1 / sizes.size
    share = sizes.size * sizes.count / n
    uniques, model = population_uniques(sizes, people)
    return Risk(
        subjects=n,
        classes=sizes.classes,
        highest=float(chance.max()),
        average=sizes.classes / n,
        at_risk=float(share[chance > threshold + 1e-12].sum()),
        threshold=threshold,
        journalist=float(chance.max()) * drawn,
        marketer=sizes.classes / n * drawn,
        unique=sizes.of_size(1) / n,
        population_unique=min(uniques / people, 1.0),
        model=model,
    )


def population_uniques(sizes: Sizes, people: int) -> tuple[float, str]:
    """The estimated number of people who are alone in their class in the population, and the model that Dankar's rule takes for it."""
    if not sizes.of_size(1):
        return 0.0, "no subject is alone"
    if sizes.subjects >= people:
        return float(sizes.of_size(1)), "everybody is in the release"
    if sizes.subjects / people <= 0.1:
        found = pitman(sizes, people)
        return (found, "Pitman") if found > 0 else (zayatz(sizes, people), "Zayatz")
    one, other = zayatz(sizes, people), snb(sizes, people)
    return (other, "SNB") if 0 < other <= one else (one, "Zayatz")


def zayatz(sizes: Sizes, people: int) -> float:
    """Zayatz's estimate of the population's uniques."""
    from scipy.stats import hypergeom

    n, alone = sizes.subjects, sizes.of_size(1)
    shares = sizes.count / sizes.classes
    one_drawn = hypergeom.pmf(1, people, sizes.size, n)
    certain = alone / sizes.classes * (n / people) / float((shares * one_drawn).sum())
    return alone * certain / (n / people)


def pitman(sizes: Sizes, people: int) -> float:
    """Pitman's, by maximum likelihood; 0 where it has none."""
    from scipy.optimize import minimize
    from scipy.special import expit, gammaln

    n, u = sizes.subjects, sizes.classes

    def parameters(x: np.ndarray) -> tuple[float, float]:
        alpha = float(expit(x[0]))
        return alpha, float(np.exp(np.clip(x[1], -700, 700))) - alpha

    def surprise(x: np.ndarray) -> float:
        alpha, theta = parameters(x)
        if not 0 < alpha < 1:
            return float("inf")
        seats = (u - 1) * np.log(alpha) + gammaln(theta / alpha + u) - gammaln(theta / alpha + 1)
        within = (sizes.count * (gammaln(sizes.size - alpha) - gammaln(1 - alpha))).sum()
        return float(gammaln(theta + n) - gammaln(theta + 1) - seats - within)

    found = min((minimize(surprise, start, method="Nelder-Mead") for start in ([0.0, 0.0], [-2.0, 5.0], [1.0, 2.0])), key=lambda f: f.fun)
    alpha, theta = parameters(found.x)
    uniques = float(np.exp(gammaln(theta + 1) - gammaln(theta + alpha) + alpha * np.log(people)))
    return uniques if np.isfinite(uniques) and uniques <= people else 0.0


def snb(sizes: Sizes, people: int) -> float:
    """The slide negative binomial model's, by the expected numbers of classes of one and of two; 0 where it has none."""
    from scipy.optimize import least_squares

    f = sizes.subjects / people
    alone, pairs = sizes.of_size(1), sizes.of_size(2)
    s, c = sizes.size.astype(float), sizes.count.astype(float)
    missed = ((1 - f) ** s * c).sum()
    first = (s * f**2 * (1 - f**2) ** (s - 1) * c).sum() / ((1 - f) ** s * ((1 + f) ** s - 1) * c).sum()
    classes = sizes.classes + alone * first * (missed / (s * f * (1 - f) ** (s - 1) * c).sum()) ** 2

    def off(x: np.ndarray) -> np.ndarray:
        a, b = np.exp(x[0]), 1 / (1 + np.exp(-x[1]))
        rest = (1 - f) * (1 - b)
        ones = classes * f * (b / (1 - rest)) ** a * (a * rest / (1 - rest) + 1)
        twos = classes * a * b**a * f**2 * (1 - b) / (2 * (1 - rest) ** (a + 2)) * (2 - (1 - a) * rest)
        return np.array([ones / alone - 1, (twos - pairs) / max(pairs, 1)])

    tries = [least_squares(off, start, bounds=([-20, -20], [20, 20])) for start in ([0.0, 0.0], [-2.0, -2.0], [0.0, -4.0])]
    found = min(tries, key=lambda t: t.cost)
    if found.cost > 1e-4:
        return 0.0
    uniques = float(classes * (1 / (1 + np.exp(-found.x[1]))) ** np.exp(found.x[0]))
    return uniques if np.isfinite(uniques) and uniques <= people else 0.0


def discernibility(sizes: Sizes, suppressed: int) -> float:
    """(sum of squares of the class sizes + suppressed x all) / all^2, in [0, 1]. Source: Bayardo and Agrawal (2005)."""
    rows = sizes.subjects + suppressed
    return float((sizes.size.astype(float) ** 2 * sizes.count).sum() + suppressed * rows) / max(rows, 1) ** 2


def average_class(sizes: Sizes, k: int) -> float:
    """Mean class size over k; 1 is the best there is. Source: LeFevre et al. (2006)."""
    return sizes.subjects / max(sizes.classes, 1) / k


def entropy_left(before: np.ndarray, after: np.ndarray, counts: np.ndarray) -> float:
    """The share of a column's information that its published values keep: 1 - H(before | after) / H(before).

    before, after: int (n), the number of each distinct pair's value before and after; counts: int64 (n), rows. Source: Gionis and Tassa (2009),
    non-uniform entropy.
    """
    total = counts.sum()

    def bits(labels: np.ndarray) -> float:
        share = np.bincount(labels, counts) / total
        return float(-(share[share > 0] * np.log2(share[share > 0])).sum())

    whole = bits(before)
    both = np.unique(np.stack([before, after]), axis=1, return_inverse=True)[1].reshape(-1)
    return 1.0 if whole == 0 else 1 - (bits(both) - bits(after)) / whole
