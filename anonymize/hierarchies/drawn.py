"""Hierarchies of numbers whose groups come from the data: ranges with equally many people in each, and means of people who are close.

What a policy names is a plan (`quantiles:20,10,5`); `drawn_from` makes the ladder of it, from distinct values and how many subjects have each.
The same values give the same ladder. The means and cuts are published, so a cut is a value that somebody has; the ends are open.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, each_number, is_text, top

_T = TypeVar("_T")


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _digits(number: float) -> str:
    """The shortest way to write a cut, which is a value of the data."""
    return repr(number).removesuffix(".0")


@dataclass(frozen=True)
class _Numbers:
    """What plans and ladders share. levels: as in `Hierarchy`."""

    name: str
    levels: tuple[str, ...]

    def accepts(self, type: pa.DataType) -> bool:
        return pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type) or is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: None if _number(v) is None else v)))


@dataclass(frozen=True)
class Drawn(_Numbers):
    """A ladder. cuts: by level, where each group but the first begins; labels: what is published for each; sizes: its distinct values."""

    cuts: tuple[tuple[float, ...], ...] = field(repr=False)
    labels: tuple[tuple[str, ...], ...] = field(repr=False)
    sizes: tuple[tuple[int, ...], ...] = field(repr=False)

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._of(v, self.labels[level], level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        every = max(sum(self.sizes[level]) - 1, 1)
        return each_number(values, lambda v: ((self._of(v, self.sizes[level], level) or 1) - 1) / every)

    def _of(self, value: str, groups: tuple[_T, ...], level: int) -> _T | None:
        number = _number(value)
        return None if number is None else groups[bisect_right(self.cuts[level], number)]


class _Plan(_Numbers):
    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        raise ValueError(f"the groups of '{self.name}' are drawn from the data first")

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        raise ValueError(f"the groups of '{self.name}' are drawn from the data first")


@dataclass(frozen=True)
class Quantiles(_Plan):
    """Ranges in each of which about equally many subjects are; a value that many have is not parted. parts: on each level, fewer and fewer."""

    parts: tuple[int, ...] = ()

    @classmethod
    def parse(cls, argument: str) -> Quantiles:
        """`20,10,5`."""
        words = argument.split(",")
        if not all(word.isdecimal() and int(word) > 1 for word in words):
            raise ValueError("needs how many parts, two or more, on each level")
        parts = tuple(int(word) for word in words)
        if not all(a > b and a % b == 0 for a, b in pairwise(parts)):
            raise ValueError("each number of parts must be a part of the one before, for example 20,10,5")
        return cls(f"quantiles:{argument}", (*(f"{part} parts" for part in parts), ANY), parts)

    def drawn_from(self, values: pa.Array, subjects: np.ndarray) -> Drawn:
        """values: distinct, null among them perhaps; subjects: int64, how many have each."""
        numbers, weights = _distinct(values, subjects)
        before, total = np.cumsum(weights) - weights, int(weights.sum())
        cuts, labels, sizes = [], [], []
        for part in self.parts:
            # The first value below which j of the parts lie: the same for 2 of 10 parts as for 4 of 20, so that levels are nested.
            places = sorted({int(np.searchsorted(before * part, j * total)) for j in range(1, part)} - {0, len(numbers)})
            ends = [float(numbers[place]) for place in places]
            cuts.append(tuple(ends))
            labels.append(_ranges(ends))
            sizes.append(tuple(int(b - a) for a, b in pairwise([0, *places, len(numbers)])))
        return Drawn(self.name, self.levels, tuple(cuts), tuple(labels), tuple(sizes))


@dataclass(frozen=True)
class MicroAggregate(_Plan):
    """The mean, or the median, of at least so many subjects whose values are closest to each other, in place of each value.

    On each level twice as many. The groups are the best there are of a single column: those with the least sum of squares within.
    Sources: Domingo-Ferrer and Mateo-Sanz (2002), Practical data-oriented microaggregation; Hansen and Mukherjee (2003), A polynomial
    algorithm for optimal univariate microaggregation.
    """

    least: int = 5
    median: bool = False

    @classmethod
    def parse(cls, argument: str) -> MicroAggregate:
        """`5`, or `5,median`."""
        least, comma, what = argument.partition(",")
        if not least.isdecimal() or int(least) < 2 or (comma and what not in ("mean", "median")):
            raise ValueError("needs the least number of subjects of a group, two or more, and 'median' for that in place of the mean")
        word = "medians" if what == "median" else "means"
        levels = (*(f"{word} of {int(least) << step}" for step in range(4)), ANY)
        return cls(f"microaggregate:{argument}", levels, int(least), what == "median")

    def drawn_from(self, values: pa.Array, subjects: np.ndarray) -> Drawn:
        """As `Quantiles.drawn_from`."""
        numbers, weights = _distinct(values, subjects)
        starts = list(range(len(numbers)))
        cuts, labels, sizes = [], [], []
        for step in range(4):
            starts = _closest(numbers, weights, starts, self.least << step)
            parts = list(pairwise([*starts, len(numbers)]))
            cuts.append(tuple(float(numbers[start]) for start in starts[1:]))
            labels.append(_told_apart([self._middle(numbers[a:b], weights[a:b]) for a, b in parts]))
            sizes.append(tuple(b - a for a, b in parts))
        return Drawn(self.name, self.levels, tuple(cuts), tuple(labels), tuple(sizes))

    def _middle(self, numbers: np.ndarray, weights: np.ndarray) -> float:
        if self.median:
            return float(numbers[np.searchsorted(np.cumsum(weights), weights.sum() / 2)])
        return float((numbers * weights).sum() / weights.sum())


def _distinct(values: pa.Array, subjects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers among values, ascending, each once, and how many subjects have each."""
    texts = values.cast(pa.string()).to_pylist()
    pairs = [(number, int(n)) for text, n in zip(texts, subjects, strict=True) if text is not None and (number := _number(text)) is not None]
    numbers, place = np.unique(np.array([number for number, _ in pairs], np.float64), return_inverse=True)
    return numbers, np.bincount(place, [n for _, n in pairs], len(numbers)).astype(np.int64)


def _ranges(cuts: list[float]) -> tuple[str, ...]:
    if not cuts:
        return (ANY,)
    texts = [_digits(cut) for cut in cuts]
    return (f"<{texts[0]}", *(f"[{a}, {b})" for a, b in pairwise(texts)), f">={texts[-1]}")


def _told_apart(numbers: list[float]) -> tuple[str, ...]:
    """Numbers in as few digits as tell them apart, six at least."""
    if len(numbers) < 2:
        return tuple(f"{number:.6g}" for number in numbers) or (ANY,)
    return next(texts for digits in range(6, 18) if len(set(texts := tuple(f"{n:.{digits}g}" for n in numbers))) == len(numbers))


def _closest(numbers: np.ndarray, weights: np.ndarray, starts: list[int], least: int) -> list[int]:
    """Where the groups begin, of units that begin at `starts`, that have `least` subjects each and the least sum of squares within.

    By the shortest path over where groups end; one that could be parted into two is never the better, so few beginnings are tried for each end.
    """
    ends = [*starts[1:], len(numbers)]
    if not starts:
        return []
    centre = numbers.mean()  # sums of squares of numbers far from 0 would lose their digits
    mass = np.concatenate([[0], np.cumsum(weights)])[[0, *ends]].tolist()
    first = np.concatenate([[0.0], np.cumsum((numbers - centre) * weights)])[[0, *ends]].tolist()
    second = np.concatenate([[0.0], np.cumsum((numbers - centre) ** 2 * weights)])[[0, *ends]].tolist()
    best, last, latest = [0.0], [0], 0
    for j in range(1, len(mass)):
        while latest + 1 < j and mass[j] - mass[latest + 1] >= least:
            latest += 1
        found, at = float("inf"), 0
        for i in range(latest, -1, -1):
            if i < latest and mass[latest] - mass[i] >= least and mass[j] - mass[latest] >= least:
                break
            if mass[j] - mass[i] >= least and best[i] < float("inf"):
                n, s = mass[j] - mass[i], first[j] - first[i]
                cost = best[i] + (second[j] - second[i]) - s * s / n
                if cost < found:
                    found, at = cost, i
        best.append(found)
        last.append(at)
    places, j = [], len(mass) - 1
    if best[j] == float("inf"):
        return [0]
    while j > 0:
        j = last[j]
        places.append(j)
    return [starts[place] for place in reversed(places)]
