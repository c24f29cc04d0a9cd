"""The proof of a retraction: what was found, what was done, what is left, in counts and hashes; never who."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict


class VersionProof(BaseModel):
    """What became of one version. rows_of_theirs: before, by table; taken, suppressed: rows that left, by table; recounted: from the new files,
    in words; rows_of_theirs_after: by column of the new files. withdrawn: why nothing takes its place; empty where something does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    content_sha256_before: str
    files_before: dict[str, str]
    rows_of_theirs: dict[str, int]
    withdrawn: str = ""
    replaced_by: str | None = None
    content_sha256_after: str | None = None
    files_after: dict[str, str] = {}
    taken: dict[str, int] = {}
    suppressed: dict[str, int] = {}
    suppressed_subjects: int = 0
    recounted: tuple[str, ...] = ()
    smallest_class: int | None = None
    rows_of_theirs_after: dict[str, int] = {}


class Proof(BaseModel):
    """`proof.json`. subjects: how many were asked to go; rows_of_theirs_in_what_stands: a last search, by version and table; waiting: runs whose
    workspace took its records before and is to be discarded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retraction: str
    dataset: str
    reason: str
    by: str
    asked: datetime
    subjects: int
    key_id: str
    policy_sha256: str
    code_version: str
    versions: tuple[VersionProof, ...]
    rows_of_theirs_in_what_stands: dict[str, dict[str, int]]
    waiting: tuple[str, ...] = ()


def readable(proof: Proof) -> str:
    """The proof for a person, in Markdown."""
    return "\n".join(_lines(proof)) + "\n"


def _lines(proof: Proof) -> Iterator[str]:
    yield f"# {proof.dataset}: {proof.subjects:,} {'subject' if proof.subjects == 1 else 'subjects'} taken back"
    yield ""
    yield f"Asked on {proof.asked:%Y-%m-%d} by {proof.by}: {proof.reason}. Retraction `{proof.retraction}`, key `{proof.key_id}`,"
    yield f"policy `{proof.policy_sha256[:12]}`, anonymize {proof.code_version}. Whom it is about is not told here."
    yield ""
    if not proof.versions:
        yield "No published version held any of them. They stay out of every later release."
    for version in proof.versions:
        yield from _version(version)
    yield ""
    yield "## What stands now"
    yield ""
    yield "Every version that can be read was searched once more for their pseudonyms:"
    yield ""
    standing = proof.rows_of_theirs_in_what_stands
    yield from (f"- {name}: {sum(rows.values()):,} rows of theirs in {len(rows)} tables" for name, rows in standing.items())
    yield from () if standing else ("- no version stands",)
    yield ""
    yield "## What this cannot do"
    yield ""
    yield "Readers may have copied what stood before: whoever holds an old copy beside the new version can tell whose rows are gone. The"
    yield "catalogue, the tombstones and each new README ask them to delete it. Backups and earlier object versions of a store are its keeper's."
    if proof.waiting:
        yield ""
        yield f"These runs took their records before; their gate stops them, and their workspace is to be discarded: {', '.join(proof.waiting)}"


def _version(version: VersionProof) -> Iterator[str]:
    yield ""
    yield f"## {version.version}"
    yield ""
    yield f"It held {_told(version.rows_of_theirs)} of theirs. Content before: `{version.content_sha256_before}`"
    if version.withdrawn:
        yield f"**Taken out whole**: {version.withdrawn}. Nothing takes its place."
        return
    yield f"Replaced by **{version.replaced_by}**. Content after: `{version.content_sha256_after}`"
    yield ""
    yield f"- rows taken: {_told(version.taken)}"
    yield f"- suppressed with them, so that what is left holds: {_told(version.suppressed)}; {version.suppressed_subjects:,} subjects"
    yield from (f"- recounted: {words}" for words in version.recounted)
    yield f"- rows of theirs in {len(version.rows_of_theirs_after)} columns of the new files: {sum(version.rows_of_theirs_after.values()):,}"


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {'row' if rows == 1 else 'rows'} of `{table}`" for table, rows in counts.items() if rows) or "no row"
