"""Where a policy's records come from: one class of settings a kind of source. `anonymize.sources.open_source` makes the source of them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from anonymize.policy.checked import Checked, Whole


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


class FileSource(Checked):
    """A folder of files, one table a file or glob: a table's `from` is the file's name in `path` (`patients.csv`, `visits/*.parquet`), or
    its stem."""

    type: Literal["csv", "parquet", "ndjson"]
    path: str
    delimiter: str = ","
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ("",)
    """csv: the texts that stand for a missing value (`?`)."""


class FhirSource(Checked):
    """A FHIR R4 bulk-export folder (NDJSON), flattened to tables by a mapping: a ready-made one's name or a YAML file."""

    type: Literal["fhir"]
    path: str
    mapping: str = "us-core"


Source = Annotated[SqlSource | FileSource | FhirSource, Field(discriminator="type")]
#: The classes of settings, one a kind of source.
KINDS: tuple[type[Checked], ...] = get_args(get_args(Source)[0])
