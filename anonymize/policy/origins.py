"""Where a policy's records come from: one class of settings a kind of source. `anonymize.sources.open_source` makes the source of them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from anonymize.policy.checked import Checked, Number, Whole


class SqlSource(Checked):
    """A database by SQLAlchemy. Credentials stand in an Airflow connection or the environment, never in the policy.

    url: may hold `${NAME}`, taken from the environment; connection: the id of an Airflow connection (`AIRFLOW_CONN_…` works without
    Airflow). Exactly one of the two. `docs/sources/relational.md` has an example for each server.
    """

    type: Literal["sql"]
    url: str | None = None
    connection: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    batch_rows: Whole = Field(default=10_000, gt=0, alias="batch-rows")
    """The most rows that are fetched at once."""
    fast: bool = True
    """PostgreSQL: straight to Arrow (ADBC) where the server allows it. Both ways give the same rows, types and quarantine."""
    partitions: Whole = Field(default=1, gt=0)
    """A table with a primary key is read in so many ranges of its key, or more where it is large; 1: in one."""
    connections: Whole = Field(default=4, gt=0)
    """The most connections that are open to the database at a time, for each table that is being read."""
    rate: Whole | None = Field(default=None, gt=0)
    """The most rows a second that are taken from the database, over all connections of a table; none: as fast as it goes."""

    @model_validator(mode="after")
    def _one_address(self) -> SqlSource:
        if (self.url is None) == (self.connection is None):
            raise ValueError("give either 'url' or 'connection'")
        return self


class Field_(Checked):
    """One field of a fixed-width file. start: its first character, from 1; width: in characters."""

    name: str = Field(min_length=1)
    start: Whole = Field(ge=1)
    width: Whole = Field(ge=1)


#: The kinds of files of tables; `files`: each by the end of its name.
FILE_KINDS = ("csv", "tsv", "parquet", "json", "ndjson", "xlsx", "fixed", "files")
_TEXT = ("csv", "tsv", "fixed", "files")
_CELLS = ("csv", "tsv", "fixed", "xlsx", "files")
#: The kinds that a setting belongs to; with another it would silently do nothing, so it is refused.
_SETTING_OF = {
    "delimiter": ("csv", "files"),
    "quote": ("csv", "tsv", "files"),
    "header": ("csv", "tsv"),
    "encoding": _TEXT,
    "missing": _CELLS,
    "skip_rows": _CELLS,
    "header_rows": ("xlsx", "files"),
    "decimal": _CELLS,
    "thousands": _CELLS,
    "records": ("json", "files"),
    "layout": ("fixed",),
    "pad": ("fixed",),
}


class FileSource(Checked):
    """Files of tables, one table a file or glob: a table's `from` is the file's name in `path` (`patients.csv`, `visits/*.parquet`), its stem,
    or a folder of parts; of a workbook with several sheets `BOOK#SHEET`.

    path: a folder, a file, a ZIP archive, or a prefix of an object store (`s3://bucket/prefix?region=…`); connection: the Airflow connection
    whose key reads an S3 bucket (default: what the environment has).
    """

    type: Literal["csv", "tsv", "parquet", "json", "ndjson", "xlsx", "fixed", "files"]
    path: str
    connection: str | None = None
    delimiter: str = Field(default="auto", pattern=r"^(auto|.)$")
    """csv: one sign; `auto`: the one by which the first records have as many fields as the header."""
    quote: str = Field(default='"', pattern=r"^.?$")
    """csv, tsv: the sign around fields that hold a delimiter; empty: there is none."""
    header: tuple[str, ...] = ()
    """csv, tsv: the columns of files that have no header."""
    encoding: str = "auto"
    """Of text; `auto`: by the byte order mark, else by all bytes of each file."""
    missing: tuple[str, ...] = ("",)
    """The texts that stand for a missing value (`?`)."""
    skip_rows: Whole = Field(default=0, ge=0, alias="skip-rows")
    """Lines or rows above the header."""
    header_rows: Whole = Field(default=1, ge=1, le=9, alias="header-rows")
    """xlsx: rows that make the header, their words joined with `_`."""
    decimal: Literal[".", ","] = "."
    """The sign before a number's decimals."""
    thousands: str = Field(default="", pattern=r"^[.,' \u00a0\u202f]?$")
    """The sign between a number's thousands."""
    records: str = ""
    """json: where the list of records stands in the document (`data.items`); default: the document, or its first list of objects."""
    layout: str | tuple[Field_, ...] | dict[str, str | tuple[Field_, ...]] = ()
    """fixed: the fields, or a CSV of them (name, start, width); for several tables, a mapping of each `from` to its own."""
    pad: bool = False
    """fixed: whether blanks at the end of a line may be missing."""

    @model_validator(mode="after")
    def _settings_fit(self) -> FileSource:
        for setting in sorted(self.model_fields_set & _SETTING_OF.keys()):
            if self.type not in _SETTING_OF[setting]:
                kinds = ", ".join(_SETTING_OF[setting])
                raise ValueError(f"'{setting.replace('_', '-')}' says nothing of {self.type} files: it is a setting of {kinds}")
        if self.type == "fixed" and not self.layout:
            raise ValueError("fixed-width files need their 'layout', for example [{name: id, start: 1, width: 8}]")
        if self.thousands == self.decimal:
            raise ValueError("'thousands' and 'decimal' are one sign")
        return self


#: Where a secret is found: `env:NAME`, or the password of an Airflow connection.
SecretReference = Annotated[str, Field(pattern=r"^(env|connection):[A-Za-z_][A-Za-z0-9_.-]*$")]


class FhirAuth(Checked):
    """How we say who we are to a FHIR server: SMART backend services (`client` and `key`), or a token that somebody gave us (`bearer`).

    The secrets stand in the environment or in an Airflow connection, never in the policy.
    """

    client: str | None = None
    """The client id that the server gave us."""
    key: SecretReference | None = None
    """Our private key, PEM or JWK: an RSA key of 2,048 bits or more (RS384), or an elliptic one on P-384 (ES384)."""
    kid: str | None = None
    """The key's id, as the server has our public key; default: the JWK's own."""
    scope: str = "system/*.read"
    token_url: str | None = Field(default=None, alias="token-url")
    """Default: as the server's `.well-known/smart-configuration` says."""
    bearer: SecretReference | None = None

    @model_validator(mode="after")
    def _one_way(self) -> FhirAuth:
        if (self.bearer is None) == (self.client is None and self.key is None) or (self.client is None) != (self.key is None):
            raise ValueError("give either 'client' and 'key' (SMART backend services), or 'bearer'")
        return self


class FhirSource(Checked):
    """FHIR R4 or R5 resources, flattened to tables by a mapping: a ready-made one's name or a YAML file.

    path: a folder (or a file) of NDJSON, Bundles, single resources. url: a server with Bulk Data Access, which is asked for an export once a
    run. Exactly one of the two.
    """

    type: Literal["fhir"]
    path: str | None = None
    mapping: str = "us-core"
    absent: Literal["refuse", "empty"] = "refuse"
    """What becomes of a table whose type of resource the source does not have, and of a column that nothing fills: the policy is refused, or
    it is empty."""
    url: str | None = None
    """The server's base address (`https://fhir.hospital.example/r4`); may hold `${NAME}`."""
    group: str | None = None
    """The id of a Group whose patients are exported (`Group/ID/$export`)."""
    level: Literal["system", "patient"] = "system"
    """Without a group: everything (`$export`), or what is about patients (`Patient/$export`)."""
    types: tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]+$")], ...] = ()
    """Types of resource; default: those of the tables that the policy reads."""
    filters: tuple[str, ...] = ()
    """`_typeFilter`: searches that narrow a type, as the server supports them (`Observation?category=laboratory`)."""
    since: datetime | None = None
    """`_since`: what changed from this moment on (with a time zone)."""
    auth: FhirAuth | None = None
    ca: str | None = None
    """A file of the authorities that the server's certificate is judged by; default: those that everybody trusts."""
    attachments: bool = True
    """Whether attachments that the server holds as Binary are fetched, where the export has only their address."""
    timeout_hours: Number = Field(default=48, gt=0, alias="timeout-hours")
    """How long an export may take."""
    largest_gb: Number = Field(default=500, gt=0, alias="largest-gb")
    """How much an export may be, all files together, as they come."""

    @model_validator(mode="after")
    def _one_place(self) -> FhirSource:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either 'path' (files) or 'url' (a server's base address)")
        asked = self.model_fields_set - {"type", "path", "url", "mapping", "absent"}
        if self.path is not None and asked:
            raise ValueError(f"'{sorted(asked)[0].replace('_', '-')}' belongs to a server's 'url', not to files")
        if self.group is not None and "level" in self.model_fields_set:
            raise ValueError("a 'group' has no 'level'")
        if self.since is not None and self.since.tzinfo is None:
            raise ValueError("'since' needs a time zone: 2026-01-31T00:00:00Z")
        return self


#: The options of DICOM's confidentiality profile, PS3.15 Annex E.3, that a policy can claim.
DicomOption = Literal[
    "retain-uids",
    "retain-device-identity",
    "retain-institution-identity",
    "retain-patient-characteristics",
    "retain-longitudinal-full-dates",
    "retain-longitudinal-modified-dates",
    "clean-descriptors",
    "clean-structured-content",
    "clean-graphics",
]


class DicomSource(Checked):
    """DICOM files in a folder, an archive or an object store, at any depth and by any name: their headers, flattened to tables by a mapping.

    Pixels are never read.
    """

    type: Literal["dicom"]
    path: str
    connection: str | None = None
    mapping: str = "dicom"
    pattern: str = "*"
    """The names of the files that are read (`*.dcm`); what else lies there is not looked at."""
    options: tuple[DicomOption, ...] = ()
    """The options of PS3.15's Basic Application Level Confidentiality Profile that the policy claims: what neither the profile nor one of them
    lets stay is refused."""


class Shape(Checked):
    """Where a speech service's JSON has what a transcript is made of: paths as in a mapping.

    segments: to the list; the others begin at one of its elements. scale: seconds a unit of `start`, `end` and `duration`.
    """

    segments: str
    text: str
    speaker: str = ""
    start: str = ""
    end: str = ""
    duration: str = ""
    scale: Number = 1.0
    has: str = ""
    """A path that must be there for the shape to be this one."""


class TranscriptSource(Checked):
    """Transcripts of calls and visits, one a file: WebVTT, SRT, or JSON as speech services write it; as tables of calls and of utterances."""

    type: Literal["transcript"]
    path: str
    connection: str | None = None
    mapping: str = "transcript"
    name: str = ""
    """A regular expression with named groups that a file's name has, without its end: `(?P<subject>[^_]+)_(?P<date>[0-9-]+)`."""
    index: str = ""
    """A CSV with a row a file, relative to the policy: its column `file` is the file's name, with or without its end."""
    subject: str = "name.subject"
    """Where the subject key is: `name.GROUP`, `index.COLUMN`, or `json.PATH` in the file."""
    roles: dict[str, str] = Field(default_factory=dict)
    """A speaker as a transcript names it -> a role that may be published: `{Agent: nurse, spk_1: patient}`."""
    shape: str | Shape = "auto"
    """json: a known service's name, or the paths; `auto`: the first that fits."""
    speaker_prefix: bool = Field(default=False, alias="speaker-prefix")
    """Whether an utterance begins with its speaker (`Dr. Lee: …`) where the format does not say who speaks."""
    merge: Number = Field(default=2.0, ge=0)
    """Pieces of one speaker that follow within so many seconds are one utterance: captions break within names. 0: none is."""

    @field_validator("name")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"'name' is no regular expression: {error.msg}") from None
        return value


#: Types of patients' numbers (HL7 table 0203) by which a hospital knows a person, the best first.
HL7_ID_TYPES = ("MR", "PI", "PT", "MRN", "EPI", "PE", "ANON", "MRT")


class Hl7Source(Checked):
    """A folder of HL7 v2 messages (ER7; batches and MLLP captures too), as tables by a mapping: a ready-made one's name or a YAML file."""

    type: Literal["hl7v2"]
    path: str
    mapping: str = "hl7v2"
    files: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Patterns of names; every file that fits one is read."""
    encoding: str | None = None
    """Default: as MSH-18 says; where it says nothing or is wrong, as the bytes look."""
    id_types: tuple[str, ...] = Field(default=HL7_ID_TYPES, alias="id-types")
    """Of PID-3.5: which of a patient's numbers is the subject's key, the best first."""
    id_authorities: tuple[str, ...] = Field(default=(), alias="id-authorities")
    """Of PID-3.4: who gave the numbers that count. Default: anybody."""
    merges: bool = True
    """Whether a number that was given up (MRG) counts as the one that took its place."""


class CdaSource(Checked):
    """A folder of CDA documents (C-CDA R1.1, R2.1), alone, in ZIP archives (XDM) or in HL7 v2 messages, as tables by a mapping."""

    type: Literal["cda"]
    path: str
    mapping: str = "ccda"
    files: tuple[str, ...] = Field(default=("*",), min_length=1)
    id_roots: tuple[str, ...] = Field(default=(), alias="id-roots")
    """OIDs of who gives the patients' numbers that count, the best first. Default: the first number that is no social security number."""


Source = Annotated[SqlSource | FileSource | FhirSource | DicomSource | TranscriptSource | Hl7Source | CdaSource, Field(discriminator="type")]
#: The classes of settings, one a kind of source.
KINDS: tuple[type[Checked], ...] = get_args(get_args(Source)[0])
