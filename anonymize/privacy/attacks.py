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
    """An attacker who knows everybody's quasi-identifiers and that the search loses as little as it can. He sees groups, one step finer than
    their class, that have k subjects and are not published so; what else was asked must be the reason.

    candidates: the share of subjects in such groups; confidence: the share of these whose group does fail what was asked of the column, so
    how often he is right; in_class, in_group: the mean share of the commonest value over the subjects of failing groups, in their class
    as published, and in their group, of which the attack tells.
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
