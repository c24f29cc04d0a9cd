"""What a policy says of extraction that lasts: what is new at a source, of whom, and who is one person in several systems."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from anonymize.policy.checked import Checked, Whole


def listed(value: object) -> object:
    """One word where a list may stand."""
    return [value] if isinstance(value, str) else value


class Deletes(Checked):
    """How it is known that a row was deleted at the source. Exactly one of the two."""

    flag: str | None = None
    """A column of the table: a row is deleted where it is true, not 0, or, of dates, there at all."""
    table: str | None = None
    """A table of the same source with the row keys of what was deleted."""
    row: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Its columns with the row key, in that key's order; default: the same names."""
    cursor: str | None = None
    """Its column that says when. Without one a key that was deleted must not come again."""

    @model_validator(mode="after")
    def _one_way(self) -> Deletes:
        if (self.flag is None) == (self.table is None):
            raise ValueError("give either 'flag' (a column) or 'table' (of deleted keys), or say 'sweep' or 'never'")
        if self.flag is not None and (self.row or self.cursor):
            raise ValueError("'row' and 'cursor' belong to a 'table' of deleted keys")
        return self


class Incremental(Checked):
    """A table of which a run takes what is new: the rows are kept, each release is whole all the same."""

    cursor: str = ""
    """The column whose value grows whenever a row is written; none where the source says what changed."""
    kind: Literal["time", "key", "since"] = "time"
    """`time`: a moment or a day; `key`: a number or text that grows with each new row; `since`: a FHIR server's export says what changed."""
    row: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(min_length=1)
    """The row key: columns that tell a row from every other; of `kind: since` the column with the resource's id, of which all rows go and come
    together."""
    lateness: str | Whole = 0
    """How far back a window begins before the cursor: `2d`, `6h`, `30m`; of `kind: key` a number."""
    deletes: Literal["sweep", "never"] | Deletes = "sweep"
    """`sweep`: every run reads the row keys of the whole table; what is not among them is gone. `never`: rows are not deleted."""
    history: bool = False
    """The table holds each row's versions: the one with the greatest cursor stands. Else a key that stands twice is malformed."""
    interval: bool = False
    """Airflow: a run takes what was written before its data interval's end, and a backfill takes its interval again."""

    @field_validator("lateness")
    @classmethod
    def _span(cls, value: str | int) -> str | int:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,5}[mhd]", value):
            raise ValueError("lateness is written '30m', '6h' or '2d'; of 'kind: key' it is a number")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Incremental:
        if (self.kind == "since") == bool(self.cursor):
            raise ValueError("needs a 'cursor', the column that grows; of 'kind: since' the server has its own")
        if self.kind == "since" and (len(self.row) > 1 or self.lateness or self.history or self.interval or isinstance(self.deletes, Deletes)):
            raise ValueError("'kind: since' takes 'row' alone, the column with the resource's id: the server says what changed and was deleted")
        if self.kind == "key" and (isinstance(self.lateness, str) or self.interval):
            raise ValueError("a cursor of 'kind: key' has no time: its lateness is a number, and it has no 'interval'")
        if self.kind != "key" and isinstance(self.lateness, int) and self.lateness:
            raise ValueError("lateness is written '30m', '6h' or '2d'; a number is for 'kind: key'")
        return self

    @property
    def back(self) -> timedelta:
        """The lateness as a span of time."""
        if isinstance(self.lateness, int):
            return timedelta(0)
        unit = {"m": "minutes", "h": "hours", "d": "days"}[self.lateness[-1]]
        return timedelta(**{unit: int(self.lateness[:-1])})


class SubjectList(Checked):
    """Subject keys: a table of a source, a SELECT, or a file."""

    source: str | None = None
    """Which source; may be left out where the policy has one."""
    table: str | None = None
    query: str | None = None
    """SQL sources: a SELECT instead of a table."""
    column: str | None = None
    """Which column holds the subject key; default: the policy's."""
    file: str | None = None
    """One key a line, or a CSV."""

    @model_validator(mode="after")
    def _one_place(self) -> SubjectList:
        if (self.file is None) == (self.table is None and self.query is None):
            raise ValueError("give either 'file', or the 'table' or 'query' of a source, for example {query: 'SELECT patient_id FROM icu'}")
        return self


class Cohort(SubjectList):
    """The only subjects whose records are taken, from every table that is about subjects."""


class Linkage(Checked):
    """Who is one person in several systems: a master patient index, or a declared map of keys."""

    file: str | None = None
    """A CSV with the columns below."""
    source: str | None = None
    table: str | None = None
    query: str | None = None
    system: str = "system"
    """The map's column with the system that a key is of: the name of a source, or what `systems` says."""
    key: str = "key"
    """The map's column with the subject key in that system."""
    person: str = "person"
    """The map's column with the person."""
    systems: dict[str, str] = Field(default_factory=dict)
    """A source -> its name in the map; default: the same."""
    unmatched: Literal["quarantine", "own"] = "quarantine"
    """What becomes of a record whose key the map does not have: it waits in quarantine, or its key is a person of its own."""

    @model_validator(mode="after")
    def _one_place(self) -> Linkage:
        if (self.file is None) == (self.table is None and self.query is None):
            raise ValueError("give either 'file', or the 'table' or 'query' of a source")
        return self
