"""What is kept between runs of a table that is read by increments: its rows as they stand at the source (the base), and how far it was read.

The base holds PHI: `<workspace>/kept/<dataset>/<run>/<table>`, 0700, of the last run that was published. Base and cursor are one: a run that
is not published moves neither, and any published run's pair is right, however late it is put in place. Of two runs that went at once, as a
backfill's and a scheduled one may, only one is published: neither has what the other read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import StepFailed
from anonymize.lasting import cursors
from anonymize.policy.model import Method, Policy
from anonymize.trail.files import write_whole
from anonymize.transform.batch import KEY
from anonymize.transform.pseudonym import SUBJECT

if TYPE_CHECKING:
    from anonymize.run import Counts, Run

FORMAT = 1
CURRENT, STATE = "current.json", "state.json"


@dataclass(frozen=True)
class Base:
    """A table as it was kept. rows: a folder of Parquet; quarantine: its malformed records; cursor: how far it was read."""

    run: str
    rows: Path
    quarantine: Path
    cursor: Any


def home(policy: Policy) -> Path:
    """Where the dataset's bases lie."""
    return policy.path(policy.workspace) / "kept" / policy.dataset


def fingerprint(policy: Policy, table: str, schema: pa.Schema) -> str:
    """What a base was made by, as a hash: another source, query, row key, column, type or rule of dates makes another base."""
    spec = policy.tables[table]
    name, settings = policy.source_of(table)
    dates = {c: [rule.method, rule.format] for c, rule in spec.columns.items() if rule.method in (Method.SHIFT, Method.YEAR)}
    incremental = spec.incremental.model_dump(mode="json", include={"cursor", "kind", "row", "history", "deletes"}) if spec.incremental else {}
    stated = [FORMAT, name, settings.model_dump(mode="json"), spec.from_ or table, spec.query, incremental, dates]
    fields = [[field.name, str(field.type)] for field in schema]
    return hashlib.sha256(json.dumps([*stated, fields], sort_keys=True).encode()).hexdigest()


def current(policy: Policy) -> str | None:
    """The run whose base stands."""
    file = home(policy) / CURRENT
    return str(json.loads(file.read_text())["run"]) if file.exists() else None


def find(run: Run, table: str, made_by: str, subjects: frozenset[str] | None) -> tuple[Base | None, str]:
    """The base to go on from, or the reason why the table is read whole. subjects: the run's cohort."""
    if asked(run).get("full_refresh"):
        return None, "full refresh"
    after = current(run.policy)
    folder = home(run.policy) / (after or "")
    if after is None or not (folder / STATE).exists():
        return None, "first run"
    state = json.loads((folder / STATE).read_text())
    one = state["tables"].get(table)
    if one is None:
        return None, "first run"
    if one["made_by"] != made_by:
        return None, "its columns, source or rules changed"
    if _came_back(run, folder, subjects):
        return None, "subjects are back who were not taken before"
    left_out = subjects is not None or bool(_read(folder / "withheld.parquet", SUBJECT))
    if left_out and state["linkage"] != _linkage(run):
        return None, "the map of persons changed"
    return Base(after, folder / table, folder / f"{table}.quarantine.parquet", cursors.from_json(one["cursor"])), ""


def _came_back(run: Run, folder: Path, subjects: frozenset[str] | None) -> bool:
    """Whether somebody may be here of whom the base has nothing: who opted in again, or is new in the cohort."""
    out = _read(folder / "withheld.parquet", SUBJECT) - _read(run.folder("withheld") / "subjects.parquet", SUBJECT)
    cohort = folder / "cohort.parquet"
    grown = cohort.exists() and (subjects is None or not subjects <= _read(cohort, KEY))
    return bool(out) or grown


def _read(file: Path, column: str) -> set[str]:
    return set(pq.read_table(file)[column].to_pylist()) if file.exists() else set()


def _linkage(run: Run) -> str:
    file = run.folder("linkage") / "map.parquet"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def narrowed(run: Run) -> Policy:
    """The policy, where FHIR servers of which every table is read by `kind: since` are asked for what changed since the last release alone.
    Settled once a run."""
    file = run.folder("sources") / "since.json"
    if not file.exists():
        write_whole(file, json.dumps({name: cursors.to_json(_since(run, name)) for name in run.policy.sources}).encode())
    since = {name: cursors.from_json(stated) for name, stated in json.loads(file.read_text()).items()}
    sources = {name: one.model_copy(update={"since": since[name]}) if since.get(name) else one for name, one in run.policy.sources.items()}
    return run.policy.model_copy(update={"sources": sources})


def _since(run: Run, source: str) -> Any:
    """The earliest cursor of a source's tables; None where one of them is to be read whole."""
    after, policy = current(run.policy), run.policy
    file = home(policy) / (after or "") / STATE
    tables = [table for table in policy.tables if policy.source_of(table)[0] == source]
    specs = [policy.tables[table].incremental for table in tables]
    if after is None or not file.exists() or asked(run).get("full_refresh") or not all(spec and spec.kind == "since" for spec in specs):
        return None
    state = json.loads(file.read_text())["tables"]
    found = [cursors.from_json(state[table]["cursor"]) if table in state else None for table in tables]
    return min(one for one in found if one is not None) if found and None not in found else None


# ------------------------------------------------------------------------------------------------------------- what a run was asked


def asked(run: Run) -> Counts:
    """What was asked of the run beside its policy: `full_refresh`, and the interval's `start` and `end`."""
    return run.record.get("asked") or {}


def ask(run: Run, *, full_refresh: bool = False, start: str | None = None, end: str | None = None) -> None:
    """Note what is asked of a run before its first step; a run that goes on keeps to what it was asked at first."""
    if run.record.get("asked") is None and run.record.get("check") is None:
        run.record.put("asked", {"full_refresh": full_refresh, "start": start, "end": end})


# ------------------------------------------------------------------------------------------------------------------- keep and forget


def note(run: Run, table: str, made_by: str, cursor: Any) -> None:
    """Note in the run's workspace how far a table was read; what is noted counts once the release is published."""
    write_whole(run.folder("base") / f"{table}.json", json.dumps({"made_by": made_by, "cursor": cursors.to_json(cursor)}).encode())


def hold(run: Run) -> None:
    """Raise StepFailed where another run was published since this one took its window: what that one read would not stand in this release."""
    now = current(run.policy)
    names = [table for table, spec in run.policy.tables.items() if spec.incremental is not None]
    bases = {((run.record.get("extract", table) or {}).get("incremental") or {}).get("after") for table in names} - {None}
    if names and now is not None and now != run.id and now not in bases and (bases or _later(run)):
        raise StepFailed(
            f"run '{now}' of dataset '{run.policy.dataset}' was published since run '{run.id}' took its window, so this one may lack what it "
            f"read. Discard this run and start a new one; let a dataset's runs go one after another (a backfill: with the schedule paused)"
        )


def keep(run: Run) -> Counts:
    """Put the published run's bases in place of the last ones, in one step. May be called again after any end of it."""
    here, place = run.folder("base"), home(run.policy) / run.id
    names = [table for table, spec in run.policy.tables.items() if spec.incremental is not None]
    if here.is_dir() and not _later(run):
        state: Counts = {"run": run.id, "started": run.started.isoformat(), "linkage": _linkage(run)}
        state["tables"] = {table: json.loads((here / f"{table}.json").read_text()) for table in names}
        for folder, file in (("withheld", "withheld.parquet"), ("cohort", "cohort.parquet")):
            if (run.folder(folder) / "subjects.parquet").exists():
                shutil.copyfile(run.folder(folder) / "subjects.parquet", here / file)
        write_whole(here / STATE, json.dumps(state).encode())
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(place, ignore_errors=True)
        here.rename(place)
    if (place / STATE).exists():
        write_whole(home(run.policy) / CURRENT, json.dumps({"run": run.id}).encode())
        for other in home(run.policy).iterdir():
            if other.is_dir() and other != place:
                shutil.rmtree(other, ignore_errors=True)
    return {"tables": len(names), "moved": (place / STATE).exists()}


def _later(run: Run) -> bool:
    """Whether the base in place is of a run that began later than this one: a cursor does not go back."""
    file = home(run.policy) / (current(run.policy) or "") / STATE
    return file.is_file() and json.loads(file.read_text())["started"] > run.started.isoformat()


def forget(policy: Policy) -> bool:
    """Remove the dataset's bases and cursors; the next run reads everything. Returns whether there were any."""
    there = home(policy).exists()
    shutil.rmtree(home(policy), ignore_errors=True)
    return there
