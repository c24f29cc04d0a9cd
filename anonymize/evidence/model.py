"""What a steward reads of one release, as checked objects that go to and from JSON. Counts, names of tables, columns and rules; no value of
a record."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from pydantic import Field

from anonymize.publish.manifest import FileFact, GateFact, Stated

FORMAT = 1
"""Of `evidence.json`."""


class ColumnOut(Stated):
    """A column that goes out: what it is, what was done to it, how precise it is."""

    name: str
    type: str
    role: str
    method: str
    precision: str = ""
    """The level it was generalized to, the digits it was rounded to, the days it was shifted by at most."""
    description: str = ""
    kind: str | None = None


class TableOut(Stated):
    """A table that goes out. subjects: distinct people; None where it is not about people."""

    name: str
    description: str = ""
    rows: int
    subjects: int | None = None
    columns: tuple[ColumnOut, ...]


class TableHeld(Stated):
    """What of a table was held back, and why. Rows: rows_in = rows out + suppressed + no_subject; quarantined are not among rows_in."""

    table: str
    rows_in: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    """Of the quarantine: the rule that was broken, with its column -> rows."""
    broken_files: dict[str, int] = Field(default_factory=dict)
    """Whole files that could not be read, by reason: how many rows they hold is not known."""
    suppressed: int = 0
    """Rows of people in classes that are too small."""
    no_subject: int = 0
    """Rows whose subject is not published: unknown, or suppressed."""
    not_named: tuple[str, ...] = ()
    """Columns of the source that the policy does not name."""
    dropped: tuple[str, ...] = ()
    """Columns that the policy names and drops."""
    unreadable: dict[str, int] = Field(default_factory=dict)
    """Kinds of files within texts that could not be read, so did not leave -> number."""


class HeldBack(Stated):
    """What does not go out. tables: of the sources, named by no rule of the policy."""

    tables: tuple[str, ...] = ()
    by_table: tuple[TableHeld, ...] = ()


class PrivacyAsked(Stated):
    """What the policy asks, and what was reached. reached: the smallest class as it was recounted, in people."""

    k: int
    reached: int | None = None
    suppression: float = 0.0
    """The largest share of people that may be suppressed."""
    mode: str = ""
    within: str | None = None
    attacker: str = ""
    models: tuple[str, ...] = ()
    """What is asked beside k, in words: `l-diversity of marital_status:3`, `k-map of 11`."""
    differences: str = ""
    sampled: bool = False
    """Whether the release is a safe sample. Nothing is told then of whom it left out: no rows that were held back, no utility, no findings."""


class TableRisk(Stated):
    """The figures of `anonymize.privacy.risk.Risk` for one table. sizes: share of people by class size; histogram: class size -> classes;
    drivers: column -> average risk were it not there; told: sensitive column -> share of people of whom it is told without finding them."""

    table: str
    subjects: int
    classes: int
    highest: float
    average: float
    at_risk: float
    threshold: float
    journalist: float
    marketer: float
    unique: float
    population_unique: float
    model: str
    sizes: dict[str, float] = Field(default_factory=dict)
    histogram: dict[int, int] = Field(default_factory=dict)
    drivers: dict[str, float] = Field(default_factory=dict)
    told: dict[str, float] = Field(default_factory=dict)
    attacks: dict[str, Any] = Field(default_factory=dict)
    """Sensitive column -> figures of the shape of `anonymize.privacy.attacks.Attacks`."""


class Audit(Stated):
    """What a steward's labels of sampled notes say: shares with their 95 % intervals."""

    done: int
    drawn: int
    missed: int
    recall: float
    recall_low: float
    recall_high: float
    notes_with_misses: float
    notes_low: float
    notes_high: float
    missed_kinds: dict[str, int] = Field(default_factory=dict)
    not_judged: tuple[str, ...] = ()


class TextFound(Stated):
    """What was found in free text: table -> kind -> findings."""

    findings: dict[str, dict[str, int]] = Field(default_factory=dict)
    columns: tuple[str, ...] = ()
    """The texts that leave, as `table.column`."""
    audit: Audit | None = None


class Expectation(Stated):
    """One verdict of Great Expectations. failed: cells that are not as expected; None where the expectation is not about cells."""

    table: str
    column: str
    expectation: str
    passed: bool
    failed: int | None = None


class Timing(Stated):
    """When a step (of a table) was done. at: with time zone."""

    step: str
    table: str = ""
    at: datetime


class Signature(Stated):
    """Who decided, when, and why. files: path -> SHA-256 of every file that was decided on."""

    steward: str
    approve: bool
    reason: str
    at: datetime
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the lines `hash  path` of these files, in the order of the paths: one word for all of them, as the review's request has it."""
        lines = "".join(f"{self.files[path]}  {path}\n" for path in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()


class Evidence(Stated):
    """All that a steward reads of one release. version: empty while a run has not passed its gates."""

    format: int = FORMAT
    dataset: str
    version: str = ""
    run: str
    started: datetime
    code_version: str
    key_id: str
    policy_sha256: str
    profile: str = ""
    title: str = ""
    description: str = ""
    licence: str = ""
    contact: str = ""
    recipient: str = ""
    purpose: str = ""
    citation: str = ""
    tables: tuple[TableOut, ...] = ()
    held_back: HeldBack = HeldBack()
    drift: tuple[str, ...] = ()
    """What the sources have that they had not at the last release, and what they have no more: names and counts, a sentence each."""
    privacy: PrivacyAsked
    risk: tuple[TableRisk, ...] = ()
    utility: dict[str, Any] = Field(default_factory=dict)
    """As the record of `validate` has it: table -> figures."""
    text: TextFound = TextFound()
    expectations: tuple[Expectation, ...] = ()
    gates: tuple[GateFact, ...] = ()
    files: tuple[FileFact, ...] = ()
    policy: dict[str, str] = Field(default_factory=dict)
    """The policy's settings and rules by their path (`privacy.k`, `tables.patient.columns.zip`), in words; no address, no secret."""
    timings: tuple[Timing, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that go out."""
        return sum(table.rows for table in self.tables)

    @property
    def subjects(self) -> int:
        """People that go out: of the table that has most of them, since tables share their people."""
        return max((table.subjects or 0 for table in self.tables), default=0)

    @property
    def failed(self) -> tuple[GateFact, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def passed(self) -> bool:
        """Whether gates were judged and every one passed."""
        return bool(self.gates) and not self.failed

    def to_json(self) -> bytes:
        """UTF-8, the same bytes for the same facts. The timings are left out: a run that was killed and went on ends the same."""
        return self.model_dump_json(indent=1, exclude={"timings"}).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes | str) -> Evidence:
        """Raises ValueError where it is none."""
        return cls.model_validate_json(data)
