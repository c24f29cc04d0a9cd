"""Great Expectations, held so that it is quiet: in memory, without analytics, without progress bars, without a value in its results.

Importing it takes seconds, so it is imported on first use.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

#: Counts, and no list of values: the default format carries raw values, and BASIC does so unless it is told to list none.
RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}


@dataclass(frozen=True)
class Outcome:
    """One expectation over one frame. failed: the number of cells that are not as expected; None where the expectation is not about cells,
    or could not be computed."""

    passed: bool
    failed: int | None
    computed: bool


def validate(frame: pd.DataFrame, expectations: Sequence[Any]) -> list[Outcome]:
    """Validate a frame by a suite of expectations. One that cannot be computed has failed; why is not said, for it can hold a value."""
    # A suite takes equal expectations for one, so they are validated one by one.
    batch = _frames().get_batch({"dataframe": frame})
    return [_outcome(batch.validate(expectation, result_format=RESULT_FORMAT)) for expectation in expectations]


def _outcome(result: Any) -> Outcome:
    failed = result.result.get("unexpected_count")
    raised = result.exception_info or {}
    computed = raised.get("raised_exception") is False
    return Outcome(bool(result.success) and computed, int(failed) if failed is not None else None, computed)


@cache
def library() -> Any:
    """Great Expectations itself, told to send nothing and to log no message: its messages can hold values."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with _without_spark():
        import great_expectations

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL + 1)
    return great_expectations


@contextmanager
def _without_spark() -> Iterator[None]:
    """Our frames are pandas'. Great Expectations imports all of PySpark where it finds it, whose remote client ends the process
    (`sys.exit`) where the packages that it wants are not there."""
    there = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "pyspark" or name.startswith("pyspark.")}
    sys.modules["pyspark"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pyspark"]
        sys.modules.update(there)


@cache
def _frames() -> Any:
    """A batch definition for frames, in a context that lives in memory."""
    context = library().get_context(mode="ephemeral")
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context.variables.analytics_enabled = False
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context.data_sources.add_pandas("staged").add_dataframe_asset("frame").add_batch_definition_whole_dataframe("whole")


@cache
def hold_k() -> Any:
    """The custom expectation of k-anonymity, over a frame with a row a class size."""
    base = library().expectations.ExpectColumnMinToBeBetween

    class ExpectEquivalenceClassesToHoldK(base):  # type: ignore[misc, valid-type]
        """The smallest equivalence class holds k distinct subjects or more (Sweeney, 2002)."""

        description: str = "Every equivalence class of the quasi-identifiers holds at least k distinct subjects."

    return ExpectEquivalenceClassesToHoldK
