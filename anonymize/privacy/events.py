"""What an attacker knows of a subject across tables: her demographics, and any m of her events.

An event is a row of a table that is not the subject table, by its quasi-identifiers. After this, every combination of a demographic class
with up to m different events that one subject has, is had by k subjects: k^m-anonymity within each demographic class. How many events
somebody has, and in what order, is not taken to be known.
Source: Terrovitis, Mamoulis and Kalnis (2008), Privacy-preserving anonymization of set-valued data; within classes: Poulis et al. (2013).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.base import Hierarchy
from anonymize.privacy.judge import Progress, SearchSettings
from anonymize.privacy.lattice import Encoded, Node, encode
from anonymize.privacy.models import Model
from anonymize.privacy.search import bounds, outer_sum
from anonymize.privacy.solution import apply_levels, cut_short
from anonymize.privacy.tuples import Tuples

DEMOGRAPHICS = "__demographics"
"""A tally's column that is equal for subjects of one demographic class."""

#: More combinations than this at once are not counted.
_MOST = 200_000_000
#: So many counts of values stand in memory at once.
_DENSE = 5_000_000


@dataclass(frozen=True)
class About:
    """Sensitive values of the subject table, of which more than k is asked. values: `subject` and the models' columns, a row a subject; models:
    fitted; whole: by column, int64 (s), the table's count of each value, in the order of `orders`."""

    values: pa.Table
    models: tuple[Model, ...]
    whole: Mapping[str, np.ndarray]
    orders: Mapping[str, pa.Array]


@dataclass(frozen=True)
class EventSolution:
    """A level a column, and for each demographic class the events that hold. Fields as in `Solution`; m: the events that are known."""

    has_text: ClassVar[bool] = False
    hierarchies: Mapping[str, Hierarchy]
    levels: Mapping[str, int]
    kept: Tuples = field(repr=False)
    demographics: bool
    loss: float
    k: int
    classes: int
    suppressed: int
    m: int
    checks: int = 0
    gap: float = 0.0

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """As `Solution.apply`; where there are demographics, the batch has `__demographics`."""
        return apply_levels(batch, self.hierarchies, self.levels, self.kept, [DEMOGRAPHICS] if self.demographics else [])

    def counts(self) -> dict[str, Any]:
        """What may stand in a record."""
        levels = {name: self.hierarchies[name].levels[level] for name, level in self.levels.items()}
        return {"k": self.k, "classes": self.classes, "loss": round(self.loss, 6), "levels": levels, "events": self.m, **cut_short(self.gap)}


def search_events(
    tally: pa.Table,
    hierarchies: Mapping[str, Hierarchy],
    settings: SearchSettings,
    m: int,
    *,
    subject: str,
    before: pa.Table | None = None,
    about: About | None = None,
) -> EventSolution:
    """The levels of the events that lose the least, with what must be suppressed at them so that up to m events single nobody out.

    tally: the columns of `hierarchies`, `subject`, `subjects` (records), and `__demographics` where there is a subject table. before: what
    stays of tables that were searched earlier, as pairs of `subject` and `item`, with demographics already in the item: a combination may mix.
    about: what is asked of the subject table's values, of everybody who shares a combination.
    Raises AnonymizeError where more records than `suppression` would go.
    """
    encoded = encode(tally, hierarchies, settings.weights, subject)
    known = _Known(encoded, tally, subject, before, about)
    lowest, highest = bounds(encoded, settings)
    marginals = encoded.marginals(encoded.leaf_rows())
    parts = [marginal[a : b + 1] for marginal, a, b in zip(marginals, lowest, highest, strict=True)]
    loss = outer_sum(parts)
    best: tuple[float, Node, _Found] | None = None
    least: _Found | None = None
    checks, gap = 0, 0.0
    # A node cannot lose less than its levels do with nothing suppressed, so the first that does better than all that follow is the best.
    for flat in np.argsort(loss, axis=None, kind="stable"):
        node = tuple(int(a) + b for a, b in zip(np.unravel_index(flat, loss.shape), lowest, strict=True))
        if best is not None and float(loss.flat[flat]) >= best[0]:
            break
        if best is not None and checks * len(encoded.cells) * len(node) > settings.work:
            gap = 1 - float(loss.flat[flat]) / max(best[0], 1e-300)
            break
        settings.tell(Progress(checks, None if best is None else 1 - float(loss.flat[flat]) / max(best[0], 1e-300)))
        found = known.hold(node, settings.k, m)
        checks += 1
        least = found if least is None or found.suppressed < least.suppressed else least
        if found.suppressed > int(settings.suppression * encoded.total + 1e-9):
            continue
        total = found.loss + found.suppressed * encoded.weight
        if best is None or total < best[0]:
            best = (total, node, found)
    if best is None:
        share = least.suppressed / max(encoded.total, 1) if least else 0.0
        raise AnonymizeError(
            f"k = {settings.k} against an attacker who knows {m} events cannot be reached over {', '.join(hierarchies)}: at the best levels "
            f"{share:.1%} of the records would be suppressed, and {settings.suppression:.1%} may be. Ask for fewer events, coarser "
            f"demographics (min-level), or allow more suppression"
        )
    total, node, found = best
    return _solution(known, hierarchies, node, found, m, total, checks, gap)


@dataclass(frozen=True)
class _Found:
    """What holds at a node. good: bool (n), each tuple of the tally; loss: of these, summed over records."""

    good: np.ndarray
    loss: float
    suppressed: int
    smallest: int


class _Known:
    """The tally as items of subjects."""

    def __init__(self, encoded: Encoded, tally: pa.Table, subject: str, before: pa.Table | None, asked: About | None) -> None:
        self.encoded, self.order = encoded, encoded.order if encoded.order is not None else np.arange(len(encoded.cells))
        self.has_demographics = DEMOGRAPHICS in tally.schema.names
        classes = pc.dictionary_encode(tally[DEMOGRAPHICS].combine_chunks()) if self.has_demographics else None
        self.demographics = classes.dictionary if classes is not None else pa.nulls(1, pa.string())
        self.about = (
            classes.indices.to_numpy(zero_copy_only=False)[self.order].astype(np.int64)
            if classes is not None
            else np.zeros(len(self.order), np.int64)
        )
        self.fixed_subjects, self.fixed_items = self._fixed(tally, subject, before)
        self.asked, self.values = asked, self._values(tally, subject, asked)

    def _fixed(self, tally: pa.Table, subject: str, before: pa.Table | None) -> tuple[np.ndarray, np.ndarray]:
        """Subjects numbered as in the tally, and items from -1 down."""
        if before is None or not before.num_rows:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        who = pc.index_in(before[subject].combine_chunks(), tally[subject].combine_chunks().take(pa.array(self._first())))
        here = pc.is_valid(who)
        items = pc.dictionary_encode(before["item"].combine_chunks()).indices.filter(here).to_numpy(zero_copy_only=False).astype(np.int64)
        return who.filter(here).to_numpy(zero_copy_only=False).astype(np.int64), -1 - items

    def _values(self, tally: pa.Table, subject: str, asked: About | None) -> dict[str, np.ndarray]:
        """By sensitive column, int64: each subject's value, by the subject's number."""
        if asked is None:
            return {}
        own = tally[subject].combine_chunks().take(pa.array(self._first()))
        rows = asked.values.take(pc.index_in(own, asked.values[subject].combine_chunks()))
        return {name: pc.index_in(rows[name].combine_chunks(), order).to_numpy().astype(np.int64) for name, order in asked.orders.items()}

    def _first(self) -> np.ndarray:
        """The position in the tally of a tuple of each subject, by the subject's number."""
        subjects = self.encoded.cells.subjects
        first = np.flatnonzero(np.append(True, subjects[1:] != subjects[:-1])) if len(subjects) else np.zeros(0, np.int64)
        places = np.empty(len(first), np.int64)
        places[subjects[first]] = self.order[first]
        return places

    def hold(self, node: Node, k: int, m: int) -> _Found:
        """Suppress the items of a node that, alone or with others, too few subjects have."""
        cells = self.encoded.cells
        groups, count = self.encoded.classes(node)
        item_of = self.about * count + groups
        names, items = np.unique(item_of, return_inverse=True)
        rows = np.bincount(items, cells.rows, len(names))
        gone = np.zeros(len(names), bool)
        counted = []
        for size in range(1, m + 1):
            sets, support, good = self._sets_of(items, gone, size, k)
            gone[_cover(sets[~good], rows)] = True
            counted.append((sets, support))
        gone_or_not = np.append(gone, np.zeros(1, bool))  # items of earlier tables, under 0, stay
        stays = [support[~gone_or_not[np.where(sets < 0, len(gone), sets)].any(axis=1)] for sets, support in counted]
        smallest = int(min((part.min() for part in stays if len(part)), default=0))
        good = ~gone[items]
        losses = sum(self.encoded.losses[level, cells.codes[:, c]] for c, level in enumerate(node))
        return _Found(good, float((losses * cells.rows)[good].sum()), int(cells.rows[~good].sum()), smallest)

    def _sets_of(self, items: np.ndarray, gone: np.ndarray, size: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sets of `size` items, of which one at least is of this table; how many subjects have each; whether these hold what is asked."""
        here = ~gone[items]
        subjects = np.concatenate([self.encoded.cells.subjects[here].astype(np.int64), self.fixed_subjects])
        pairs = np.unique(np.stack([subjects, np.concatenate([items[here], self.fixed_items])], axis=1), axis=0)
        sets, support, number, whose = _sets(pairs[:, 0], pairs[:, 1], size)
        ours, good = (sets >= 0).any(axis=1), support >= k
        for model in self.asked.models if self.asked else ():
            good &= self._judged(model, number, whose, good & ours)
        return sets[ours], support[ours], good[ours]

    def _judged(self, model: Model, number: np.ndarray, whose: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """bool (sets): whether the values of who has each set hold a model. number, whose: each pair of a set and a subject who has it."""
        assert self.asked is not None
        whole, holds = self.asked.whole[model.column], np.zeros(len(wanted), bool)
        asked = np.flatnonzero(wanted)
        values, order = self.values[model.column][whose], np.argsort(number, kind="stable")
        starts = np.searchsorted(number[order], np.arange(len(wanted) + 1))
        for some in np.array_split(asked, max(1, len(asked) * len(whole) // _DENSE)):
            members = [order[starts[one] : starts[one + 1]] for one in some]
            key = np.repeat(np.arange(len(some)), [len(part) for part in members]) * len(whole)
            key += values[np.concatenate(members)] if members else 0
            counts = np.bincount(key, minlength=len(some) * len(whole)).reshape(len(some), len(whole))
            holds[some] = model.holds(counts, whole) if len(some) else False
        return holds


@dataclass(frozen=True)
class Demographics:
    """The demographic class of each subject of a batch of the subject table, as one text. subject: the column of subjects."""

    subject: str
    columns: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """(subject, `__demographics`)."""
        return pa.RecordBatch.from_arrays(
            [batch[self.subject], as_one_text([batch[name] for name in self.columns], batch.num_rows)], names=[self.subject, DEMOGRAPHICS]
        )


def as_one_text(columns: Sequence[pa.Array], rows: int) -> pa.Array:
    """A text a row, equal where the tuples are equal and nowhere else: each value led by its length, null by none."""
    texts = [column.cast(pa.string()) for column in columns]
    parts = [pc.binary_join_element_wise(pc.binary_length(t).cast(pa.string()), ":", t, "") for t in texts]
    return pc.binary_join_element_wise(pa.repeat("", rows), *(pc.fill_null(part, "-:") for part in parts), "")


def _sets(subjects: np.ndarray, items: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each distinct set of `size` items that a subject has, int64 (sets, size); how many subjects have it; and by pair of a set and a subject
    who has it the set's number and the subject.

    subjects, items: int64 (n), distinct pairs, sorted by both.
    """
    ends = np.searchsorted(subjects, subjects, side="right")
    last = np.arange(len(items))
    number = np.unique(items, return_inverse=True)[1].astype(np.int64)
    width = int(number.max(initial=0)) + 1
    key, members = number, items[:, None]
    for _ in range(size - 1):
        more = ends[last] - last - 1
        if more.sum() > _MOST:
            raise AnonymizeError(
                "subjects have too many events for so many to be known at once: lower the attacker's events, or coarsen the events"
            )
        origin = np.repeat(np.arange(len(last)), more)
        step = np.arange(len(origin)) - np.repeat(np.cumsum(more) - more, more) + 1
        last = last[origin] + step
        key = np.unique(key, return_inverse=True)[1]
        key = key[origin].astype(np.int64) * width + number[last]
        members = np.hstack([members[origin], items[last][:, None]])
    _, first, number, support = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    return members[first], support, number, subjects[last]


def _cover(sets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Items, at least one of each set, chosen greedily by how many sets an item is in, a record that it costs. Items under 0 are not ours."""
    of: dict[int, list[int]] = defaultdict(list)
    for number, members in enumerate(sets.tolist()):
        for item in members:
            if item >= 0:
                of[item].append(number)
    open_ = np.ones(len(sets), bool)
    queue = [(-len(numbers) / max(float(rows[item]), 1e-9), item) for item, numbers in of.items()]
    heapq.heapify(queue)
    chosen = []
    while queue:
        gain, item = heapq.heappop(queue)
        now = -float(open_[of[item]].sum()) / max(float(rows[item]), 1e-9)
        if now == 0:
            continue
        if now > gain:
            heapq.heappush(queue, (now, item))
            continue
        open_[of[item]] = False
        chosen.append(item)
    return np.array(sorted(chosen), np.int64)


def _solution(
    known: _Known, hierarchies: Mapping[str, Hierarchy], node: Node, found: _Found, m: int, total: float, checks: int, gap: float
) -> EventSolution:
    encoded = known.encoded
    groups, count = encoded.classes(node)
    _, first = np.unique((known.about * count + groups)[found.good], return_index=True)
    one = np.flatnonzero(found.good)[first]
    tuples = encoded.cells.codes[one] - encoded.starts[:-1].astype(np.int32)
    labels = [encoded.labels(hierarchies, c, level).take(pa.array(tuples[:, c])) for c, level in enumerate(node)]
    about = [known.demographics.take(pa.array(known.about[one]))] if known.has_demographics else []
    return EventSolution(
        hierarchies=hierarchies,
        levels=dict(zip(encoded.columns, node, strict=True)),
        kept=Tuples([*about, *labels]),
        demographics=known.has_demographics,
        loss=total / max(encoded.total, 1) / max(encoded.weight, 1e-300),
        k=found.smallest,
        classes=len(one),
        suppressed=found.suppressed,
        m=m,
        checks=checks,
        gap=gap,
    )
