"""What waits in quarantine, and how it comes in after a repair.

While a run is under way its quarantine lies in its workspace. Of a run that was published it is kept for `checks.quarantine-days` in
`<workspace>/quarantine/<run>`, 0700, for it holds records as they stand at the source; of one that was rejected or discarded it goes with the
workspace, since the next run reads the same records again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import AnonymizeError
from anonymize.policy.model import Policy
from anonymize.run import Counts, Record, find

if TYPE_CHECKING:
    from anonymize.run import Run

SHOWN_ROWS = 10
ROWKEY = "__rowkey"


@dataclass(frozen=True)
class Waiting:
    """The malformed records of one table with one reason and column. rows: their numbers in what was read, the first few."""

    table: str
    reason: str
    column: str
    count: int
    rows: tuple[int, ...]


def home(policy: Policy) -> Path:
    """Where the quarantines of published runs are kept."""
    return policy.path(policy.workspace) / "quarantine"


def folder(policy: Policy, run_id: str) -> Path | None:
    """Where a run's quarantine lies; None where it has none any more."""
    root = policy.path(policy.workspace)
    places = (root / "runs" / run_id / "quarantine", home(policy) / run_id)
    return next((place for place in places if place.is_dir()), None)


def locate(name: str, policies: Path) -> tuple[Policy, str]:
    """The policy and id of a run by its id, its record's folder, or its policy file: there its newest run that has a quarantine."""
    from anonymize.policy.loader import load

    if not Path(name).is_file():
        return find(name, policies)
    policy = load(name)
    begun = [json.loads(file.read_text()) for file in (policy.path(policy.workspace) / "records").glob("*/run.json")]
    runs = sorted((one["started"], one["id"]) for one in begun if one["dataset"] == policy.dataset)
    found = next((run for _, run in reversed(runs) if folder(policy, run) is not None), None)
    if found is None:
        raise AnonymizeError(f"no run of {name} has a quarantine: nothing was malformed, or its time is over (checks.quarantine-days)")
    return policy, found


def waiting(policy: Policy, run_id: str, *, table: str | None = None, rows: int = SHOWN_ROWS) -> list[Waiting]:
    """What waits, by table, reason and column: counts and row numbers, no value."""
    found = []
    for name, held in _held(policy, run_id, table):
        groups: dict[tuple[str, str], list[int]] = {}
        for reason, column, row in zip(*(held[word].to_pylist() for word in ("reason", "column", "row")), strict=True):
            groups.setdefault((reason, column), []).append(row or 0)
        found += [Waiting(name, *key, len(group), tuple(sorted(group)[:rows])) for key, group in sorted(groups.items())]
    return found


def records(policy: Policy, run_id: str, *, table: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records themselves, with the names of their tables: PHI, for the terminal of who mends them and for nothing else."""
    for name, held in _held(policy, run_id, table):
        for batch in held.to_batches():
            yield from ((name, record) for record in batch.to_pylist())


def _held(policy: Policy, run_id: str, table: str | None) -> Iterator[tuple[str, pa.Table]]:
    place = folder(policy, run_id)
    if place is None:
        raise AnonymizeError(f"run '{run_id}' has no quarantine: nothing was malformed, or its time is over (checks.quarantine-days)")
    for file in sorted(place.glob("*.parquet")):
        name = file.stem.partition(".")[0]  # `note`, and `note.deidentify`, which holds what was given up later
        if table in (None, name):
            held = pq.read_table(file)
            if held.num_rows:
                yield name, held


# ------------------------------------------------------------------------------------------------------------------ kept, and purged


def keep(run: Run) -> Counts:
    """Keep a published run's quarantine beyond its workspace, and remove those whose time is over. May be called again."""
    policy, place = run.policy, home(run.policy) / run.id
    here = run.folder("quarantine")
    held = sum(pq.read_metadata(file).num_rows for file in here.glob("*.parquet")) if here.is_dir() else 0
    if held and policy.checks.quarantine_days:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not place.exists():
            here.rename(place)
    purge(policy)
    return {"kept": held if place.is_dir() else 0}


def purge(policy: Policy, *, every: bool = False) -> int:
    """Remove the quarantines whose days are over (or every one) of the dataset; returns how many."""
    latest, gone = datetime.now(UTC) - timedelta(days=policy.checks.quarantine_days), 0
    for place in home(policy).iterdir() if home(policy).is_dir() else ():
        record = Record(policy.path(policy.workspace) / "records" / place.name)
        begun, ended = record.get("run") or {}, record.get("end") or {}
        old = "at" in ended and datetime.fromisoformat(ended["at"]) < latest
        if begun.get("dataset") == policy.dataset and (every or old):
            shutil.rmtree(place, ignore_errors=True)
            gone += 1
    return gone


# ----------------------------------------------------------------------------------------------------------------------------- replay


def replayed(run: Run, tables: Sequence[str], held: Path) -> None:
    """Note in a run's workspace which records are to be read again beside what is new: by their row keys. held: their quarantine."""
    for table in tables:
        keys = pq.read_table(held / f"{table}.parquet")["key"].drop_null().combine_chunks()
        if run.policy.tables[table].incremental is not None and len(keys):
            run.folder("mending").mkdir(exist_ok=True, mode=0o700)
            pq.write_table(pa.table({ROWKEY: keys}), run.folder("mending") / f"{table}.parquet")


def to_read_again(run: Run, table: str) -> pa.Array:
    """The row keys of a table's records that are to be read again, as text; empty where nothing was mended."""
    file = run.folder("mending") / f"{table}.parquet"
    return pq.read_table(file)[ROWKEY].combine_chunks() if file.exists() else pa.array([], pa.string())


def tables_of(policy: Policy, run_id: str, table: str | None) -> list[str]:
    """The tables of a run that have something in quarantine, or the one that is named. Raises AnonymizeError where there is nothing."""
    found = list(dict.fromkeys(name for name, _ in _held(policy, run_id, table) if name in policy.tables))
    if not found:
        raise AnonymizeError(f"nothing waits in the quarantine of run '{run_id}'" + (f" for table '{table}'" if table else ""))
    return found
