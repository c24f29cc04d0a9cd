"""Where malformed records go: a Parquet file in the private workspace, with table, row number and reason code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize.errors import QuarantineBudgetExceeded
from anonymize.sources.base import ROW, BrokenFile, Malformed

SCHEMA = pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in ("table", "row", "reason", "column", "raw", "file", "key")])
"""A row a record; a whole file is a row with its `file` and without a `row`. key: the record's row key, where the policy
names one and the record has it."""


MEND = "Worker processes died of them: give the engine more memory or fewer workers (engine: {local: …})"


class Quarantine:
    """Collects a table's malformed records in a file; counts them by reason. step: in which they are found, for errors.

    keys, raws: the row keys that it holds, and hashes of their records, where the policy names a row key.
    A context manager: the file stands, whole, when it ends. A process that is killed leaves a `.part`, which the next start replaces.
    """

    def __init__(self, file: Path, table: str, *, step: str = "extract") -> None:
        self.file, self.table, self.step = file, table, step
        self.reasons: Counter[str] = Counter()
        self.file_reasons: Counter[str] = Counter()
        self.first_rows: list[int] = []
        self.keys: set[str] = set()
        self.raws: set[int] = set()
        self._pending: list[Malformed] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Quarantine:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writer = pq.ParquetWriter(self._part, SCHEMA, compression="zstd")
        return self

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._part.replace(self.file)

    @property
    def _part(self) -> Path:
        return self.file.with_name(self.file.name + ".part")

    @property
    def total(self) -> int:
        """How many records are held."""
        return sum(self.reasons.values())

    @property
    def files(self) -> int:
        """How many whole files are held."""
        return self.file_reasons.total()

    def add(self, record: Malformed) -> None:
        """Hold one record, or a whole file: which is counted by itself, for how many records it holds is not known."""
        if isinstance(record, BrokenFile):
            self.file_reasons[record.reason] += 1
            self._pending.append(record)
            return
        self.reasons[record.reason + (f" ({record.column})" if record.column else "")] += 1
        if len(self.first_rows) < 3:
            self.first_rows.append(record.row)
        if record.key is not None:
            self.keys.add(record.key)
            self.raws.add(hash(record.raw))
        self._pending.append(record)
        if len(self._pending) >= 1_000:
            self._flush()

    def add_rows(self, batch: pa.RecordBatch, which: pa.Array, reason: str, column: str, keys: pa.Array | None = None) -> None:
        """Hold the records of a batch that `which` (bool) marks. keys: the row keys of the batch's records, where the policy names them."""
        for index in pc.indices_nonzero(which).to_pylist():
            key = keys[index].as_py() if keys is not None else None
            self.add(Malformed(batch[ROW][index].as_py(), reason, column, raw=str(batch.slice(index, 1).to_pylist()[0]), key=key))

    def check_budget(self, good: int, budget: float, *, before: int = 0) -> None:
        """Raises QuarantineBudgetExceeded where more than the budget's share of all records is malformed. before: those that a step before
        this one holds."""
        every = good + self.total + before
        if self.total + before > budget * every:
            rows = ", ".join(str(row) for row in sorted(self.first_rows))
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(self.reasons.items()))
            more = f", and {before:,} before this step" if before else ""
            mend = "Mend the source, mend the column's type or format in the policy" if self.step == "extract" else MEND
            raise QuarantineBudgetExceeded(
                f"{self.step} {self.table}: {self.total:,} of {every:,} records quarantined ({reasons}; first rows {rows}{more}). "
                f"Budget is {budget:.2%}: the run ends. {mend}, or raise checks.quarantine"
            )

    def check_files(self, every: int, budget: float) -> None:
        """Raises QuarantineBudgetExceeded where more than the budget's share of a table's files could not be read."""
        if self.files > budget * every:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(self.file_reasons.items()))
            raise QuarantineBudgetExceeded(
                f"extract {self.table}: {self.files:,} of {every:,} files quarantined ({reasons}). Budget is {budget:.0%} of the files: the run "
                f"ends. Mend the files, or raise checks.quarantined-files"
            )

    def _flush(self) -> None:
        assert self._writer is not None  # for the type checker: only used between enter and exit
        if self._pending:
            held = [(self.table, None if isinstance(r, BrokenFile) else r.row, r.reason, r.column, r.raw, r.file, r.key) for r in self._pending]
            columns = list(zip(*held, strict=True))
            self._writer.write_batch(
                pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
            )
        self._pending = []
