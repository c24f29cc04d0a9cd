"""A Great Expectations suite derived from the policy. Its results hold names and verdicts alone: the default format carries raw values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.policy.model import Checks, Method, Role, Rule
from anonymize.transform.pseudonym import TEXT_LENGTH
from anonymize.validate.counting import ClassSizes, Staged


@dataclass(frozen=True)
class Result:
    """One expectation's verdict: what is expected, of which table and column."""

    table: str
    column: str
    expectation: str
    passed: bool

    def words(self) -> str:
        """A sentence for a steward."""
        place = f"{self.table}.{self.column}" if self.column else self.table
        return f"{place}: {self.expectation}"


@dataclass(frozen=True)
class Expected:
    """What the suite is derived from: the published rules by published name, the Arrow schema, counts of this run and the last release."""

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


def validate_table(staged: Staged, expected: Expected) -> list[Result]:
    """Validate a staged table: its rows file by file, so that memory stays a file's, and its counts as one frame."""
    results: dict[tuple[str, str], bool] = {}
    of_rows = _row_expectations(expected)
    for file in staged.files(staged.data) if of_rows else ():
        columns = sorted({column for column, _, _ in of_rows})
        frame = pq.read_table(file, columns=columns).to_pandas()
        for (column, words, _), passed in zip(of_rows, _validate(frame, [e for _, _, e in of_rows]), strict=True):
            results[column, words] = results.get((column, words), True) and passed
    of_counts = _count_expectations(expected)
    for words, expectation, frame in of_counts:
        results["", words] = _validate(frame, [expectation])[0]
    results["", "columns and types are those of the policy"] = staged.schema.equals(expected.schema, check_metadata=False)
    return [Result(staged.table, column, words, passed) for (column, words), passed in results.items()]


def _row_expectations(expected: Expected) -> list[tuple[str, str, Any]]:
    """(column, words, expectation) over the rows."""
    gxe = _gx().expectations
    found: list[tuple[str, str, Any]] = []
    for name, rule in expected.rules.items():
        text = pa.types.is_string(expected.schema.field(name).type)
        if rule.method is Method.PSEUDONYM and text:
            found.append((name, "is a pseudonym", gxe.ExpectColumnValuesToMatchRegex(column=name, regex=f"^[a-z2-7]{{{TEXT_LENGTH}}}$")))
        if rule.values:
            found.append((name, "holds allowed values only", gxe.ExpectColumnValuesToBeInSet(column=name, value_set=list(rule.values))))
        if rule.method is Method.CODE:
            bounds = {"min_value": rule.bottom, "max_value": rule.top}
            found.append((name, "lies within its codes", gxe.ExpectColumnValuesToBeBetween(column=name, **bounds)))
        if rule.hierarchy == "us-zip3":
            found.append((name, "is a generalized ZIP", gxe.ExpectColumnValuesToMatchRegex(column=name, regex=r"^(\d{3}|\d{2}\*|\d\*\*|\*)$")))
        if rule.hierarchy == "age":
            found.append(
                (
                    name,
                    "tells no age over 89",
                    gxe.ExpectColumnValuesToMatchRegex(column=name, regex=r"^(\d|[1-8]\d|90\+|\d+-[1-8]?\d|\*)$"),
                )
            )
    return found


def _count_expectations(expected: Expected) -> list[tuple[str, Any, pd.DataFrame]]:
    """(words, expectation, the frame of counts it is about)."""
    gxe, now = _gx().expectations, expected.facts
    found: list[tuple[str, Any, pd.DataFrame]] = []
    unaccounted = expected.rows_in - expected.rows_out_otherwise - now["rows"]
    frame = pd.DataFrame({"unaccounted": [unaccounted]})
    found.append(("every extracted row is published or accounted for", _between("unaccounted", 0, 0), frame))
    if expected.classes is not None and expected.classes.sizes:
        frame = pd.DataFrame({"subjects": expected.classes.sizes, "classes": expected.classes.classes})
        found.append((f"every equivalence class holds {expected.k} subjects or more", hold_k()(column="subjects", min_value=expected.k), frame))
    if expected.last is not None:
        fallen = (expected.last["rows"] - now["rows"]) / max(expected.last["rows"], 1)
        frame = pd.DataFrame({"fallen": [fallen]})
        words = f"rows fell by no more than {expected.checks.row_change:.0%} since the last release"
        found.append((words, gxe.ExpectColumnMaxToBeBetween(column="fallen", max_value=expected.checks.row_change), frame))
        changes = _null_changes(now, expected.last)
        if changes:
            words = f"no column's share of missing values moved by more than {expected.checks.null_rate_change:.0%} since the last release"
            frame = pd.DataFrame({"change": list(changes.values())})
            found.append((words, gxe.ExpectColumnMaxToBeBetween(column="change", max_value=expected.checks.null_rate_change), frame))
    return found


def _null_changes(now: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, float]:
    def rate(facts: Mapping[str, Any], column: str) -> float:
        return float(facts["columns"][column]["nulls"] / max(facts["rows"], 1))

    return {column: abs(rate(now, column) - rate(last, column)) for column in now["columns"] if column in last["columns"]}


def _between(column: str, low: float, high: float) -> Any:
    return _gx().expectations.ExpectColumnMinToBeBetween(column=column, min_value=low, max_value=high)


@cache
def hold_k() -> Any:
    """The custom expectation of k-anonymity over a frame of class sizes. Made on demand: importing Great Expectations takes seconds."""
    base = _gx().expectations.ExpectColumnMinToBeBetween

    class ExpectEquivalenceClassesToHoldK(base):  # type: ignore[misc, valid-type]
        """The smallest equivalence class holds k distinct subjects or more (Sweeney, 2002)."""

        description: str = "Every equivalence class of the quasi-identifiers holds at least k distinct subjects."

    return ExpectEquivalenceClassesToHoldK


@cache
def _gx() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    return great_expectations


@cache
def _frames() -> Any:
    """A batch definition for frames, in a context that lives in memory and tells nobody."""
    gx = _gx()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.analytics_enabled = False
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context.data_sources.add_pandas("staged").add_dataframe_asset("frame").add_batch_definition_whole_dataframe("whole")


def _validate(frame: pd.DataFrame, expectations: Sequence[Any]) -> list[bool]:
    """The verdicts alone; an expectation that could not be computed has failed."""
    batch = _frames().get_batch({"dataframe": frame})
    return [bool(batch.validate(expectation, result_format="BOOLEAN_ONLY").success) for expectation in expectations]


def quasi_columns(rules: Mapping[str, Rule]) -> list[str]:
    """The published quasi-identifiers."""
    return [name for name, rule in rules.items() if rule.role is Role.QUASI]
