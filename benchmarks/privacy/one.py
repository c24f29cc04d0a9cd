"""Measure one table in a process of its own, so that its memory is its own: prints one JSON object a line."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize.hierarchies import Hierarchy
from anonymize.judging.recount import Wanted, recount
from anonymize.privacy import LocalSolution, SearchSettings, Solution, recode_locally, search
from benchmarks.privacy import cases

RUNS = 5


@dataclass(frozen=True)
class Measured:
    """One row as measured. seconds: median of warm runs of the search, with drawing the hierarchies over the tally's values but without the
    tally, as ARX's figure is without load and encoding; cpu_seconds: of the processor, which is what a quiet machine would take, for the
    search has one thread; tally_seconds: of the GROUP BY; apply_seconds: tuples to published rows; recounted: the
    smallest class of the written file; unique, under: the share of subjects that stood alone, or under k, before."""

    case: cases.Case
    loss: float
    suppressed: float
    seconds: float
    cpu_seconds: float
    tally_seconds: float
    apply_seconds: float
    megabytes: float
    recounted: int
    unique: float = 0.0
    under: float = 0.0


def main(dataset: str) -> None:
    """All rows of a table."""
    rows, ladders, subject = cases.load(dataset)
    for number, case in enumerate(cases.of(dataset)):
        quasi = {name: ladder for name, ladder in ladders.items() if name not in case.without}
        if not number:
            _solve(_tally(rows, quasi, subject, case), quasi, subject, case)  # the compiler's and the imports' time is not the search's
        print(json.dumps(asdict(_measured(rows, quasi, subject, case)), default=str), flush=True)


def _measured(rows: pa.Table, quasi: dict[str, Hierarchy], subject: str | None, case: cases.Case) -> Measured:
    spans, busy, tallies = [], [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        tally = _tally(rows, quasi, subject, case)
        tallies.append(time.perf_counter() - start)
        start, worked = time.perf_counter(), time.process_time()
        solution = _solve(tally, quasi, subject, case)
        spans.append(time.perf_counter() - start)
        busy.append(time.process_time() - worked)
    start = time.perf_counter()
    published = pa.Table.from_batches([solution.apply(batch) for batch in rows.to_batches()])
    applied = time.perf_counter() - start
    unique, under = _before(rows, quasi, subject, case.k)
    return Measured(
        case=case,
        loss=solution.loss,
        suppressed=solution.suppressed / rows.num_rows,
        seconds=statistics.median(spans),
        cpu_seconds=statistics.median(busy),
        tally_seconds=statistics.median(tallies),
        apply_seconds=applied,
        megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        recounted=_recounted(published, list(quasi), subject, case),
        unique=unique,
        under=under,
    )


def _solve(tally: pa.Table, quasi: dict[str, Hierarchy], subject: str | None, case: cases.Case) -> Solution | LocalSolution:
    settings = SearchSettings(k=case.k, suppression=case.suppression, models=case.models)
    return (recode_locally if case.mode == "local" else search)(tally, quasi, settings, subject=subject)


def _tally(rows: pa.Table, quasi: dict[str, Hierarchy], subject: str | None, case: cases.Case) -> pa.Table:
    names = [*quasi, *(model.column for model in case.models), *([subject] if subject else [])]
    columns = ", ".join(f'"{name}"' for name in names)
    with duckdb.connect() as duck:
        duck.register("rows", rows)
        query = f"SELECT {columns}, count(*) AS subjects FROM rows GROUP BY {columns} ORDER BY {columns}"
        tally: pa.Table = duck.sql(query).to_arrow_table()
        return tally


def _before(rows: pa.Table, quasi: dict[str, Hierarchy], subject: str | None, k: int) -> tuple[float, float]:
    """Subjects in classes of one, and of under k, at the finest levels that the hierarchies publish."""
    finest = pa.table({name: ladder.generalize(rows[name].combine_chunks(), 0) for name, ladder in quasi.items()})
    finest = finest.append_column("__subject", rows[subject] if subject else pa.array(range(rows.num_rows)))
    names = ", ".join(f'"{name}"' for name in quasi)
    with duckdb.connect() as duck:
        duck.register("finest", finest)
        sizes = duck.sql(f"SELECT count(DISTINCT __subject) AS n FROM finest GROUP BY {names}").to_arrow_table()["n"]
    total = pc.sum(sizes).as_py()
    return tuple((pc.sum(pc.if_else(pc.less(sizes, least), sizes, 0)).as_py()) / total for least in (2, k))  # type: ignore[return-value]


def _recounted(published: pa.Table, quasi: list[str], subject: str | None, case: cases.Case) -> int:
    """The smallest class of what would be published, from a file, by the code that shares nothing with the search."""
    diversity = tuple((m.column, "distinct", (float(m.l),)) for m in case.models if hasattr(m, "l"))
    closeness = tuple((m.column, "equal", m.t) for m in case.models if hasattr(m, "t"))
    counted = {m.column: pc.value_counts(published[m.column].combine_chunks()).to_pylist() for m in case.models}
    whole = {column: {c["values"]: c["counts"] for c in counts} for column, counts in counted.items()}
    kept = published.filter(pc.invert(published["__suppressed"]))
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(kept.drop_columns(["__suppressed"]), Path(folder) / "kept.parquet")
        if subject:
            pq.write_table(pa.table({"__subject": kept[subject]}), Path(folder) / "whose.parquet")
        wanted = Wanted(case.k, diversity, closeness, whole)
        found = recount(Path(folder) / "kept.parquet", quasi, wanted, subject=Path(folder) / "whose.parquet" if subject else None)
    if found.failed:
        raise SystemExit(f"{case.dataset} {case.words}: {'; '.join(found.failed)}")
    return found.smallest


if __name__ == "__main__":
    main(sys.argv[1])
