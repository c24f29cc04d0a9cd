"""What a table was before and is after, counted by DuckDB from a run's files: the record's `utility` (its shape: `privacy/utility.py`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import Hierarchy
from anonymize.policy import memory
from anonymize.privacy import utility as figures
from anonymize.privacy.risk import Sizes, average_class, discernibility, entropy_left
from anonymize.privacy.utility import Bar, ColumnUtility, Histogram, PairUtility, Utility

#: Pairs of columns are looked at in so many columns, quasi-identifiers and sensitive ones first, and in about so many rows.
PAIRED_COLUMNS, PAIRED_ROWS = 10, 1_000_000
_BINS = 100
_NOT_COMPARED = ("identifier", "text")
_MISSING = "missing"


@dataclass(frozen=True)
class Column:
    """A published column. role: as in the policy; hierarchy: of a quasi-identifier; level: its own, where it has one throughout: a value that
    is the same at several levels (a missing one, `<=1936`) is taken to stand at this, else at the finest."""

    role: str
    hierarchy: Hierarchy | None = None
    level: int | None = None


@dataclass(frozen=True)
class Sides:
    """A table's Parquet files. before: its columns, `__row` and `__subject` (null: the row is nobody's, and counts alone); after: its columns as
    published; rows: beside these, row by row, `__row` and `__subject`; scratch: where what does not fit into memory goes."""

    before: Sequence[Path]
    after: Sequence[Path]
    rows: Sequence[Path]
    scratch: Path


def compare(sides: Sides, columns: Mapping[str, Column], k: int, *, paired_rows: int = PAIRED_ROWS) -> Utility:
    """The figures of one table. Memory: DuckDB's limit, the distinct values of its quasi-identifiers, and a sample for the pairs."""
    duck = opened(sides, [name for name, column in columns.items() if column.hierarchy is not None])
    types = {field.name: field.type for field in duck.sql("SELECT * FROM before LIMIT 0").to_arrow_table().schema}
    rows_before, people_before = _row(duck, "SELECT count(*), count(DISTINCT __who) FROM before")
    rows_after, people_after = _row(duck, "SELECT count(*), count(DISTINCT __who) FROM after")
    # Where nobody has two rows, rows are people, and are counted in a fraction of the time.
    people = "count(*)" if rows_before == people_before else "count(DISTINCT __who)"
    found: dict[str, _Compared] = {}
    for name, column in columns.items():
        if column.role in _NOT_COMPARED or name not in types:
            continue
        if column.hierarchy is not None:
            found[name] = Quasi(duck, name, types[name], column.hierarchy, column.level, people)
        elif (kind := _kind(types[name])) is not None:
            found[name] = _Category(duck, name) if kind == "category" else _Number(duck, name, kind, people)
    quasi = [name for name, column in columns.items() if column.hierarchy is not None]
    measured = {name: one.utility(columns[name].role, k) for name, one in found.items()}
    lost = [measured[name].loss for name in quasi]
    kept = [measured[name].information for name in quasi]
    by_rows, by_people = _sizes(duck, quasi, "count(*)"), _sizes(duck, quasi, people)
    return Utility(
        rows_before=rows_before,
        rows_after=rows_after,
        subjects_before=people_before,
        subjects_after=people_after,
        k=k,
        granularity=1 - _mean(lost) if quasi and None not in lost else None,
        information=_mean(kept) if quasi else None,
        discernibility=discernibility(by_rows, rows_before - rows_after) if quasi else None,
        average_class=average_class(by_people, k) if quasi else None,
        columns=measured,
        pairs=tuple(_pairs(duck, _first(columns, found), paired_rows, rows_before)),
        left_out=tuple(name for name in columns if name not in found),
    )


def opened(sides: Sides, quasi: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """Views `before` and `after`, each with `__who`, the files alone as `b` and `d`, and a table `paired` of the quasi-identifiers: b0, a0, b1 …
    and `here` of each person's rows, with the number of rows that are so (`times`)."""
    duck = duckdb.connect(config={"memory_limit": memory.counting(), "temp_directory": str(sides.scratch)})
    duck.execute("SET enable_progress_bar = false")
    for name, files in (("b", sides.before), ("d", sides.after), ("r", sides.rows)):
        duck.read_parquet([str(file) for file in files]).create_view(name)
    who = "hash(coalesce({0}__subject, {0}__row::VARCHAR)) AS __who"
    duck.execute(f"CREATE VIEW before AS SELECT *, {who.format('')} FROM b")  # noqa: S608
    own = "SELECT __row, __subject FROM r"
    duck.execute(f"CREATE VIEW after AS SELECT d.*, w.__row, {who.format('w.')} FROM d POSITIONAL JOIN ({own}) w")  # noqa: S608
    if quasi:
        cells = ", ".join(f"before.{quoted(name)} AS b{n}, after.{quoted(name)} AS a{n}" for n, name in enumerate(quasi))
        joined = "before LEFT JOIN after ON before.__row = after.__row"
        each = f"SELECT before.__who, after.__row IS NOT NULL AS here, {cells} FROM {joined}"  # noqa: S608
        duck.execute(f"CREATE TEMP TABLE paired AS SELECT *, count(*) AS times FROM ({each}) GROUP BY ALL")  # noqa: S608
        for n, name in enumerate(quasi):
            query = f"SELECT b{n} AS value, a{n} AS published, here, __who, times FROM paired"  # noqa: S608
            duck.execute(f"CREATE VIEW {quoted('of ' + name)} AS {query}")
    return duck


def _first(columns: Mapping[str, Column], found: Mapping[str, _Compared]) -> dict[str, _Compared]:
    ranks = {"quasi": 0, "sensitive": 1}
    return {name: found[name] for name in sorted(found, key=lambda name: ranks.get(columns[name].role, 2))[:PAIRED_COLUMNS]}


def _pairs(duck: duckdb.DuckDBPyConnection, columns: Mapping[str, _Compared], most: int, rows: int) -> Iterator[PairUtility]:
    names = list(columns)
    if len(names) < 2:
        return
    # Always the same rows: those whose number, scattered by a hash, falls under a bound.
    share = f"hash(__row) % 1000000 < {math.ceil(1_000_000 * min(1.0, most / max(rows, 1)))}"
    sides = []
    for side in ("before", "after"):
        cells = ", ".join(quoted(name) for name in names)
        parts: list[list[np.ndarray]] = [[] for _ in names]
        for batch in duck.sql(f"SELECT {cells} FROM {side} WHERE {share}").to_arrow_reader(100_000) or ():  # noqa: S608
            for place, name in enumerate(names):
                parts[place].append(columns[name].codes(batch.column(place), side).astype(np.int16))
        sides.append([np.concatenate(part) if part else np.zeros(0, np.int16) for part in parts])
    before, after = sides
    for one in range(len(names)):
        for other in range(one + 1, len(names)):
            tables = [_contingency(side[one], side[other]) for side in (before, after)]
            yield PairUtility(
                (names[one], names[other]),
                len(before[one]),
                *(figures.cramers_v(table) for table in tables),
                *(figures.mutual_information(table) for table in tables),
            )


def _contingency(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if not len(one):
        return np.zeros((1, 1))
    wide = int(other.max()) + 1
    cells = np.bincount(one.astype(np.int64) * wide + other, minlength=(int(one.max()) + 1) * wide)
    return cells.reshape(-1, wide).astype(float)


# ------------------------------------------------------------------------------------------------------------- a column, by its kind


class _Compared:
    """A column as counted."""

    def utility(self, role: str, k: int) -> ColumnUtility:
        """Its figures."""
        raise NotImplementedError

    def codes(self, column: pa.Array, side: str) -> np.ndarray:
        """int (n): each cell's category, 0 to 127, for the pairs."""
        raise NotImplementedError


class Quasi(_Compared):
    """A quasi-identifier: each source value beside what is published of it."""

    def __init__(
        self, duck: duckdb.DuckDBPyConnection, name: str, type: pa.DataType, hierarchy: Hierarchy, only: int | None, people: str
    ) -> None:
        self.duck, self.view, self.hierarchy, self.people = duck, quoted("of " + name), hierarchy, people
        query = f"SELECT value, published, here, sum(times)::BIGINT AS rows FROM {self.view} GROUP BY ALL ORDER BY ALL"  # noqa: S608
        pairs = duck.sql(query).to_arrow_table().combine_chunks()
        self.pairs, self.rows = pairs, pairs["rows"].to_numpy()
        self.here = pairs["here"].to_numpy(zero_copy_only=False).astype(bool)
        encoded = pc.dictionary_encode(pairs["value"].combine_chunks().cast(type), null_encoding="encode")
        self.values, self.value = encoded.dictionary, encoded.indices.to_numpy(zero_copy_only=False)
        self.kind, self.at = _order(self.values)
        self.labels = [hierarchy.generalize(self.values, level).cast(pa.string()) for level in range(len(hierarchy.levels))]
        self.published = pairs["published"].combine_chunks().cast(pa.string())
        self.level = self._levels(only)
        self._coarse = next((level for level, labels in enumerate(self.labels) if len(pc.unique(labels)) <= _BINS), len(self.labels) - 1)
        self._seen = pc.unique(self.labels[self._coarse])
        self._code = _places(self.labels[self._coarse], self._seen)
        kept = pa.table({"label": self.published, "rows": self.rows}).filter(pa.array(self.here))
        often = kept.group_by("label").aggregate([("rows", "sum")]).sort_by([("rows_sum", "descending"), ("label", "ascending")])
        self._common = often["label"].combine_chunks().slice(0, _BINS)

    def _levels(self, only: int | None) -> np.ndarray:
        """int (pairs): the level at which a value is what is published of it, `only` or the finest; -1: at none, or it did not leave."""
        level = np.full(len(self.value), -1)
        for number in [*reversed(range(len(self.labels))), *([] if only is None else [only])]:
            same = _equal(self.labels[number].take(pa.array(self.value)), self.published)
            level[same & self.here] = number
        return level

    def utility(self, role: str, k: int) -> ColumnUtility:
        before, after = self._weights()
        ordered = self.kind != "category"
        known = pc.is_valid(self.values).to_numpy(zero_copy_only=False)
        if ordered:
            order = np.argsort(self.at[known], kind="stable")
            moved = figures.earth_mover(before[known][order], after[known][order], self.at[known][order])
        shown = pc.if_else(pa.array(self.here), pc.fill_null(self.published, "\0null"), "\0gone").dictionary_encode()
        return ColumnUtility(
            role=role,
            kind=self.kind,
            loss=self._loss(),
            information=entropy_left(self.value, shown.indices.to_numpy(), self.rows) if len(self.rows) else 1.0,
            total_variation=figures.total_variation(before, after),
            earth_mover=moved if ordered else None,
            histogram=self._histogram(k) if len(self.rows) else None,
        )

    def _loss(self) -> float | None:
        """Mean over rows; none where something is published that is at no level of the hierarchy, such as a mean."""
        if (self.here & (self.level < 0)).any():
            return None
        lost = np.ones(len(self.rows))
        for number in range(len(self.labels)):
            at = self.level == number
            lost[at] = self.hierarchy.loss(self.values, number)[self.value[at]]
        return float((lost * self.rows).sum() / max(self.rows.sum(), 1))

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of each value before; and after, each published value's rows spread evenly over the values that it may stand for."""
        size = len(self.values)
        before = np.bincount(self.value, self.rows, size)
        after = np.zeros(size)
        left = self.here & (self.level < 0)
        np.add.at(after, self.value[left], self.rows[left])
        for number, labels in enumerate(self.labels):
            at = self.level == number
            if at.any():
                groups = pc.dictionary_encode(labels, null_encoding="encode").indices.to_numpy(zero_copy_only=False)
                mass = np.bincount(groups[self.value[at]], self.rows[at], groups.max() + 1)
                after += (mass / np.bincount(groups))[groups]
        return before, after

    def _histogram(self, k: int) -> Histogram:
        level = self._drawn_level()
        labels = self.labels[level].fill_null(_MISSING).dictionary_encode()
        codes = labels.indices.to_numpy()
        fine = self.here & (self.level >= 0) & (self.level <= level)
        # The pairs are told apart by their number in the order of the query that counted them.
        told = pa.table(
            {
                "value": self.pairs["value"],
                "published": self.pairs["published"],
                "here": self.pairs["here"],
                "code": codes[self.value].astype(np.int32),
                "fine": pa.array(fine),
            }
        )
        same = "p.value IS NOT DISTINCT FROM t.value AND p.published IS NOT DISTINCT FROM t.published AND p.here = t.here"
        counts = f"{self.people}, {self.people} FILTER (fine), {self.people} FILTER (p.here AND NOT fine)"
        self.duck.register("told", told)
        counted = self.duck.execute(f"SELECT code, {counts} FROM {self.view} p JOIN told t ON {same} GROUP BY code ORDER BY code").fetchall()  # noqa: S608
        self.duck.unregister("told")
        first = np.full(len(labels.dictionary), np.inf)
        np.minimum.at(first, codes, self.at)
        place = (lambda row: (first[row[0]], row[0])) if self.kind != "category" else (lambda row: (-row[1], row[0]))
        names = labels.dictionary.to_pylist()
        bars = [Bar(names[code], before, after) for code, before, after, _ in sorted(counted, key=place)]
        shown, others = figures.folded(bars, Bar(None, 0, sum(row[3] for row in counted)), k)
        return Histogram(self.hierarchy.levels[level], shown, others)

    def _drawn_level(self) -> int:
        """The finest level at which nine in ten published rows can be drawn; a coarser one where that gives a few dozen bars."""
        reached = np.bincount(self.level[self.level >= 0], self.rows[self.level >= 0], len(self.labels)).cumsum()
        level = int(np.argmax(reached >= 0.9 * reached[-1])) if reached[-1] else len(self.labels) - 1
        many = [len(pc.unique(labels)) for labels in self.labels]
        while many[level] > 40 and level + 1 < len(many) and many[level + 1] >= 5:
            level += 1
        return level

    def finer(self) -> pa.Table | None:
        """What is published of each value, and what would be one level finer: `value`, `published`, `finer`; none where nothing would."""
        coarser = np.flatnonzero(self.level > 0)
        if not len(coarser):
            return None
        steps = [labels.take(pa.array(self.value)) for labels in self.labels]
        texts = pa.array([steps[self.level[place] - 1][place].as_py() for place in coarser], pa.string())
        return pa.table({"value": self.pairs["value"].take(coarser), "published": self.pairs["published"].take(coarser), "finer": texts})

    def codes(self, column: pa.Array, side: str) -> np.ndarray:
        if side == "before":
            return np.asarray(self._code[pc.index_in(column.cast(self.values.type), self.values).to_numpy(zero_copy_only=False)])
        return _places(column.cast(pa.string()), self._common)


class _Number(_Compared):
    """A number or a date that leaves as it is."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, name: str, kind: str, people: str) -> None:
        self.duck, self.kind, self.people = duck, kind, people
        cell = quoted(name)
        number = f"epoch({cell}::TIMESTAMP) / 86400.0" if kind == "date" else f"{cell}::DOUBLE"
        self.number = f"CASE WHEN isfinite({number}) THEN {number} END"
        self.low, self.wide = 0.0, 1.0
        low, high = _row(duck, f"SELECT min({self.number}), max({self.number}) FROM b")  # noqa: S608
        self.empty = low is None
        if not self.empty:
            self.low, self.wide = self._span(low, high)
        self.step = _round(self.wide / 10)
        #: What a bar or a category of the pairs is: a year, or a range of round numbers.
        self.bar = f"year({cell}::TIMESTAMP)::DOUBLE" if kind == "date" else f"floor({self.number} / {self.step!r})"

    def _span(self, low: float, high: float) -> tuple[float, float]:
        """The lowest and the width of what nine in ten values lie in, about: an outlier does not hide where the others are."""
        for _ in range(4):
            counts, _ = self._binned("before", low, (high - low) or 1.0)
            reached = counts.cumsum() / max(counts.sum(), 1)
            first, last = int(np.argmax(reached >= 0.05)), int(np.argmax(reached >= 0.95))
            if last - first >= _BINS // 5 or high <= low:
                break
            bin_ = (high - low) / _BINS
            low, high = low + first * bin_, low + (last + 1) * bin_
        return low, (high - low) or 1.0

    def _binned(self, side: str, low: float, wide: float) -> tuple[np.ndarray, int]:
        """float64 (100): rows by equal range, those beyond in the outermost; and the rows without a value."""
        # The files alone: whose a row is does not matter here, and to join that takes longer than to count.
        files = {"before": "b", "after": "d"}[side]
        place = f"greatest(0, least({_BINS - 1}, floor(({self.number} - {low!r}) / {wide!r} * {_BINS})))::INT"
        counts, missing = np.zeros(_BINS), 0
        for bin_, rows in self.duck.execute(f"SELECT {place} AS bin, count(*) FROM {files} GROUP BY bin").fetchall():  # noqa: S608
            if bin_ is None:
                missing = rows
            else:
                counts[bin_] = rows
        return counts, missing

    def utility(self, role: str, k: int) -> ColumnUtility:
        (before, none), (after, none_after) = (self._binned(side, self.low, self.wide) for side in ("before", "after"))
        apart = figures.total_variation(np.append(before, none), np.append(after, none_after))
        moved = figures.earth_mover(before, after, np.arange(_BINS, dtype=float))
        return ColumnUtility(role, self.kind, None, None, apart, moved, None if self.empty else self._histogram(k))

    def _histogram(self, k: int) -> Histogram:
        counted: dict[float | None, list[int]] = {}
        for side, name in enumerate(("before", "after")):
            for bar, people in self.duck.execute(f"SELECT {self.bar}, {self.people} FROM {name} GROUP BY 1").fetchall():  # noqa: S608
                counted.setdefault(bar, [0, 0])[side] = people
        missing = counted.pop(None, None)
        bars = [Bar(self._label(bar), *counted[bar]) for bar in sorted(bar for bar in counted if bar is not None)]
        bars += [Bar(_MISSING, *missing)] if missing else []
        return Histogram("year" if self.kind == "date" else f"{self.step:g}", *figures.folded(bars, Bar(None, 0, 0), k))

    def _label(self, bar: float) -> str:
        if self.kind == "date":
            return f"{bar:.0f}"
        return f"[{bar * self.step:.10g}, {(bar + 1) * self.step:.10g})"

    def codes(self, column: pa.Array, side: str) -> np.ndarray:  # noqa: ARG002
        if self.kind == "date":
            numbers = column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False) / 86_400e6
            numbers = np.where(pc.is_null(column).to_numpy(zero_copy_only=False), np.nan, numbers)
        else:
            numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(float)
        places = np.clip((numbers - self.low) / self.wide * 10, 0, 9)
        return np.where(np.isfinite(numbers), np.nan_to_num(places).astype(int), 10)


class _Category(_Compared):
    """Anything else that leaves as it is; its values are source records' own, so there is no histogram."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, name: str) -> None:
        self.duck, self.cell = duck, f"{quoted(name)}::VARCHAR"
        often = f"SELECT {self.cell} AS v FROM b GROUP BY v ORDER BY count(*) DESC, v LIMIT {_BINS}"  # noqa: S608
        self._common = duck.sql(often).to_arrow_table()["v"].combine_chunks()

    def utility(self, role: str, k: int) -> ColumnUtility:  # noqa: ARG002
        both = f"SELECT {self.cell} AS v, 1 AS b, 0 AS a FROM b UNION ALL SELECT {self.cell}, 0, 1 FROM d"  # noqa: S608
        each = f"SELECT sum(b) AS b, sum(a) AS a FROM ({both}) GROUP BY v"  # noqa: S608
        whole = "greatest(1, (SELECT count(*) FROM {}))"
        apart = f"sum(abs(b / {whole.format('b')} - a / {whole.format('d')})) / 2"
        (shared,) = _row(self.duck, f"SELECT {apart} FROM ({each})")  # noqa: S608
        none = _row(self.duck, "SELECT (SELECT count(*) FROM b) > 0 AND (SELECT count(*) FROM d) = 0")[0]
        return ColumnUtility(role, "category", None, None, 1.0 if none else float(shared or 0.0), None, None)

    def codes(self, column: pa.Array, side: str) -> np.ndarray:  # noqa: ARG002
        text = column.cast(pa.string()) if not pa.types.is_boolean(column.type) else pc.if_else(column, "true", "false")
        return _places(text, self._common)


# ------------------------------------------------------------------------------------------------------------------------ small parts


def _kind(type: pa.DataType) -> str | None:
    """How a column that leaves as it is is compared; none where it has no values to count."""
    if pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type):
        return "number"
    if pa.types.is_date(type) or pa.types.is_timestamp(type):
        return "date"
    simple = pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_boolean(type)
    return "category" if simple else None


def _order(values: pa.Array) -> tuple[str, np.ndarray]:
    """A quasi-identifier's kind, and each value as a number (0 where it has no order): texts that are all whole numbers are numbers."""
    kind = _kind(values.type) or "category"
    known = values.drop_null()
    if kind == "category":
        if not len(known) or not pc.all(pc.match_substring_regex(known.cast(pa.string()), r"^(0|-?[1-9][0-9]{0,14})$")).as_py():
            return "category", np.zeros(len(values))
        return "number", values.cast(pa.string()).cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    if kind == "date":
        return kind, values.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) / 86_400e6
    return kind, values.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)


def _equal(one: pa.Array, other: pa.Array) -> np.ndarray:
    """bool (n): whether cells are the same, null being like null."""
    both = pc.and_(pc.is_null(one), pc.is_null(other))
    return np.asarray(pc.or_(both, pc.fill_null(pc.equal(one, other), False)).to_numpy(zero_copy_only=False)).astype(bool)


def _places(texts: pa.Array, known: pa.Array) -> np.ndarray:
    """int (n): a text's position among the known ones; what is not known comes after them."""
    return np.asarray(pc.fill_null(pc.index_in(texts, known.cast(pa.string())), len(known)).to_numpy(zero_copy_only=False))


def _round(width: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(width, 1e-12)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))


def _sizes(duck: duckdb.DuckDBPyConnection, quasi: Sequence[str], size: str) -> Sizes:
    keys = ", ".join(quoted(name) for name in quasi) or "'all'"
    query = f"SELECT size, count(*) FROM (SELECT {size} AS size FROM after GROUP BY {keys}) GROUP BY size"  # noqa: S608
    return Sizes.of(dict(duck.execute(query).fetchall()))


def _mean(numbers: Sequence[float | None]) -> float:
    return float(np.mean([number for number in numbers if number is not None]))


def _row(duck: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return tuple(duck.execute(query).fetchall()[0])  # an aggregate's one row; to fetch but one would leave the connection in use


def quoted(name: str) -> str:
    """A column's name in SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
