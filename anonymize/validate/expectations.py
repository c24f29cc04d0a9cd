"""What must hold of a staged table, derived from the policy: expectations over its cells and over its counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize.engine.threads import in_threads
from anonymize.hierarchies.base import ANY, Hierarchy
from anonymize.policy.model import Checks, Kind, Method, Role, Rule
from anonymize.transform.pseudonym import TEXT_LENGTH
from anonymize.validate import gx
from anonymize.validate.counting import ClassSizes, Staged

BATCH_ROWS = 65_536
"""Rows that stand in memory at a time."""
FRAME_ROWS = 1_000
"""The first rows of a table, all of whose cells Great Expectations judges; of the others it judges the cells for which nobody vouches."""
ISO_DATE = r"^\s*[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ].*)?)?)?\s*$"


@dataclass(frozen=True)
class Result:
    """One expectation's verdict: what is expected, of which table and column. failed: cells that are not so; None where it is not about
    cells, or could not be computed."""

    table: str
    column: str
    expectation: str
    passed: bool
    failed: int | None = None

    def words(self) -> str:
        """A sentence for a steward."""
        place = f"{self.table}.{self.column}" if self.column else self.table
        cells = f" ({self.failed:,} cell{'s are' if self.failed != 1 else ' is'} not so)" if self.failed and not self.passed else ""
        return f"{place}: {self.expectation}{cells}"

    def counts(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class TableResult:
    """All verdicts on a table."""

    table: str
    rows: int
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation is met."""
        return all(result.passed for result in self.results)

    def counts(self) -> dict[str, Any]:
        """As JSON holds it: names, verdicts and counts, never a value."""
        return {"table": self.table, "rows": self.rows, "passed": self.passed, "results": [result.counts() for result in self.results]}


@dataclass(frozen=True)
class Expected:
    """What is derived from: the published rules by published name, the schema that they give, counts of this run and of the last release."""

    rules: Mapping[str, Rule]
    schema: pa.Schema
    k: int
    rows_in: int
    rows_out_otherwise: int
    """Rows that were suppressed or held back, with reasons in the record."""
    facts: Mapping[str, Any]
    last: Mapping[str, Any] | None
    """The last release's facts of the table."""
    classes: ClassSizes | None
    checks: Checks
    generalized: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The values that a generalized column may hold (`generalized_values`)."""


@dataclass(frozen=True)
class OfCells:
    """An expectation over the cells of a column, in words and in Great Expectations' own. vouches: bool, of cells that are as expected beyond
    doubt, by Arrow; null where a cell is."""

    column: str
    words: str
    expectation: Any
    vouches: Callable[[pa.Array], pa.Array]


@dataclass(frozen=True)
class OfCounts:
    """An expectation over a small frame of counts."""

    words: str
    expectation: Any
    frame: pd.DataFrame


def validate_table(staged: Staged, expected: Expected) -> TableResult:
    """Validate a staged table. Its counts go through Great Expectations as small frames, its cells too: those for which Arrow, asked the same,
    does not vouch, so that neither memory nor time grows with the rows that are as they should be."""
    names = list(staged.schema.names) == list(expected.schema.names)
    types = staged.schema.equals(expected.schema, check_metadata=False)
    results = [
        Result(staged.table, "", "has exactly the columns of the policy, in its order", names),
        Result(staged.table, "", "has the columns' types as the policy gives them", types),
    ]
    for of_counts in count_expectations(expected):
        outcome = gx.validate(of_counts.frame, [of_counts.expectation])[0]
        results.append(Result(staged.table, "", of_counts.words, outcome.passed))
    present = [cell for cell in cell_expectations(expected) if cell.column in staged.schema.names]
    results += _validate_cells(staged, present)
    return TableResult(staged.table, int(expected.facts["rows"]), tuple(results))


def _validate_cells(staged: Staged, cells: Sequence[OfCells]) -> list[Result]:
    """A frame a column of what is to be looked at, so that its cost is that of the faults, and not of the rows."""
    passed = [True] * len(cells)
    failed: list[int | None] = [0] * len(cells)
    names = sorted({cell.column for cell in cells})
    judged = ((batch, number == 0) for number, batch in enumerate(_batches(staged, names)))
    for doubted in in_threads(lambda one: [_doubted(cell, *one) for cell in cells], judged, os.cpu_count() or 1):
        for place, (cell, column) in enumerate(zip(cells, doubted, strict=True)):
            if not len(column):
                continue
            outcome = gx.validate(_frame(cell.column, column), [cell.expectation])[0]
            passed[place] = passed[place] and outcome.passed
            before = failed[place]
            failed[place] = None if before is None or outcome.failed is None else before + outcome.failed
    return [Result(staged.table, c.column, c.words, passed[place], failed[place]) for place, c in enumerate(cells)]


def _frame(name: str, column: pa.Array) -> pd.DataFrame:
    return pa.table({name: column}).to_pandas(types_mapper=_nullable.get)


def _doubted(cell: OfCells, batch: pa.RecordBatch, first: bool) -> pa.Array:
    """The cells of a batch that Great Expectations is to judge."""
    column = batch[cell.column]
    fine = pc.or_(cell.vouches(column).fill_null(True), pc.is_null(column))
    if first:
        fine = pc.and_(fine, pc.greater_equal(pa.array(np.arange(len(column))), FRAME_ROWS))
    return column.filter(pc.invert(fine))


def _batches(staged: Staged, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for file in staged.files(staged.data) if columns else ():
        with pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(BATCH_ROWS, columns=columns)


#: Whole numbers with gaps stay whole: as floating point numbers two pseudonyms could become one.
_nullable: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}


def cell_expectations(expected: Expected) -> list[OfCells]:
    """Over the cells: formats of pseudonyms, dates, tags and codes, and the values that may be there."""
    return [
        OfCells(name, words, expectation, vouches)
        for name, rule in expected.rules.items()
        for words, (expectation, vouches) in _of_column(name, rule, expected)
    ]


_Said = tuple[Any, Callable[[pa.Array], pa.Array]]


def _of_column(name: str, rule: Rule, expected: Expected) -> Iterator[tuple[str, _Said]]:
    text = pa.types.is_string(expected.schema.field(name).type)
    if rule.values is not None:
        yield "holds only the values that the policy allows", _among(name, list(rule.values))
    if name in expected.generalized:
        yield "holds only values of its hierarchy's level", _among(name, [*expected.generalized[name], ANY])
    if rule.hierarchy == "us-zip3":
        yield "is a generalized ZIP", _matches(name, r"^([0-9]{3}|[0-9]{2}\*|[0-9]\*\*|\*)$")
    if rule.hierarchy == "age":
        yield "tells no age over 89", _matches(name, r"^([0-9]|[1-8][0-9]|90\+|[0-9]+-[1-8]?[0-9]|\*)$")
    if rule.method is Method.PSEUDONYM and rule.format == "uid":
        yield "is a unique identifier of 2.25", _matches(name, r"^2\.25\.[1-9][0-9]{0,38}$")
    elif rule.method is Method.PSEUDONYM:
        words = f"is a pseudonym of {TEXT_LENGTH} signs" if text else "is a pseudonym, a positive number"
        yield words, _matches(name, f"^[a-z2-7]{{{TEXT_LENGTH}}}$") if text else _lies(name, 0, None)
    if rule.method is Method.CODE:
        yield "lies within its codes", _lies(name, rule.bottom, rule.top)
    if rule.method is Method.REDACT:
        tag = (rule.kind or Kind.ID).tag
        yield f"is the tag {tag}", _among(name, [tag])
    if rule.method is Method.YEAR:
        yield "is a year", _lies(name, 1, 9999)
    if rule.method is Method.SHIFT and text and rule.format is None:
        yield "is a date in ISO 8601", _matches(name, ISO_DATE)


def _among(column: str, values: list[Any]) -> _Said:
    known = pa.array([value for value in values if isinstance(value, str)], pa.string())
    expectation = gx.library().expectations.ExpectColumnValuesToBeInSet(column=column, value_set=values)
    return expectation, lambda cells: pc.is_in(cells, known) if pa.types.is_string(cells.type) else _nobody(cells)


def _matches(column: str, regex: str) -> _Said:
    expectation = gx.library().expectations.ExpectColumnValuesToMatchRegex(column=column, regex=regex)
    return expectation, lambda cells: pc.match_substring_regex(cells, regex) if pa.types.is_string(cells.type) else _nobody(cells)


def _lies(column: str, low: float | None, high: float | None) -> _Said:
    expectation = gx.library().expectations.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)

    def vouches(cells: pa.Array) -> pa.Array:
        if not (pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)):
            return _nobody(cells)
        above = pa.repeat(True, len(cells)) if low is None else pc.greater_equal(cells, low)
        return above if high is None else pc.and_(above, pc.less_equal(cells, high))

    return expectation, vouches


def _nobody(cells: pa.Array) -> pa.Array:
    return pa.repeat(False, len(cells))


def count_expectations(expected: Expected) -> Iterator[OfCounts]:
    """Over the counts: rows against the extraction, k, and rows and missing values against the last release."""
    now, checks = expected.facts, expected.checks
    unaccounted = expected.rows_in - expected.rows_out_otherwise - now["rows"]
    exactly_none = gx.library().expectations.ExpectColumnValuesToBeInSet(column="unaccounted", value_set=[0])
    yield OfCounts("every extracted row is published or accounted for", exactly_none, pd.DataFrame({"unaccounted": [unaccounted]}))
    if expected.classes is not None and expected.classes.sizes:
        sizes = pd.DataFrame({"subjects": expected.classes.sizes, "classes": expected.classes.classes})
        hold_k = gx.hold_k()(column="subjects", min_value=expected.k)
        yield OfCounts(f"every equivalence class holds {expected.k} subjects or more", hold_k, sizes)
    if expected.last is not None:
        fallen = (expected.last["rows"] - now["rows"]) / max(expected.last["rows"], 1)
        words = f"rows fell by no more than {checks.row_change:.0%} since the last release"
        yield OfCounts(words, _at_most("fallen", checks.row_change), pd.DataFrame({"fallen": [fallen]}))
        for column, change in _null_changes(now, expected.last).items():
            words = f"the share of missing values in {column} moved by no more than {checks.null_rate_change:.0%} since the last release"
            yield OfCounts(words, _at_most("change", checks.null_rate_change), pd.DataFrame({"change": [change]}))


def _at_most(column: str, most: float) -> Any:
    return gx.library().expectations.ExpectColumnMaxToBeBetween(column=column, max_value=most)


def _null_changes(now: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, float]:
    def rate(facts: Mapping[str, Any], column: str) -> float:
        return float(facts["columns"][column]["nulls"] / max(facts["rows"], 1))

    return {column: abs(rate(now, column) - rate(last, column)) for column in now["columns"] if column in last["columns"]}


def generalized_values(hierarchy: Hierarchy, values: pa.Array, level: str) -> list[str]:
    """The values that a column may hold once it is generalized. values: the distinct values before; level: the level's name, as recorded.

    Values that the hierarchy does not cover give none: no cell may hold them. Raises ValueError where there is no such level.
    """
    covered = values.filter(hierarchy.covers(values)).drop_null()
    shown = hierarchy.generalize(covered, hierarchy.levels.index(level))
    return sorted(value for value in pc.unique(shown).to_pylist() if value is not None)


def quasi_columns(rules: Mapping[str, Rule]) -> list[str]:
    """The published quasi-identifiers."""
    return [name for name, rule in rules.items() if rule.role is Role.QUASI]
