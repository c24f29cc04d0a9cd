"""Publishing: from a stage folder and a steward's decision to a version in the research store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from anonymize.errors import StoreError, without_values
from anonymize.policy import memory
from anonymize.policy.model import Policy
from anonymize.publish import review
from anonymize.publish.catalogue import rebuild
from anonymize.publish.documents import CHANGES, SUMS, Before, Beside, documents, sums
from anonymize.publish.manifest import (
    FileFact,
    Manifest,
    PrivacyFact,
    ReleaseFacts,
    TableFact,
    content_sha256,
    version_name,
)
from anonymize.publish.parquet import columns, hash_files
from anonymize.publish.sealing import name_of
from anonymize.publish.store import Store, folder_of

DATA = "data"
SIGNED = "signed"


@dataclass(frozen=True)
class Release:
    """A dataset's version, published."""

    version: str
    uri: str
    manifest: Manifest


def table_facts(policy: Policy, table: str, stage: Path, subjects: Path | None = None, *, levels: dict[str, str] | None = None) -> TableFact:
    """What is known of a staged table: its columns, rows and distinct subjects.

    stage: the table's folder of Parquet files; subjects: the folder of `__subject` files beside it, None where the table is not about
    subjects; levels: the level that each generalized column came to.
    """
    import pyarrow.dataset as ds

    staged = ds.dataset(stage, format="parquet")
    encryption = policy.release.encryption
    return TableFact(
        name=table,
        footer_key=name_of(encryption.footer) if encryption.footer and encryption.of_table(table) else None,
        description=policy.tables[table].description,
        rows=staged.count_rows(),
        subjects=_subjects(subjects, table) if subjects is not None and policy.subject_column(table) is not None else None,
        columns=tuple(columns(policy, table, levels=levels, types=staged.schema)),
    )


def _subjects(folder: Path, table: str) -> int:
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    # What does not fit into memory goes to the workspace, and nowhere else.
    scratch = str(folder.parent.parent / "scratch")
    with duckdb.connect(config={"temp_directory": scratch, "memory_limit": memory.counting()}) as duck, without_values(f"subjects {table}"):
        return int(duck.read_parquet(files).aggregate("count(DISTINCT __subject)").fetchall()[0][0])


def release_facts(policy: Policy, **known: object) -> ReleaseFacts:
    """A release's facts: what the policy says, and what the run knows (`run`, `started`, `code_version`, `key_id`, `tables` …)."""
    said = {
        "dataset": policy.dataset,
        "policy_sha256": policy.sha256,
        "privacy": PrivacyFact(k=policy.privacy.k),
        "title": policy.release.title,
        "description": policy.description,
        "licence": policy.release.licence,
        "contact": policy.release.contact,
        "citation": policy.release.citation,
        "profile": policy.profile,
        "review_required": policy.review.required,
    }
    return ReleaseFacts.model_validate({**said, **known})


def prepare(
    stage: Path,
    facts: ReleaseFacts,
    *,
    before: Before | None = None,
    extra: Mapping[str, bytes] | None = None,
    plain: Path | None = None,
    subjects: Path | None = None,
) -> str:
    """Write the documents that leave with the data into the stage, so that the steward decides on them too: README.md, the dictionary as CSV
    and HTML, CHANGES.md, datapackage.json, croissant.json, SHA256SUMS, and what is made elsewhere.

    before: the version that CHANGES.md holds this one against (`before(store, dataset)`); extra: further documents by name (`report.html`);
    plain: the tables as they were judged, where the stage holds them encrypted; subjects: the folder of `__subject` files, by default beside
    the stage. Returns the version's name. Called again it writes the same bytes.
    """
    files = _data_files(hash_files(stage))
    content = content_sha256(files)
    version = version_name(facts.started, content)
    whose = subjects if subjects is not None else stage.parent / "subjects"
    beside = Beside(plain or stage, whose if whose.is_dir() else None, before, dict(extra or {}))
    known = facts.model_copy(update={"tables": _with_files(facts, files)})
    for name, data in documents(known, version=version, content=content, beside=beside).items():
        _write_staged(stage, name, data)
    there = [file for file in hash_files(stage) if file.path != SUMS]
    _write_staged(stage, SUMS, sums([_published(file) if file.path.endswith(".parquet") else file for file in there]))
    return version


def before(store_uri: str | Path, dataset: str) -> Before | None:
    """The newest version of a dataset, to hold the next one against; None where there is none."""
    store = Store(store_uri)
    newest = store.newest(dataset)
    manifest = store.manifest(dataset, newest) if newest else None
    if manifest is None:
        return None
    return Before(manifest, store.backend.read_bytes(f"{folder_of(dataset, manifest.version)}/{CHANGES}") or b"")


def _write_staged(stage: Path, name: str, data: bytes) -> None:
    fresh = stage.parent / f".{name}.{os.getpid()}.tmp"
    fresh.write_bytes(data)
    fresh.replace(stage / name)


def _with_files(facts: ReleaseFacts, data: list[FileFact]) -> tuple[TableFact, ...]:
    """The tables with their files, as published."""
    return tuple(
        table.model_copy(update={"files": tuple(_published(f) for f in data if f.path.startswith(f"{table.name}/"))}) for table in facts.tables
    )


def publish(
    stage: Path,
    store_uri: str | Path,
    facts: ReleaseFacts,
    decision: review.Decision | None,
    *,
    signed: Mapping[str, bytes] | None = None,
    server_encryption: str | None = None,
) -> Release:
    """Publish a stage folder: data first, the manifest last, then `latest` in one step, then the catalogue. May be called again after any end.

    stage: holds a folder of Parquet files a table and the documents that `prepare` wrote; decision: the steward's, on exactly these files
    (None only where the policy asks for no review); signed: documents by name that hold the decision, so stand in no stage;
    server_encryption: of a store on S3 (`sse-s3`, `sse-kms`, `sse-kms:KEY-ID`).
    Raises ReviewMissing where the decision does not cover the files as they are; StoreError where the store cannot be written, or holds
    this version from another run. Either way readers see what they saw before.
    """
    if decision is not None or facts.review_required:
        decision = review.require(decision, stage)
    store = Store(store_uri, server_encryption=server_encryption)
    after = _after(stage, signed or {})
    manifest = _manifest(hash_files(stage), facts, decision, tuple(hash_files(after)))
    there = store.manifest(manifest.dataset, manifest.version)
    if there is None:
        _write(store, stage, manifest)
    elif (there.run, there.content_sha256) != (manifest.run, manifest.content_sha256):
        raise StoreError(f"{manifest.dataset} {manifest.version} was published by run {there.run}. Start a new run to publish again")
    else:
        store.end(there)
    rebuild(store, manifest.dataset)
    return Release(manifest.version, f"{store.backend.uri}/{folder_of(manifest.dataset, manifest.version)}", there or manifest)


def _write(store: Store, stage: Path, manifest: Manifest) -> None:
    store.begin(manifest.dataset, manifest.version, manifest.run)
    for file in manifest.files():
        folder = stage.parent / SIGNED if file in manifest.signed else stage
        store.put(manifest.dataset, manifest.version, file, folder / file.path.removeprefix(f"{DATA}/"))
    store.finish(manifest)


def _after(stage: Path, signed: Mapping[str, bytes]) -> Path:
    """The folder beside the stage with the documents that hold the decision, as files."""
    folder = stage.parent / SIGNED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in signed.items():
        if (stage / name).exists() or Path(name).name != name:
            raise StoreError(f"{name} is staged already, or no file's name; a document is written before the decision or after it")
        (folder / name).write_bytes(data)
    return folder


def _manifest(files: list[FileFact], facts: ReleaseFacts, decision: review.Decision | None, signed: tuple[FileFact, ...]) -> Manifest:
    data = _data_files(files)
    known = {table.name for table in facts.tables}
    strange = [file.path for file in files if file.path.endswith(".parquet") and file.path.partition("/")[0] not in known]
    if strange:
        raise StoreError(f"{strange[0]} is staged but of no table of this release. Only what the policy names leaves")
    content = content_sha256(data)
    return Manifest(
        version=version_name(facts.started, content),
        created=facts.started,
        content_sha256=content,
        tables=_with_files(facts, data),
        documents=tuple(file for file in files if not file.path.endswith(".parquet")),
        decision=decision.fact() if decision else None,
        signed=signed,
        **{name: getattr(facts, name) for name in _COPIED},
    )


_COPIED = tuple(name for name in ReleaseFacts.model_fields if name in Manifest.model_fields and name != "tables")


def _data_files(files: list[FileFact]) -> list[FileFact]:
    return [file for file in files if file.path.endswith(".parquet")]


def _published(file: FileFact) -> FileFact:
    return file.model_copy(update={"path": f"{DATA}/{file.path}"})
