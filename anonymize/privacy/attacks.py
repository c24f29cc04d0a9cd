"""What the models do not see, measured on a release: the shape of `attacks` in a record's `risk`.

`risk: {table: {..., "attacks": {COLUMN: Attacks}}}`, by sensitive column; keys are only ever added:

    {"told": 0.02, "likely": 0.05, "commonest": 0.41, "baseline": 0.33, "values": 3.2,
     "knowing": [{"ruled_out": 0, "certain": 0.02, "highest": 1.0, "average": 0.41},
                 {"ruled_out": 1, "certain": 0.09, "highest": 1.0, "average": 0.58}, ...],
     "minimality": null}

Sources: Machanavajjhala et al. (2007), homogeneity and background knowledge; Martin, Kifer, Machanavajjhala, Gehrke and Halpern (2007),
Worst-case background knowledge for privacy-preserving data publishing; Wong, Fu, Wang and Pei (2007), Minimality attack in privacy
preserving data publishing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anonymize.privacy.utility import rounded


@dataclass(frozen=True)
class Knowing:
    """An attacker who knows of the person that she has not some values, as many as `ruled_out`, those that serve him best.

    certain: the share of subjects whose class has a single value left; highest, average: the chance of the commonest value that is left, in
    the worst class, and over all subjects.
    """

    ruled_out: int
    certain: float
    highest: float
    average: float


@dataclass(frozen=True)
class Minimality:
    """An attacker who knows everybody's quasi-identifiers and that the search loses as little as it can. He sees groups, one step finer in one
    column than the class that they are a part of, that have k subjects and are not published so; what else was asked may be the reason.

    candidates: the share of subjects in such groups, on the average over the quasi-identifiers; confidence: the share of these whose group
    does fail what was asked of the column, so how often he is right; in_class, in_group: over the subjects of failing groups, the mean
    share of the commonest value in their class as published, and in their group, of which he now knows that it is too uniform.
    """

    candidates: float
    confidence: float
    in_class: float
    in_group: float


@dataclass(frozen=True)
class Attacks:
    """A sensitive column's. told: homogeneity, the share of subjects whose class has a single value; likely: those whose class's commonest
    value has a share of 0.9 or more; commonest: the mean share of a class's commonest value over subjects; baseline: that share in the whole
    table, which anybody may guess by; values: the mean number of different values in a subject's class; knowing: by how many values
    the attacker can rule out, 0 to 3; minimality: null where nothing but k was asked, for then the search never looked at the column.

    A missing value tells nothing, but it is one that cannot be ruled out. Where a subject has several values, shares are of its pairs."""

    told: float
    likely: float
    commonest: float
    baseline: float
    values: float
    knowing: tuple[Knowing, ...]
    minimality: Minimality | None

    def asdict(self) -> dict[str, Any]:
        """For a record."""
        return dict(rounded(asdict(self)))


@dataclass(frozen=True)
class Profiles:
    """The classes of a release by how they hold a sensitive column, alike ones together: n kinds, each field int64 (n).

    size: subjects of a class; top (n, 4): its commonest values' subjects, descending, missing ones left out, 0 where there are fewer;
    total: all its pairs of subject and value; values: its number of different values; missing: its subjects without a value; count: how
    many classes are so."""

    size: np.ndarray
    top: np.ndarray
    total: np.ndarray
    values: np.ndarray
    missing: np.ndarray
    count: np.ndarray


def attacks(found: Profiles, baseline: float, minimality: Minimality | None = None) -> Attacks:
    """The figures of one column. baseline: the commonest value's share in the whole table."""
    people = found.size * found.count
    everybody = max(int(people.sum()), 1)

    def mean(of: np.ndarray) -> float:
        return float((of * people).sum() / everybody)

    knowing = []
    for ruled_out in range(4):
        # To rule out the commonest others serves him best, and leaves the commonest of all the likeliest.
        left = np.maximum(found.total - found.top[:, 1 : 1 + ruled_out].sum(axis=1), 1)
        chance = found.top[:, 0] / left
        certain = (found.missing == 0) & (found.values >= 1) & (found.values <= ruled_out + 1)
        knowing.append(Knowing(ruled_out, mean(certain), float(chance.max(initial=0.0)), mean(chance)))
    share = found.top[:, 0] / np.maximum(found.total, 1)
    return Attacks(
        told=knowing[0].certain,
        likely=mean(share >= 0.9),
        commonest=knowing[0].average,
        baseline=baseline,
        values=mean(found.values),
        knowing=tuple(knowing),
        minimality=minimality,
    )
