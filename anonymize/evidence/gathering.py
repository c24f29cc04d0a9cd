"""Evidence from where it lies: a run's record, request and staged files; a published version's documents."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from anonymize import asking
from anonymize.evidence.model import (
    Audit,
    ColumnOut,
    Evidence,
    Expectation,
    HeldBack,
    PrivacyAsked,
    Signature,
    TableHeld,
    TableOut,
    TableRisk,
    TextFound,
    Timing,
)
from anonymize.evidence.wording import models_in_words, policy_in_words, precision
from anonymize.lasting import drift, given_up
from anonymize.policy.model import Policy, Role, Rule
from anonymize.publish import Store, hash_files
from anonymize.publish import columns as published_columns
from anonymize.publish import review as reviewing
from anonymize.publish.manifest import ColumnFact, DecisionFact, GateFact, Manifest, TableFact, content_sha256, version_name
from anonymize.publish.store import folder_of
from anonymize.releasing import levels_in_words, store_uri
from anonymize.run import Counts, Record, Run
from anonymize.summary import UNREADABLE

DOCUMENT = "evidence.json"
"""Among a release's documents."""
STEP = "evidence"
"""In a run's record."""


def gather(run: Run) -> Evidence:
    """The evidence of a run's release, at any time from its gates on: what was kept when it was asked for review, with the labels that came
    since; or, before that, what the record and the staged files say now."""
    return of_record(run.record) or _with_what_came_since(gather_staged(run), run.record)


def of_record(record: Record) -> Evidence | None:
    """The evidence that was kept in a run's record when it was asked for review, with the labels that came since: needs neither key nor
    workspace nor store. None where none was kept."""
    kept = record.get(STEP)
    return None if kept is None else _with_what_came_since(Evidence.model_validate(kept), record)


def gather_staged(run: Run) -> Evidence:
    """From the record and the staged files; of a safe sample nothing of whom it left out."""
    policy, record = run.policy, run.record
    judged: Counts = record.get("validate") or record.get("judged") or {}
    generalized, facts = record.tables("generalize"), judged.get("facts", {})
    reached = [counts["k"] for counts in generalized.values() if counts.get("k")]
    privacy = policy.privacy
    stage = run.folder("stage")
    files = tuple(file for file in hash_files(run.leaving()) if file.path.endswith(".parquet")) if stage.is_dir() else ()
    told = privacy.sampling is None
    return Evidence(
        dataset=policy.dataset,
        version=version_name(run.started, content_sha256(files)) if judged.get("passed") == len(judged.get("gates", ())) and files else "",
        run=run.id,
        started=run.started,
        code_version=str((record.get("run") or {}).get("code_version", "")),
        key_id=run.key.id,
        policy_sha256=policy.sha256,
        profile=policy.profile,
        title=policy.release.title,
        description=policy.description,
        licence=policy.release.licence,
        contact=policy.release.contact,
        recipient=policy.release.recipient,
        purpose=policy.release.purpose,
        citation=policy.release.citation,
        tables=tuple(
            _table(policy, table, stage / table, facts.get(table, {}), generalized.get(table, {}).get("levels", {})) for table in policy.tables
        ),
        held_back=_held_back(policy, record, told=told),
        drift=tuple(drift.found(policy, record)) if told else (),
        privacy=PrivacyAsked(
            k=min((asking.k_of(policy, table) for table, counts in generalized.items() if "k" in counts), default=privacy.k),
            reached=min(reached) if reached else None,
            suppression=privacy.suppression,
            mode=privacy.mode,
            within=privacy.within,
            attacker=privacy.attacker,
            models=tuple(models_in_words(privacy)),
            differences=privacy.differences,
            sampled=privacy.sampling is not None,
        ),
        risk=_risks(judged),
        utility=judged.get("utility", {}) if told else {},
        text=_text(policy, record, told=told),
        expectations=tuple(Expectation.model_validate(one) for one in judged.get("expectations", ())),
        gates=tuple(GateFact(gate=g["gate"], passed=g["passed"], words="; ".join(g["words"])) for g in judged.get("gates", ())),
        files=files,
        policy=policy_in_words(policy),
    )


def gather_published(store: Store | str | Path, dataset: str, version: str = "latest", records: Path | None = None) -> Evidence:
    """The evidence of a published version: its `evidence.json`; of a version from before there was one, what its manifest says.

    records: the folder of this deployment's records (`<workspace>/records`), for labels and timings that came after the version was
    published. Raises StoreError where the version does not exist.
    """
    found = (store if isinstance(store, Store) else Store(store)).open(dataset, version)
    data = found.backend.read_bytes(f"{folder_of(dataset, found.manifest.version)}/{DOCUMENT}")
    record = Record(records / found.manifest.run) if records is not None else None
    evidence = _read(data) or _of_manifest(found.manifest, record)
    return evidence if record is None else _with_what_came_since(evidence, record)


def _read(data: bytes | None) -> Evidence | None:
    """Evidence as it was published; None where there is none, or none that this program understands."""
    try:
        return Evidence.from_json(data) if data is not None else None
    except ValueError:
        return None


def gather_before(run: Run) -> Evidence | None:
    """The evidence of the version that stands before a run's: of a published one its predecessor, else the newest. None where there is none."""
    store, dataset = Store(store_uri(run.policy)), run.policy.dataset
    own = (run.record.get("publish") or run.record.get("request") or {}).get("version")
    before = before_version(store, dataset, own) if own else store.newest(dataset)
    return gather_published(store, dataset, before, run.record.folder.parent) if before else None


def before_version(store: Store, dataset: str, version: str) -> str | None:
    """The newest version of a dataset that is older than another; versions' names sort by their runs' start."""
    return max((name for name in store.versions(dataset) if name < version), default=None)


def signatures(run: Run) -> tuple[Signature, ...]:
    """Who has decided so far on a release that waits: what stands in the run's workspace."""
    decision = reviewing.read_decision(run.folder("review"))
    return () if decision is None else _signatures(decision.fact(), approve=decision.approve)


def signatures_of(manifest: Manifest) -> tuple[Signature, ...]:
    """Who let a published version out."""
    return () if manifest.decision is None else _signatures(manifest.decision, approve=True)


def _signatures(fact: DecisionFact, *, approve: bool) -> tuple[Signature, ...]:
    """One steward's or two, each about the same files."""
    files = dict(sorted(fact.files.items()))
    return tuple(
        Signature(steward=one.steward, approve=approve, reason=one.reason, at=one.at, files=files)
        for one in (fact, fact.second)
        if one is not None
    )


# ------------------------------------------------------------------------------------------------------------------------- the parts


def _table(policy: Policy, table: str, stage: Path, facts: Mapping[str, Any], levels: Mapping[str, Any]) -> TableOut:
    files = sorted(stage.glob("*.parquet")) if stage.is_dir() else []
    types = pq.read_schema(files[0]) if files else None
    return TableOut(
        name=table,
        description=policy.tables[table].description,
        rows=int(facts.get("rows", 0)),
        subjects=facts.get("subjects") if policy.subject_column(table) is not None else None,
        columns=tuple(_column(fact) for fact in published_columns(policy, table, types=types, levels=levels_in_words(dict(levels)))),
    )


def _column(fact: ColumnFact) -> ColumnOut:
    return ColumnOut(
        name=fact.name,
        type=fact.type,
        role=fact.role,
        method=fact.method,
        precision=precision(fact),
        description=fact.description,
        kind=fact.kind,
    )


def _rules(policy: Policy, table: str) -> dict[str, Rule]:
    return {rule.rename or name: rule for name, rule in policy.tables[table].columns.items() if rule.leaves}


def _held_back(policy: Policy, record: Record, *, told: bool) -> HeldBack:
    left_out: dict[str, list[str]] = (record.get("check") or {}).get("left_out", {})
    return HeldBack(
        tables=tuple(sorted(table for table in left_out if table not in policy.tables)),
        by_table=tuple(_held(policy, table, record, tuple(left_out.get(table, ())), told=told) for table in policy.tables),
    )


def _held(policy: Policy, table: str, record: Record, not_named: tuple[str, ...], *, told: bool) -> TableHeld:
    dropped = tuple(name for name, rule in policy.tables[table].columns.items() if not rule.leaves)
    if not told:
        return TableHeld(table=table, not_named=not_named, dropped=dropped)
    extracted, generalized = record.get("extract", table) or {}, record.get("generalize", table) or {}
    came = given_up.came(record, table)
    findings: dict[str, int] = (record.get("deidentify", table) or {}).get("findings", {})
    return TableHeld(
        table=table,
        rows_in=came.rows or 0,
        quarantined=came.quarantined or 0,
        reasons=came.reasons,
        broken_files=(extracted.get("files") or {}).get("broken", {}),
        suppressed=generalized.get("suppressed", 0),
        no_subject=generalized.get("held_back", 0),
        not_named=not_named,
        dropped=dropped,
        unreadable={kind.removeprefix(UNREADABLE): number for kind, number in findings.items() if kind.startswith(UNREADABLE)},
    )


def _risks(judged: Counts) -> tuple[TableRisk, ...]:
    known = TableRisk.model_fields.keys()
    found: dict[str, Counts] = judged.get("risk", {})
    return tuple(TableRisk(table=table, **{k: v for k, v in figures.items() if k in known}) for table, figures in found.items())


def _text(policy: Policy, record: Record, *, told: bool) -> TextFound:
    found = {}
    for table in policy.tables if told else ():
        counts: dict[str, int] = (record.get("deidentify", table) or {}).get("findings", {})
        readable = {kind: number for kind, number in counts.items() if not kind.startswith(UNREADABLE)}
        if readable:
            found[table] = readable
    columns = [f"{t}.{name}" for t in policy.tables for name, rule in _rules(policy, t).items() if rule.role is Role.TEXT]
    return TextFound(findings=found, columns=tuple(columns))


def _with_what_came_since(evidence: Evidence, record: Record) -> Evidence:
    """The labels and the times, which are not part of what was signed."""
    labelled = record.get("audit")
    text = evidence.text if labelled is None else evidence.text.model_copy(update={"audit": _audit(labelled)})
    return evidence.model_copy(update={"text": text, "timings": _timings(record)})


def _audit(counts: Counts) -> Audit:
    recall, notes = counts["recall"], counts["notes_with_misses"]
    return Audit(
        done=counts["done"],
        drawn=counts["drawn"],
        missed=counts["missed"],
        recall=recall["share"],
        recall_low=recall["low"],
        recall_high=recall["high"],
        notes_with_misses=notes["share"],
        notes_low=notes["low"],
        notes_high=notes["high"],
        missed_kinds=counts.get("missed_kinds", {}),
        not_judged=tuple(counts.get("columns_without_a_done_note", ())),
    )


def _timings(record: Record) -> tuple[Timing, ...]:
    """When each step was done: its file is written as the last thing of it."""
    found = []
    for file in record.folder.glob("*.json"):
        step, _, table = file.name.removesuffix(".json").partition(".")
        if not file.name.startswith("."):
            found.append(Timing(step=step, table=table, at=datetime.fromtimestamp(file.stat().st_mtime, UTC).replace(microsecond=0)))
    return tuple(sorted(found, key=lambda timing: (timing.at, timing.step, timing.table)))


def _of_manifest(manifest: Manifest, record: Record | None) -> Evidence:
    """What a manifest alone says; with the record of the run that made exactly this version also the risk."""
    same = record is not None and (record.get("request") or {}).get("version") == manifest.version
    judged: Counts = (record.get("validate") if record is not None and same else None) or {}
    return Evidence(
        **{name: getattr(manifest, name) for name in _SAID_BY_MANIFEST},
        started=manifest.created,
        tables=tuple(_table_of(fact) for fact in manifest.tables),
        privacy=PrivacyAsked(k=manifest.privacy.k, reached=manifest.privacy.reached),
        risk=_risks(judged),
        utility=judged.get("utility", {}),
        files=tuple(chain.from_iterable(table.files for table in manifest.tables)),
    )


_SAID_BY_MANIFEST = sorted(Manifest.model_fields.keys() & Evidence.model_fields.keys() - {"format", "tables", "privacy", "held_back"})


def _table_of(fact: TableFact) -> TableOut:
    columns = tuple(_column(column) for column in fact.columns)
    return TableOut(name=fact.name, description=fact.description, rows=fact.rows, subjects=fact.subjects, columns=columns)


def keep(run: Run) -> None:
    """Gather the evidence of what is staged: into the run's record, and among the documents that leave with the data. Called again it writes
    the same bytes."""
    leaves_beside(run, {DOCUMENT: remember(run)})


def remember(run: Run) -> bytes:
    """Gather the evidence into the run's record alone, as of a release that its gates stopped; returns it as JSON."""
    data = gather_staged(run).to_json()
    run.record.put(STEP, json.loads(data))
    return data


def leaves_beside(run: Run, documents: Mapping[str, bytes]) -> None:
    """Put documents where the release takes what leaves beside its data from."""
    folder = run.folder("documents")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, data in documents.items():
        fresh = folder.parent / f".{name}.{os.getpid()}.tmp"
        fresh.write_bytes(data)
        fresh.replace(folder / name)
