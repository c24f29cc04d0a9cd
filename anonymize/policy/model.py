"""What the steward wrote, as checked objects. Read `docs/policy.md` for the file; `loader.py` turns YAML into these.

Every model forbids words it does not know and is frozen. The short form of a column (`zip: quasi us-zip3`) is read here.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from anonymize.policy.checked import Checked, Number, Whole
from anonymize.policy.environment import expand
from anonymize.policy.lasting import Cohort, Incremental, Linkage
from anonymize.policy.memory import Shares, shares
from anonymize.policy.origins import Source

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Role(StrEnum):
    """What a column is."""

    IDENTIFIER = "identifier"
    QUASI = "quasi"
    SENSITIVE = "sensitive"
    DATE = "date"
    TEXT = "text"
    PLAIN = "plain"
    DROP = "drop"


class Method(StrEnum):
    """What is done to a column in its role."""

    PSEUDONYM = "pseudonym"
    REDACT = "redact"
    SURROGATE = "surrogate"
    GENERALIZE = "generalize"
    SHIFT = "shift"
    YEAR = "year"
    SCRUB = "scrub"
    ROUND = "round"
    CODE = "code"
    KEEP = "keep"
    DROP = "drop"


#: The methods that a role allows; the first is its default.
METHODS: dict[Role, tuple[Method, ...]] = {
    Role.IDENTIFIER: (Method.PSEUDONYM, Method.REDACT, Method.SURROGATE, Method.DROP),
    Role.QUASI: (Method.GENERALIZE,),
    Role.SENSITIVE: (Method.KEEP, Method.ROUND, Method.CODE),
    Role.DATE: (Method.SHIFT, Method.YEAR, Method.DROP),
    Role.TEXT: (Method.SCRUB, Method.DROP),
    Role.PLAIN: (Method.KEEP, Method.ROUND, Method.CODE, Method.REDACT),
    Role.DROP: (Method.DROP,),
}


class Kind(StrEnum):
    """What a piece of PHI is; the words of policies, findings and tags (`[NAME]`). One or more for each of HIPAA's 18 identifiers."""

    NAME = "name"
    ADDRESS = "address"
    DATE = "date"
    AGE = "age"
    PHONE = "phone"
    FAX = "fax"
    EMAIL = "email"
    SSN = "ssn"
    MRN = "mrn"
    HEALTH_PLAN = "health-plan"
    ACCOUNT = "account"
    LICENSE = "license"
    VEHICLE = "vehicle"
    DEVICE = "device"
    URL = "url"
    IP = "ip"
    BIOMETRIC = "biometric"
    PHOTO = "photo"
    ID = "id"
    FACILITY = "facility"
    ORGANIZATION = "organization"

    @property
    def tag(self) -> str:
        """What stands in a scrubbed text in its place: `[NAME]`, `[HEALTH_PLAN]`."""
        return f"[{self.value.replace('-', '_').upper()}]"


class Rule(Checked):
    """One column's role, method and options.

    Short form, a string: `ROLE [METHOD] [ARGUMENT]`. The argument is the hierarchy of `generalize`, the kind of PHI of `pseudonym`,
    `redact`, `surrogate` and `drop`, the digits of `round`, and the form of `scrub`: `quasi us-zip3`, `identifier pseudonym mrn`,
    `identifier drop name`, `date shift`, `text`, `text rtf`, `plain round 1`, `drop`.
    """

    role: Role
    method: Method
    kind: Kind | None = None
    """What PHI the column holds. Values of an `identifier` (or of a `drop` with a kind) are searched for in the subject's texts and by
    the leak gate; without a kind it is guessed from the column's name."""
    namespace: str | None = None
    """`pseudonym`: equal values of one namespace get equal pseudonyms, in every table. Default: `subject` for
    the subject key, else `id`."""
    looked_up: bool = Field(default=True, alias="looked-up")
    """`pseudonym`: whether its values are looked up in the subject's texts and by the leak gate. `false` is for keys of records that a machine
    made up and no text tells: a patient has tens of thousands, and all would be carried beside each text. The subject key is looked up whatever
    this says, and the check warns where values are short enough to be told (docs/policy.md)."""
    hierarchy: str | None = None
    """`generalize`: `age`, `date`, `us-zip3`, `icd-10-cm`, `flat`, `ranges:10,20`, `csv:FILE` …"""
    weight: Number = Field(default=1.0, gt=0)
    """`generalize`: how much its loss counts."""
    min_level: Whole = Field(default=0, ge=0, alias="min-level")
    max_level: Whole | None = Field(default=None, ge=0, alias="max-level")
    """`generalize`: bounds of the search."""
    digits: Whole | None = None
    """`round`: decimal digits kept; negative for tens, hundreds."""
    top: Number | None = None
    bottom: Number | None = None
    """`code`: values over `top` become `top`, under `bottom` become `bottom`."""
    format: str | None = None
    """A strptime format, where a date column holds text; of a text, one of FORMS where its signs do not tell (default: they do); of a pseudonym
    `uid`, DICOM's form of an identifier (`2.25.…`)."""
    type: Literal["string", "int64", "float64", "bool", "date", "timestamp"] | None = None
    """What the source's values are read as; default: what the source says."""
    rename: str | None = None
    """The published column's name."""
    values: tuple[str, ...] | None = None
    """The only values that may be published (a check)."""
    optional: bool = False
    """Whether the source may be without the column, as an optional table: other releases of the same system have other columns."""
    description: str = ""
    unit: str = ""
    """What its numbers are counted in, for the dictionary: `mmol/L`, a UCUM code for choice."""
    codes: str = ""
    """The system that its codes are of, for the dictionary: `ICD-10-CM`, `http://loinc.org`."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str):
            return cls.short_form(data)
        if isinstance(data, dict) and "method" not in data and data.get("role") in set(Role):
            return {**data, "method": METHODS[Role(data["role"])][0].value}
        return data

    @staticmethod
    def short_form(text: str) -> dict[str, Any]:
        """The long form of `ROLE [METHOD] [ARGUMENT]`, whatever its words are worth."""
        words = text.split()
        if not words or words[0] not in set(Role):
            return {"role": words[0] if words else "", "method": Method.DROP.value}
        role, rest = Role(words[0]), words[1:]
        if rest and rest[0] in set(Method):
            method, rest = Method(rest[0]), rest[1:]
        else:
            method = METHODS[role][0]
        rule: dict[str, Any] = {"role": role.value, "method": method.value}
        if rest:
            option, argument = ARGUMENT.get(method, "argument"), " ".join(rest)
            rule[option] = int(argument) if option == "digits" and argument.removeprefix("-").isdecimal() else argument
        return rule

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        allowed = METHODS[self.role]
        if self.method not in allowed:
            raise ValueError(f"role '{self.role}' has no method '{self.method}'. It has: {', '.join(allowed)}")
        if self.method is Method.GENERALIZE and not self.hierarchy:
            raise ValueError("a quasi-identifier needs a hierarchy, for example 'quasi age' or 'quasi flat'")
        if self.method is Method.SCRUB and self.format is not None and self.format not in FORMS:
            raise ValueError(f"a text has no form '{self.format}'. It has: {', '.join(FORMS)}")
        if self.method is Method.PSEUDONYM and self.format not in (None, "uid"):
            raise ValueError(f"a pseudonym has no form '{self.format}'. It has: uid")
        if self.method is Method.ROUND and self.digits is None:
            raise ValueError("'round' needs the decimal digits to keep, for example 'plain round 1'")
        if self.method is Method.CODE and self.top is None and self.bottom is None:
            raise ValueError("'code' needs 'top', 'bottom' or both, for example {role: plain, method: code, top: 89}")
        for option in self.model_fields_set & set(OPTION_OF):
            if option == "hierarchy" and self.role is Role.SENSITIVE:
                continue  # for the distance of hierarchical t-closeness
            if self.method not in OPTION_OF[option] and getattr(self, option) is not None:
                word, methods = option.replace("_", "-"), " and ".join(f"'{method}'" for method in OPTION_OF[option])
                raise ValueError(f"'{word}' does nothing under method '{self.method}': it is an option of {methods}")
        return self

    @property
    def leaves(self) -> bool:
        """Whether the column is published."""
        return self.method is not Method.DROP


#: The methods that an option belongs to; under another it would silently do nothing, so it is refused.
OPTION_OF: dict[str, tuple[Method, ...]] = {
    "namespace": (Method.PSEUDONYM,),
    "looked_up": (Method.PSEUDONYM,),
    "hierarchy": (Method.GENERALIZE,),
    "weight": (Method.GENERALIZE,),
    "min_level": (Method.GENERALIZE,),
    "max_level": (Method.GENERALIZE,),
    "digits": (Method.ROUND,),
    "top": (Method.CODE,),
    "bottom": (Method.CODE,),
    "format": (Method.SHIFT, Method.YEAR, Method.SCRUB, Method.PSEUDONYM),
}


#: What a text column's cells are; `auto` goes by the signs in each.
FORMS = ("auto", "plain", "html", "xml", "cda", "rtf", "base64")

#: The option that a method's argument stands for in the short form.
ARGUMENT: dict[Method, str] = {
    Method.GENERALIZE: "hierarchy",
    Method.PSEUDONYM: "kind",
    Method.REDACT: "kind",
    Method.SURROGATE: "kind",
    Method.DROP: "kind",
    Method.ROUND: "digits",
    Method.SCRUB: "format",
}


class Table(Checked):
    """One table that leaves. Columns not named stay out."""

    source: str | None = None
    """Which source; may be left out where the policy has one."""
    from_: str | None = Field(default=None, alias="from")
    """The table's name at the source; default: the same."""
    query: str | None = None
    """SQL sources: a SELECT instead of a table."""
    subject: str | None = "@default"
    """The column that holds the subject key; default: the policy's. `null`: the table is not about subjects (a code list)."""
    columns: dict[str, Rule] = Field(min_length=1)
    optional: bool = False
    """Whether the source may be without it: then it is left out, and the run's record says so. Without this its absence stops the run."""
    description: str = ""
    incremental: Incremental | None = None
    """How a run takes what is new; default: it takes everything."""


#: Thresholds that a steward knows by name -> k. Sources: CMS cell size suppression policy; EMA policy 0070 (maximum risk 0.09).
NAMED_K = {"cms": 11, "ema-0070": 12}


def named_k(words: object) -> object:
    """`cms`, `ema-0070`, or `risk 0.09`, the chance of being found in the smallest class, as a k; what is neither stays."""
    if not isinstance(words, str):
        return words
    name, _, share = words.partition(" ")
    try:
        risk = float(share) if name == "risk" else 0.0
    except ValueError:
        risk = 0.0
    return math.ceil(1 / risk - 1e-9) if 0 < risk <= 1 else NAMED_K.get(words, words)


class Population(Checked):
    """The people whom the release was drawn from: a file with a row a person, or a row a combination with the number of its people. What is
    asked of it is asked of the subject table."""

    file: str
    """CSV or Parquet, relative to the policy."""
    columns: dict[str, str] = Field(default_factory=dict)
    """A quasi-identifier's published name -> the file's column; default: the same name."""
    count: str | None = None
    """The file's column with the number of people of a row; default: a row is a person."""
    delimiter: str | None = None
    """Of a CSV; default: as its first line has it."""
    k_map: Annotated[Whole | None, BeforeValidator(named_k)] = Field(default=None, ge=2, alias="k-map")
    """People of the population a class."""
    k: Annotated[Whole | None, BeforeValidator(named_k)] = Field(default=None, ge=1)
    """Subjects a class of the subject table in the release; default: the policy's k. May be 1 beside k-map."""
    presence: tuple[Number, Number] | None = None
    """[least, most]: in each class the share of the population's people who are in the release."""

    @model_validator(mode="after")
    def _asks_something(self) -> Population:
        if self.k_map is None and self.presence is None:
            raise ValueError("asks nothing: say 'k-map: 11', 'presence: [0, 0.2]', or both")
        if self.presence is not None and not 0 <= self.presence[0] < self.presence[1] <= 1:
            raise ValueError("'presence' is two shares from 0 to 1, the least and the most, for example [0, 0.2]")
        if self.k is not None and self.k_map is None:
            raise ValueError("'k' is for the release beside 'k-map'; without it say 'privacy: {k: …}'")
        return self


class Sampling(Checked):
    """(epsilon, delta)-differential privacy of the subject table by a random sample and k."""

    share: Number = Field(gt=0, lt=1)
    """The chance of each subject to be drawn, by the key: the same key draws the same."""
    epsilon: Number = Field(gt=0)
    delta: Number = Field(default=1e-6, gt=0, lt=1)

    @model_validator(mode="after")
    def _within_the_theorem(self) -> Sampling:
        least = -math.log1p(-self.share)
        if self.epsilon < least - 1e-9:
            raise ValueError(f"where a share of {self.share:g} is drawn, 'epsilon' must be at least {least:.3g}: draw fewer, or raise epsilon")
        return self


def seconds(words: object) -> object:
    """`90s`, `5m` or `2h` as seconds. Raises ValueError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)", words) if isinstance(words, str) else None
    if found is None:
        raise ValueError("a time is written '90s', '5m' or '2h'")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


class Privacy(Checked):
    """k-anonymity, counted in subjects, and what is asked beside it."""

    k: Annotated[Whole, BeforeValidator(named_k)] = Field(default=5, ge=2)
    """Subjects a class: a number, `cms` (11), `ema-0070` (12), or `risk 0.09` (12)."""
    suppression: Number = Field(default=0.05, ge=0, le=1)
    """The largest share of a table's subjects that may be suppressed."""
    l: tuple[Annotated[str, Field(pattern=r"^[^:]+:((distinct:)?[0-9]+|entropy:[0-9.]+|recursive:[0-9.]+:[0-9]+)$")], ...] = ()  # noqa: E741
    """l-diversity of sensitive columns, as published: `diagnosis:3`, `diagnosis:entropy:3`, `diagnosis:recursive:4:3`."""
    t: tuple[Annotated[str, Field(pattern=r"^[^:]+:((equal|ordered|hierarchical):)?[0-9.]+$")], ...] = ()
    """t-closeness of sensitive columns: `diagnosis:0.2`, `age:ordered:0.2`, `diagnosis:hierarchical:0.2`."""
    beta: tuple[Annotated[str, Field(pattern=r"^[^:]+:((basic|enhanced):)?[0-9.]+$")], ...] = ()
    """beta-likeness of sensitive columns: `diagnosis:1`, `diagnosis:basic:2`."""
    population: Population | None = None
    """k-map and delta-presence against a table of people."""
    sampling: Sampling | None = None
    """Safe release by random sampling."""
    attacker: str = Field(default="demographics", pattern=r"^demographics( \+ ([1-3]) events?)?$")
    """What is taken to be known of a subject: `demographics`, the quasi-identifiers of any one row; `demographics + 2 events`, those of the
    subject table and of up to two rows of the other tables together."""
    differences: Literal["report", "hold"] = "report"
    """This release joined with the earlier ones by the subjects' pseudonyms: `report` says how many stand out by what has changed; `hold`
    stops the release where fewer than k share a change."""
    mode: Literal["optimal", "local"] = "optimal"
    """`optimal`: each column has one level throughout a table; `local`: each record keeps what its own surroundings allow."""
    time: Annotated[Number, BeforeValidator(seconds)] = Field(default=0.0, gt=0)
    """`60s`: after as much work as a usual core does in it, each table's search ends with the best so far. The work is counted and not
    timed, so that the same input gives the same release. Default: no end but the optimum."""
    within: Annotated[str, Field(pattern=r"^[^:]+(:[0-9]+)?$")] | None = None
    """A quasi-identifier and its level (default 0) by whose values a table is parted: with `optimal`, each part has its own levels."""

    @property
    def events(self) -> int:
        """How many events the attacker knows beside demographics; 0: every table is looked at by itself."""
        return int(self.attacker.split()[2]) if "+" in self.attacker else 0


class Text(Checked):
    """How free text is scrubbed."""

    language: str = "en"
    replace: Literal["tags", "surrogates"] = "tags"
    dates: str = "shift"
    """What becomes of a written date. `shift`: it moves by its subject's own constant. `year`: its year stays, unless it tells an age that is
    over 89 in the year of the run, or with `year:YEAR` in YEAR. `tag`: a tag, which is also what a day of birth becomes, and a date that cannot
    be moved or tells no year."""
    detectors: dict[str, bool | float] = Field(default_factory=dict)
    """A detector's name -> off/on, or the score from which its findings count; default: the registry's."""

    @field_validator("dates")
    @classmethod
    def _known(cls, value: str) -> str:
        if not re.fullmatch(r"shift|tag|year(:[12][0-9]{3})?", value):
            raise ValueError("dates in texts take 'shift', 'tag', 'year', or 'year:YEAR' (ages are counted in YEAR), for example 'year:2026'")
        return value

    @property
    def ages_in(self) -> int | None:
        """The year in which ages are counted; of `year` this one where no run has said it (`Policy.counting_ages_in`). None: no year leaves."""
        word, _, year = self.dates.partition(":")
        return int(year or datetime.now(UTC).year) if word == "year" else None


class Checks(Checked):
    """The budgets of the gates."""

    quarantine: Number = Field(default=0.001, ge=0, le=1)
    """The largest share of a table's records that may be malformed before the run ends."""
    quarantined_files: Number = Field(default=0.5, ge=0, le=1, alias="quarantined-files")
    """The largest share of a table's files that may be unreadable before the run ends; a steward sees each that is."""
    null_rate_change: Number = Field(default=0.10, ge=0, le=1, alias="null-rate-change")
    """Largest change of a column's null rate since the last release."""
    row_change: Number = Field(default=0.50, ge=0, alias="row-change")
    """Largest relative fall in a table's rows since the last release."""
    drift: Literal["report", "hold"] = "report"
    """A column, type, table or code system that is not as in the last release: told at the desk, or it stops the run at its check."""
    quarantine_days: Whole = Field(default=30, ge=0, alias="quarantine-days")
    """How long the records in a run's quarantine are kept for mending once it has ended."""


class Review(Checked):
    """Who signs."""

    required: bool = True
    stewards: Whole = Field(default=1, ge=1, le=2)
    """How many must approve; the second is not the first."""
    timeout_days: Number = Field(default=14, gt=0, alias="timeout-days")


KeyReference = Annotated[str, Field(pattern=r"^(env|airflow):[A-Za-z_][A-Za-z0-9_.-]*$")]


class Encryption(Checked):
    """How a release is encrypted where it lies."""

    server: str | None = Field(default=None, pattern=r"^(sse-s3|sse-kms(:.+)?)$")
    """Stores on S3, by the server: `sse-s3` (its own keys), `sse-kms` or `sse-kms:KEY-ID` (a key management service's)."""
    footer: KeyReference | None = None
    """The key that signs files with encrypted columns; every reader of such a column needs it beside the column's own."""
    columns: dict[Annotated[str, Field(pattern=r"^[^.]+\.[^.]+$")], KeyReference] = Field(default_factory=dict)
    """Columns that only readers with a key can read: `patient.zip3` (published names) -> its key."""

    @model_validator(mode="after")
    def _footer(self) -> Encryption:
        if self.columns and self.footer is None:
            raise ValueError("encrypted columns need a 'footer' key beside their own, for example footer: env:ICU_FOOTER_KEY")
        return self

    @property
    def references(self) -> dict[str, str]:
        """Where each key is found, by its name (as files and manifests have it)."""
        return {one.partition(":")[2]: one for one in [*([self.footer] if self.footer else []), *self.columns.values()]}

    def of_table(self, table: str) -> dict[str, str]:
        """The references of a table's keys, by published column."""
        pairs = ((name.partition("."), key) for name, key in self.columns.items())
        return {column: key for (named, _, column), key in pairs if named == table}


class Release(Checked):
    """Where releases go."""

    store: str
    """A folder, `s3://bucket/path?endpoint_override=…`, or a URI that pyarrow or fsspec knows (`gs://…`, `sftp://…`)."""
    encryption: Encryption = Encryption()
    title: str = ""
    licence: str = ""
    contact: str = ""
    recipient: str = ""
    """Who will use the release, and under what agreement; an expert's determination is about them (45 CFR 164.514(b)(1))."""
    purpose: str = ""
    """What for."""
    citation: str = ""
    """How to cite it."""
    file_rows: Whole = Field(default=1_000_000, gt=0, alias="file-rows")
    keep: str | None = None
    """How long versions stay, beside the newest: `5 versions`, `2 years`, `18 months`, `90 days`; default: for good."""
    notice_days: Whole = Field(default=30, ge=0, alias="notice-days")
    """How long before it goes a version is announced that somebody pinned."""

    @field_validator("keep")
    @classmethod
    def _span(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[1-9][0-9]{0,4} (version|year|month|day)s?", value):
            raise ValueError("keep takes a number of versions, years, months or days, for example '5 versions' or '2 years'")
        return value


class OptOut(Checked):
    """Who opted out: their subject keys, in a table of a source or in a file. They are in no release from then on.

    `{source: ehr, table: consent, column: patient_id}`; with `query`, a SELECT that gives that column alone those who opted out; or
    `{file: opted-out.csv, column: patient_id}`.
    """

    source: str | None = None
    """Which source; may be left out where the policy has one."""
    table: str | None = None
    query: str | None = None
    """SQL sources: a SELECT instead of a table."""
    column: str
    file: str | None = None
    """One key a line, a CSV, or the manifest of a FHIR bulk export with what was deleted."""

    @model_validator(mode="after")
    def _one_place(self) -> OptOut:
        if (self.file is None) == (self.table is None and self.query is None):
            raise ValueError("give either 'file', or the 'table' of a source, for example {table: consent, column: patient_id}")
        if self.file is not None and self.source is not None:
            raise ValueError("a 'file' is of no 'source'")
        return self


class Trail(Checked):
    """The audit trail of this deployment."""

    folder: str = ""
    """Where it stands; default: `trail` in the workspace. Policies that share a workspace share a trail."""
    key: str | None = None
    """Where the Ed25519 key that signs it is found: `env:NAME`, `airflow:NAME` or `file:PATH`. Without one it is chained, and says that it is
    not signed."""
    public: str = ""
    """The public key that verifies it, where the private one is not at hand: 64 hex digits, or a PEM file's path."""

    @field_validator("key")
    @classmethod
    def _reference(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(env|airflow):[A-Za-z_][A-Za-z0-9_.-]*|file:.+", value):
            raise ValueError("must say where the key is found: env:NAME, airflow:NAME or file:PATH. A key itself has no place in a policy")
        return value


class LocalEngine(Checked):
    workers: Whole = Field(default=0, ge=0)
    """Worker processes; 0: one a core."""
    memory: str = "4GB"
    """What the engine may take, all processes together; see `memory.py`."""

    @property
    def shares(self) -> Shares:
        """Who has what of the memory on this machine."""
        return shares(self.memory, self.workers, cores=os.cpu_count() or 1)

    @model_validator(mode="after")
    def _enough(self) -> LocalEngine:
        shares(self.memory, self.workers, cores=1)
        return self


class SparkEngine(Checked):
    master: str = ""
    """`local[2]`, `spark://host:7077`, `yarn`, `k8s://…` or `sc://host` (Connect); empty: what `spark-submit` gives."""
    conf: dict[str, str | bool | int] = Field(default={})
    """Spark's own settings, by their names. A key has no place here: everybody can read them."""

    @field_validator("conf")
    @classmethod
    def _words(cls, value: dict[str, str | bool | int]) -> dict[str, str | bool | int]:
        return {name: str(said).lower() if isinstance(said, bool) else str(said) for name, said in value.items()}


class EngineChoice(Checked):
    """One of the two; `local` where neither is named."""

    local: LocalEngine = LocalEngine()
    spark: SparkEngine | None = None
    tally: Whole = Field(default=50_000_000, ge=1)
    """The most distinct tuples of quasi-identifiers that the driver searches; a release of more is stopped before they are gathered."""

    @model_validator(mode="after")
    def _one(self) -> EngineChoice:
        if self.spark is not None and "local" in self.model_fields_set:
            raise ValueError("names two engines. Take local or spark")
        return self


class Policy(Checked):
    """The whole file, with all that it extends."""

    extends: str | None = None
    """A ready-made policy's name, or a policy's file, that this one lies on top of: see `overlay.py`."""
    dataset: Slug
    description: str = ""
    project: str = ""
    """Separates pseudonyms and shifts of one key; default: the dataset."""
    profile: Literal["hipaa-safe-harbor", "hipaa-limited-data-set", "hipaa-expert-determination", "none"] = "hipaa-expert-determination"
    subject: str
    """The subject key: `patient.patient_id` (subject table and column: one row a subject) or `patient_nbr` (a column, no subject table).
    The column's name holds for every table that does not say otherwise."""
    key: str = Field(default="env:ANONYMIZE_KEY", pattern=r"^(env|airflow):[A-Za-z_][A-Za-z0-9_.-]*$")
    workspace: str = "workspace"
    shift_days: Whole = Field(default=365, ge=1, alias="shift-days")
    sources: dict[str, Source] = Field(min_length=1)
    tables: dict[Slug, Table] = Field(min_length=1)
    privacy: Privacy = Privacy()
    text: Text = Text()
    checks: Checks = Checks()
    review: Review = Review()
    release: Release
    schedule: str | None = None
    """Airflow's: a cron line or `@daily`; none: by hand."""
    engine: EngineChoice = EngineChoice()
    trail: Trail = Trail()
    optout: OptOut | None = None
    cohort: Cohort | None = None
    linkage: Linkage | None = None

    _file: Path = PrivateAttr(default=Path("policy.yaml"))
    _places: dict[tuple[str, ...], str] = PrivateAttr(default_factory=dict)
    _text: str = PrivateAttr(default="")
    _chain: tuple[Path, ...] = PrivateAttr(default=())
    _reasons: dict[tuple[str, ...], str] = PrivateAttr(default_factory=dict)

    @field_validator("project")
    @classmethod
    def _keep(cls, value: str) -> str:
        return value.strip()

    @property
    def project_name(self) -> str:
        return self.project or self.dataset

    def without(self, absent: Collection[str]) -> Policy:
        """The policy of a source that has none of these tables (`table`) and columns (`table.column`), which are optional."""
        tables = {
            name: table.model_copy(
                update={"columns": {column: rule for column, rule in table.columns.items() if f"{name}.{column}" not in absent}}
            )
            for name, table in self.tables.items()
            if name not in absent
        }
        return self.model_copy(update={"tables": tables}) if absent else self

    def counting_ages_in(self, year: int) -> Policy:
        """The policy of a run that counts ages in a year: where `birth-year` and `dates: year` name none, it is this one."""

        def named(rule: Rule) -> Rule:
            return rule.model_copy(update={"hierarchy": f"birth-year:{year}"}) if rule.hierarchy == "birth-year" else rule

        tables = {
            name: table.model_copy(update={"columns": {column: named(rule) for column, rule in table.columns.items()}})
            for name, table in self.tables.items()
        }
        text = self.text.model_copy(update={"dates": f"year:{year}"}) if self.text.dates == "year" else self.text
        return self.model_copy(update={"tables": tables, "text": text})

    @property
    def subject_table(self) -> str | None:
        """The table with one row a subject, where the policy names one."""
        table, dot, _ = self.subject.rpartition(".")
        return table if dot else None

    def subject_column(self, table: str) -> str | None:
        """The column of a table that holds the subject key; None where the table is not about subjects."""
        chosen = self.tables[table].subject
        return self.subject.rpartition(".")[2] if chosen == "@default" else chosen

    def source_of(self, table: str) -> tuple[str, Source]:
        """The name and settings of the source that a table comes from."""
        name = self.tables[table].source or next(iter(self.sources))
        return name, self.sources[name]

    @property
    def file(self) -> Path:
        """The policy's file; relative paths in the policy are relative to its folder."""
        return self._file

    @property
    def files(self) -> tuple[Path, ...]:
        """The policy's file, the one that it extends, and so on."""
        return self._chain or (self._file,)

    @property
    def whole(self) -> str:
        """The file as read; of a policy that extends others the whole as one text, which can be loaded by itself."""
        return self._text

    @property
    def sha256(self) -> str:
        """Of the policy's text, so of all that it extends; names the policy in a record and a manifest."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    def reason(self, *path: str) -> str:
        """The comment that says why a table (`tables`, NAME) or column is treated as it is; empty where there is none."""
        return self._reasons.get(path, "")

    def where(self, *path: str) -> str:
        """`file:line` of a path in the policy, or of the nearest path above it that stands in a file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._places:
                return self._places[path[:length]]
        return f"{self._file}:1"

    def path(self, value: str) -> Path:
        """A path that stands in the policy, relative to the policy's folder; may hold `${NAME}`."""
        return (self._file.parent / expand(value, str(self._file))).resolve()
