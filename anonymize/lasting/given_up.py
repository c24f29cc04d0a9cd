"""Records whose de-identification killed whoever worked on them: out of memory, or a fault in a library.

They go to the quarantine as malformed ones do, count against the same budget, and are counted wherever those are. The next run tries them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

import pyarrow as pa

from anonymize.run import Counts, Record, Run
from anonymize.sources.base import ROW
from anonymize.sources.quarantine import Quarantine

REASON = "worker-died"
STEP = "deidentify"


class GivenUp:
    """Collects a table's records that are given up, within the policy's budget. A context manager, as the quarantine is."""

    def __init__(self, run: Run, table: str) -> None:
        self._extracted = run.record.get("extract", table) or {}
        self._budget = run.policy.checks.quarantine
        self._quarantine = Quarantine(run.folder("quarantine") / f"{table}.{STEP}.parquet", table, step=STEP)

    def __enter__(self) -> GivenUp:
        self._quarantine.__enter__()
        return self

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._quarantine.__exit__(type, error, trace)
        if not self._quarantine.total:
            self._quarantine.file.unlink(missing_ok=True)

    def add(self, batch: pa.RecordBatch) -> None:
        """Hold records. Raises QuarantineBudgetExceeded as soon as they are too many, with those of the extraction."""
        own = batch.select([name for name in batch.schema.names if name == ROW or not name.startswith("__")])
        self._quarantine.add_rows(own, pa.repeat(True, own.num_rows), REASON, "")
        good = self._extracted.get("rows", 0) - self._quarantine.total
        self._quarantine.check_budget(good, self._budget, before=self._extracted.get("quarantined", 0))

    def counts(self) -> Counts:
        """For the record; nothing where nothing was given up."""
        held = self._quarantine
        return {"quarantined": held.total, "reasons": dict(held.reasons)} if held.total else {}


@dataclass(frozen=True)
class Came:
    """What of a table came in to be de-identified and was, and what is in quarantine. None: not known yet."""

    rows: int | None = None
    quarantined: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    given_up: int = 0
    """Of the quarantined, those that could be read and could not be de-identified."""


def came(record: Record, table: str) -> Came:
    """By a run's record."""
    extracted, cleaned = record.get("extract", table), record.get(STEP, table) or {}
    if extracted is None or "rows" not in extracted:
        return Came()
    lost, reasons = cleaned.get("quarantined", 0), extracted.get("reasons", {}) | cleaned.get("reasons", {})
    return Came(extracted["rows"] - lost, extracted.get("quarantined", 0) + lost, reasons, lost)
