"""A Run: one execution of a policy, with its key, engine, workspace and record.

The workspace (`<root>/runs/<id>`, 0700) holds PHI and goes when the run ends well. The record (`<root>/records/<id>`) holds counts alone
and stays. A step is done when its file stands in the record; a file has one writer, so mapped tasks need no lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

from anonymize import __version__, trail
from anonymize.engine import Engine, Table, make_engine
from anonymize.errors import AnonymizeError, WorkspaceBusy
from anonymize.keys import Key
from anonymize.policy.loader import load
from anonymize.policy.model import Policy
from anonymize.progress import Lines, Progress, Watcher

Counts = dict[str, Any]
"""What a step says of itself: counts, columns, names of rules; never a value of a record."""
DECISIONS = ("publish",)
"""Steps that write their own lines in the audit trail."""


class Record:
    """A run's record: one small JSON file a step (and table), written in one step, holding counts alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, step: str, table: str | None = None) -> Counts | None:
        """What a finished step recorded; None where it has not finished."""
        file = self._file(step, table)
        return json.loads(file.read_text()) if file.exists() else None

    def put(self, step: str, counts: Counts, table: str | None = None) -> Counts:
        """Record that a step has finished."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._file(step, table)
        fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        fresh.write_text(json.dumps(counts, indent=1, sort_keys=True, default=str) + "\n")
        fresh.replace(file)
        return counts

    def keep(self, name: str, text: str) -> None:
        """Lay a text beside what the steps recorded: the policy, whole, as the run goes by it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.folder / f".{name}.{os.getpid()}.tmp"
        fresh.write_text(text, encoding="utf-8", newline="")
        fresh.replace(self.folder / name)

    def forget(self, *steps: str) -> None:
        """Make steps undone, so that they run again."""
        for step in steps:
            for file in [self._file(step, None), *self.folder.glob(f"{step}.*.json")]:
                file.unlink(missing_ok=True)

    def undo(self, step: str, table: str) -> None:
        """Make a step of one table undone."""
        self._file(step, table).unlink(missing_ok=True)

    def tables(self, step: str) -> dict[str, Counts]:
        """What a step recorded of each table."""
        files = sorted(self.folder.glob(f"{step}.*.json"))
        return {file.name.removeprefix(f"{step}.").removesuffix(".json"): json.loads(file.read_text()) for file in files}

    def _file(self, step: str, table: str | None) -> Path:
        return self.folder / (f"{step}.{table}.json" if table else f"{step}.json")


@dataclass
class Run:
    """One execution of a policy. Open one with `Run.open`; it can be opened again, in any process, by its id."""

    id: str
    policy: Policy
    key: Key
    engine: Engine
    workspace: Path
    record: Record
    started: datetime
    connections: Callable[[str], str] | None = None
    watcher: Watcher = field(default_factory=Lines)
    """Told of what is done, and how far what is under way is."""

    @classmethod
    def open(
        cls,
        policy: Policy,
        *,
        run_id: str | None = None,
        fresh: bool = False,
        connections: Callable[[str], str] | None = None,
        say: Callable[[str], None] | None = None,
        watcher: Watcher | None = None,
    ) -> Run:
        """Open a run: the one of that id; without an id the policy's newest unfinished one, or a new one (always with `fresh`).

        connections: resolves an Airflow connection's id to a URL; watcher: told of the run's progress, or `say`, in plain lines.
        Raises KeyMissing, and AnonymizeError where the policy or the key changed since the run began.
        """
        key = Key(policy.key, policy.project_name)
        root = policy.path(policy.workspace)
        if run_id is None and not fresh:
            run_id = unfinished(root, policy)
        started = datetime.now(UTC).replace(microsecond=0)
        run_id = run_id or _new_id(root, f"{policy.dataset}-{started:%Y%m%dT%H%M%SZ}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}", run_id):
            raise AnonymizeError(f"'{run_id}' cannot be a run's id: letters, digits, and _ . + - are allowed")
        record = Record(root / "records" / run_id)
        begun = record.get("run")
        if begun is None:
            trail.record(policy, "asked", run=run_id)
            record.keep("policy.yaml", policy.whole)
            begun = record.put("run", _facts(run_id, policy, key, started))
        _unchanged(begun, policy, key)
        workspace = root / "runs" / run_id
        workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
        workspace.chmod(0o700)
        engine = make_engine(policy.engine, scratch=workspace / "scratch")
        start = datetime.fromisoformat(begun["started"])
        policy = policy.without((record.get("check") or {}).get("absent", ())).counting_ages_in(begun.get("ages_in", start.year))
        return cls(run_id, policy, key, engine, workspace, record, start, connections, watcher or (Lines(say) if say else Lines()))

    def say(self, text: str) -> None:
        """Tell a line of counts."""
        self.watcher.line(text)

    def folder(self, step: str, table: str | None = None) -> Path:
        """Where a step keeps a table in the workspace."""
        return self.workspace / step / table if table else self.workspace / step

    def leaving(self) -> Path:
        """The folder of what leaves: the stage, or where columns are encrypted what was sealed of it."""
        return self.folder("sealed") if self.folder("sealed").is_dir() else self.folder("stage")

    def once(self, step: str, work: Callable[[], Counts], table: str | None = None) -> Counts:
        """Do a step unless the record says that it is done; what it returns is recorded, and said."""
        done = self.record.get(step, table)
        if done is None:
            began = time.monotonic()
            done = work()
            if step not in DECISIONS:
                numbers = {name: value for name, value in done.items() if isinstance(value, bool | int | float)}
                trail.record(self.policy, "ran", run=self.id, step=step, table=table, counts=numbers)
            self.record.put(step, done, table)
            self.watcher.done(step, table, done, time.monotonic() - began)
            self.say(line(step, done, table))
        else:
            self.say(f"{line(step, done, table)} (done before)")
        return done

    def watched(self, table: Table, step: str, rows: int | None = None) -> Table:
        """The table; while it is read, the run's watcher is told how far it is. rows: all of them, where that is known."""

        done = first = 0
        began = 0.0

        def see(more: int) -> None:
            nonlocal done, first, began
            now = time.monotonic()
            if not done:
                first, began = more, now
            done += more
            self.watcher.progress(Progress(step, table.name, done, rows, (done - first) / (now - began) if now > began else 0.0))

        return table.watched(see)

    def close(self, *, remove: bool = False) -> None:
        """End the engine; remove the workspace where the run ended well."""
        self.engine.close()
        self.watcher.rest()
        if remove:
            shutil.rmtree(self.workspace, ignore_errors=True)


def line(step: str, counts: Counts, table: str | None = None) -> str:
    """One line for a person: the step, the table, and the counts that are numbers or words."""
    told = ", ".join(f"{k.replace('_', ' ')} {_number(v)}" for k, v in counts.items() if isinstance(v, int | float | str) and v != "")
    return f"{step}{' ' + table if table else ''}: {told}"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def unfinished(root: Path, policy: Policy) -> str | None:
    """The newest run of the same policy that has not ended; a restart goes on with it."""
    for folder in sorted((root / "records").glob("*/run.json"), reverse=True, key=lambda file: json.loads(file.read_text())["started"]):
        record = Record(folder.parent)
        begun = record.get("run") or {}
        same = begun.get("policy_sha256") == policy.sha256 and begun.get("dataset") == policy.dataset
        if same and record.get("end") is None and (root / "runs" / begun["id"]).exists():
            return str(begun["id"])
    return None


def _new_id(root: Path, name: str) -> str:
    """The id of a new run: two that begin within one second are told apart by a number."""
    ids = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(run_id for run_id in ids if not (root / "records" / run_id).exists())


def find(name: str, policies: Path) -> tuple[Policy, str]:
    """The policy and id of a run named by its id, its record's folder, or a policy file (its newest unfinished run).

    policies: the folder of policies in whose workspaces an id is looked for. Raises AnonymizeError where there is none.
    """
    path = Path(name)
    if path.is_file():
        policy = load(path)
        run_id = unfinished(policy.path(policy.workspace), policy)
        if run_id is None:
            raise AnonymizeError(f"{path} has no unfinished run. Start one: anonymize run {path}")
        return policy, run_id
    begun = Record(path).get("run") if path.is_dir() else None
    if begun is not None:
        return load(Path(begun["policy"])), str(begun["id"])
    for file in sorted(policies.glob("*.yaml")):
        policy = load(file)
        if Record(policy.path(policy.workspace) / "records" / name).get("run"):
            return policy, name
    raise AnonymizeError(f"no run '{name}' in the workspaces of {policies}/*.yaml. Name the run's record folder or its policy file instead")


def history(policy: Policy) -> list[str]:
    """A line a run of the policy's dataset, newest first: its id, when it began, and what became of it."""
    lines = []
    root = policy.path(policy.workspace)
    for folder in (root / "records").glob("*"):
        record = Record(folder)
        begun = record.get("run") or {}
        if begun.get("dataset") == policy.dataset:
            ended = (record.get("end") or {}).get("outcome")
            waits = "waits for a steward" if record.get("request") else "unfinished"
            kept = ", its workspace is kept" if (root / "runs" / begun["id"]).exists() else ""
            lines.append((begun["started"], f"{begun['id']}  began {begun['started']}  {ended or waits + kept}"))
    return [line for _, line in sorted(lines, reverse=True)]


@contextmanager
def exclusive(policy: Policy) -> Iterator[None]:
    """Hold a dataset's lock alone: of two commands on one dataset the second is told so and ends. The lock goes with its process."""
    with _locked(policy, fcntl.LOCK_EX, f"process {os.getpid()}"):
        yield


@contextmanager
def shared(policy: Policy, run_id: str) -> Iterator[None]:
    """Hold a dataset's lock beside the other tasks of a run that an orchestrator works on side by side, and beside no command."""
    with _locked(policy, fcntl.LOCK_SH, f"tasks of run {run_id}"):
        yield


@contextmanager
def _locked(policy: Policy, kind: int, holder: str) -> Iterator[None]:
    """Raises WorkspaceBusy, which names who holds the lock, where it cannot be had at once."""
    root = policy.path(policy.workspace)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(root / f"{policy.dataset}.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            other = file.read().decode(errors="replace") or "unknown"
            raise WorkspaceBusy(f"another run of '{policy.dataset}' is under way here ({other}). Wait until it ends") from None
        # Tasks that share the lock write the same words, so it matters not which of them is the last.
        file.write(holder.encode())
        file.truncate()
        yield


def _facts(run_id: str, policy: Policy, key: Key, started: datetime) -> Counts:
    return {
        "id": run_id,
        "dataset": policy.dataset,
        "policy": str(policy.file.resolve()),
        "policy_sha256": policy.sha256,
        "key_id": key.id,
        "code_version": __version__,
        "started": started.isoformat(),
        "ages_in": _last_signed(policy, started).year,
    }


def _last_signed(policy: Policy, started: datetime) -> datetime:
    """When a run's release may be signed at the latest. Ages over 89 are counted in that year, so that a release of December that is signed
    in January is of January."""
    return started + timedelta(days=policy.review.timeout_days if policy.review.required else 0)


def _unchanged(begun: Counts, policy: Policy, key: Key) -> None:
    for what, now in (("policy_sha256", policy.sha256), ("key_id", key.id)):
        if begun[what] != now:
            word = ("policy" if policy.extends is None else "policy, or one that it extends,") if what == "policy_sha256" else "key"
            raise AnonymizeError(f"the {word} changed since run '{begun['id']}' began. Start a new run: anonymize run --fresh {policy.file}")
