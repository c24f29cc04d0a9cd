"""What a release leaves of the data: the shape of a record's `utility`, and its figures as pure functions of counts.

`validate` records `utility: {table: Utility}` as JSON beside `risk` for every table; a steward's page draws it. The shape is stable, keys
are only ever added:

    {"rows_before": 2000, "rows_after": 1981, "subjects_before": 2000, "subjects_after": 1981, "k": 5,
     "granularity": 0.71, "information": 0.64, "discernibility": 0.012, "average_class": 2.1,
     "columns": {"zip": {"role": "quasi", "kind": "category", "loss": 0.31, "information": 0.58,
                         "total_variation": 0.04, "earth_mover": null,
                         "histogram": {"level": "3 digits",
                                       "bars": [{"label": "021", "before": 410, "after": 409}, ...],
                                       "others": {"label": null, "before": 37, "after": 18}}}},
     "pairs": [{"columns": ["zip", "sex"], "rows": 2000, "v_before": 0.11, "v_after": 0.09, "bits_before": 0.02, "bits_after": 0.01}],
     "left_out": ["note"]}

`before` is the table as it was de-identified, before anything was made coarser or suppressed; `after` is the table as staged. Everything is
a count or a figure, but for a bar's label, and a label is never a source record's own: it is a value that the release publishes of a
quasi-identifier and that k subjects share, or a range of round numbers or years with k subjects in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bar:
    """A category and its subjects before and after (a subject of several categories counts in each). `label` is null for `others`."""

    label: str | None
    before: int
    after: int


@dataclass(frozen=True)
class Histogram:
    """What a column looks like, for a picture. level: the hierarchy's level, or the width of a range (`10`), or `year`; bars: in the
    order of the values where they have one, else the largest first, 40 at the most, each with at least k subjects before and after;
    others: all that is in no bar (rarer, suppressed, or published more coarsely): as many categories as it takes to hold k subjects, or
    null where there are none."""

    level: str
    bars: tuple[Bar, ...]
    others: Bar | None


@dataclass(frozen=True)
class ColumnUtility:
    """One column. role: as in the policy; kind: `category`, `number` or `date`.

    loss: mean over rows of (leaves under the value - 1) / (leaves - 1), a row that did not leave losing 1; null where the column has no
    hierarchy. information: the share of the column's entropy that the published values keep, 0 to 1 (non-uniform entropy); null likewise.
    total_variation: half the sum of the differences of all values' shares of the rows, 0 (same) to 1; a published value stands for each
    of its leaves alike, and values of a number or date are cut to 100 equal ranges. earth_mover: of numbers and dates, how far the
    average value moved over the column's span, 0 to 1 (Wasserstein-1); null for categories. histogram: null where there is none to show.
    """

    role: str
    kind: str
    loss: float | None
    information: float | None
    total_variation: float | None
    earth_mover: float | None
    histogram: Histogram | None


@dataclass(frozen=True)
class PairUtility:
    """Two columns' association before and after. rows: looked at, before; v: Cramér's V, corrected for chance (Bergsma, 2013), 0 to 1;
    bits: mutual information, corrected for chance (Miller and Madow). What is coarser tells less: compare both figures."""

    columns: tuple[str, str]
    rows: int
    v_before: float
    v_after: float
    bits_before: float
    bits_after: float


@dataclass(frozen=True)
class Utility:
    """A table. granularity: 1 - the quasi-identifiers' mean loss; information: their mean; both null where there are none.
    discernibility: the chance that two rows cannot be told apart by their quasi-identifiers, a row that did not leave being like every
    other; average_class: mean number of subjects of a class over k, 1 is the best there is. left_out: columns that are not compared:
    texts, pseudonyms, and what has a type without values to count."""

    rows_before: int
    rows_after: int
    subjects_before: int
    subjects_after: int
    k: int
    granularity: float | None
    information: float | None
    discernibility: float | None
    average_class: float | None
    columns: Mapping[str, ColumnUtility]
    pairs: tuple[PairUtility, ...]
    left_out: tuple[str, ...]

    def asdict(self) -> dict[str, Any]:
        """For a record: floats to 6 digits."""
        return dict(rounded(asdict(self)))


def rounded(value: Any) -> Any:
    """JSON of dataclasses with its floats to 6 digits; tuples become lists."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


# ----------------------------------------------------------------------------------------------------------------------- the figures


def total_variation(before: np.ndarray, after: np.ndarray) -> float:
    """Half the sum of the differences of shares. before, after: weights of the same values, float64 (n); 1 where one of both has none."""
    return float(np.abs(_shares(before) - _shares(after)).sum() / 2) if before.sum() and after.sum() else float(before.sum() != after.sum())


def earth_mover(before: np.ndarray, after: np.ndarray, at: np.ndarray) -> float:
    """Wasserstein-1 over the span. before, after: weights of the same values, float64 (n); at: the values, float64 (n), increasing."""
    if not (before.sum() and after.sum()):
        return float(before.sum() != after.sum())
    if len(at) < 2:
        return 0.0
    carried = np.cumsum(_shares(before) - _shares(after))[:-1]
    return float((np.abs(carried) * np.diff(at)).sum() / (at[-1] - at[0]))


def cramers_v(table: np.ndarray) -> float:
    """Cramér's V of a contingency table, float64 (r, c), corrected for chance. Source: Bergsma (2013), doi 10.1016/j.jkss.2012.10.002."""
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    n, (r, c) = table.sum(), table.shape
    if n < 2 or min(r, c) < 2:
        return 0.0
    expected = np.outer(table.sum(1), table.sum(0)) / n
    phi = max(0.0, float(((table - expected) ** 2 / expected).sum() / n - (r - 1) * (c - 1) / (n - 1)))
    smaller = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1))
    return min(1.0, float(np.sqrt(phi / (smaller - 1)))) if smaller > 1 else 0.0


def mutual_information(table: np.ndarray) -> float:
    """Bits that one column tells of the other, corrected for chance and never under 0. Source: Miller (1955)."""
    n = table.sum()
    if not n:
        return 0.0

    def bits(counts: np.ndarray) -> float:
        share = counts[counts > 0] / n
        return float(-(share * np.log2(share)).sum()) + (len(share) - 1) / (2 * n * np.log(2))

    return max(0.0, bits(table.sum(1)) + bits(table.sum(0)) - bits(table.ravel()))


def _shares(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def folded(bars: Sequence[Bar], others: Bar, k: int, most: int = 40) -> tuple[tuple[Bar, ...], Bar | None]:
    """The bars that may be shown, in their order, and the rest as one bar: each holds k subjects before and after, and so does the rest,
    into which the smallest bars go until it does. A category that nobody is published in goes there too."""
    ranked = sorted(range(len(bars)), key=lambda i: (-min(bars[i].before, bars[i].after), i))
    shown = [i for i in ranked[:most] if min(bars[i].before, bars[i].after) >= k]
    rest = set(range(len(bars))) - set(shown)

    def total() -> Bar:
        return Bar(None, others.before + sum(bars[i].before for i in rest), others.after + sum(bars[i].after for i in rest))

    while shown and not all(number == 0 or number >= k for number in (total().before, total().after)):
        rest.add(shown.pop())
    left = total()
    empty = not (left.before or left.after) or any(0 < number < k for number in (left.before, left.after))
    return tuple(bars[i] for i in sorted(shown)), None if empty else left
