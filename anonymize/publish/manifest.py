"""The manifest: what a release is, column by column and file by file. A version of a dataset exists if and only if its manifest does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

FORMAT = 2
"""Of the manifest; a reader refuses one that is newer than itself. 2 has more than 1 of a column (precision, shifted, unit …), and notices."""


class Stated(BaseModel):
    """Frozen, and closed to words it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileFact(Stated):
    """One published file. path: in the version's folder (`data/patient/part-00000.parquet`); rows: of Parquet files."""

    path: str
    sha256: str
    bytes: int
    rows: int | None = None


class ColumnFact(Stated):
    """One published column: what it is and what was done to it."""

    name: str
    type: str
    """The Arrow type."""
    role: str
    method: str
    description: str = ""
    kind: str | None = None
    """What PHI it held."""
    hierarchy: str | None = None
    level: str | None = None
    """The name of the hierarchy's level that it was generalized to."""
    precision: str = ""
    """How exact its values are, in words."""
    shifted: int | None = None
    """Its dates, or those within its texts, were moved by up to so many days; None where none was."""
    unit: str = ""
    codes: str = ""
    """The system that its codes are of."""
    encrypted: str | None = None
    """The name of the key (`ICU_ZIP_KEY`, of the environment) without which it cannot be read; None where anybody can."""
    values: tuple[str, ...] | None = None
    """The only values that it may hold, where the policy says so."""


class TableFact(Stated):
    """One published table. subjects: its distinct subjects; None where it is not about subjects."""

    name: str
    description: str = ""
    rows: int = 0
    subjects: int | None = None
    footer_key: str | None = None
    """The name of the key that encrypted columns need beside their own; None where no column is encrypted."""
    columns: tuple[ColumnFact, ...]
    files: tuple[FileFact, ...] = ()


class PrivacyFact(Stated):
    """The privacy model and what was reached. k: asked for; reached: the smallest class, recounted; suppressed: rows held back, None where
    it is not told (a safe sample)."""

    k: int
    reached: int | None = None
    suppressed: int | None = 0
    suppressed_subjects: int | None = None


class GateFact(Stated):
    """A gate's verdict, as the steward saw it."""

    gate: str
    passed: bool
    words: str


class SignatureFact(Stated):
    """A second steward's signature."""

    steward: str
    reason: str
    at: datetime


class DecisionFact(Stated):
    """Who let it out, and why. files: SHA-256 of every file that was shown, by its path in the stage; second: where two had to sign."""

    steward: str
    reason: str
    at: datetime
    files: dict[str, str]
    second: SignatureFact | None = None


class ReleaseFacts(Stated):
    """What a run knows of its release before it is published; `publish` adds the files."""

    dataset: str
    run: str
    started: datetime
    """The run's start, with a time zone; names the version."""
    policy_sha256: str
    code_version: str
    key_id: str
    privacy: PrivacyFact
    tables: tuple[TableFact, ...]
    gates: tuple[GateFact, ...] = ()
    title: str = ""
    description: str = ""
    licence: str = ""
    contact: str = ""
    citation: str = ""
    """How the policy wants it cited; version and content are added."""
    profile: str = ""
    review_required: bool = True
    held_back: dict[str, Any] = {}
    """Counts of what did not leave: `{"quarantined": 3, "orphaned": 0, …}`."""
    notices: tuple[str, ...] = ()
    """What readers must be told of this version first, for example which one it takes the place of and why; without any value."""


class Manifest(Stated):
    """`manifest.json`, written last."""

    format: int = FORMAT
    dataset: str
    version: str
    created: datetime
    """The run's start: two publishes of one run write the same manifest."""
    run: str
    title: str
    description: str
    licence: str
    contact: str
    policy_sha256: str
    code_version: str
    key_id: str
    content_sha256: str
    privacy: PrivacyFact
    tables: tuple[TableFact, ...]
    documents: tuple[FileFact, ...]
    gates: tuple[GateFact, ...]
    held_back: dict[str, Any]
    decision: DecisionFact | None
    profile: str = ""
    notices: tuple[str, ...] = ()
    signed: tuple[FileFact, ...] = ()
    """Documents that hold the decision, so were written after it (`report.html`): in the manifest, and not in SHA256SUMS, which was signed."""

    def files(self) -> list[FileFact]:
        """Every file of the version but the manifest itself."""
        return [*(file for table in self.tables for file in table.files), *self.documents, *self.signed]

    def table(self, name: str) -> TableFact:
        """One table. Raises KeyError(name)."""
        return next((table for table in self.tables if table.name == name), None) or _no_table(name)

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, the same bytes for the same facts."""
        return self.model_dump_json(indent=1).encode() + b"\n"


class Tombstone(BaseModel):
    """`tombstone.json`: stands where a version's manifest was, once the version was taken back or has expired. Its files are gone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    version: str
    reason: str
    """Why, in words for readers, without any value."""
    date: datetime
    by: str = ""
    replaced_by: str | None = None
    """The version to use in its place."""

    @property
    def state(self) -> str:
        """`expired`, where the reason begins so, else `withdrawn`."""
        return "expired" if self.reason.casefold().startswith("expired") else "withdrawn"

    def __str__(self) -> str:
        instead = f" Use {self.replaced_by}." if self.replaced_by else ""
        return f"{self.dataset} {self.version} was {self.state} on {self.date:%Y-%m-%d}: {self.reason.rstrip(' .')}.{instead}"


def _no_table(name: str) -> TableFact:
    raise KeyError(name)


def content_sha256(files: Iterable[FileFact]) -> str:
    """The SHA-256 over the data files' names and hashes, in order: the content's name."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.sha256}  {file.path}\n".encode())
    return digest.hexdigest()


def version_name(started: datetime, content: str) -> str:
    """`20261121T101500Z-1a2b3c4d`: sorts by the run's start, and two contents never share a name.

    started: with a time zone. Raises ValueError without one.
    """
    if started.tzinfo is None:
        raise ValueError("the run's start needs a time zone")
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{content[:8]}"
