"""OpenLineage: which tables each task of a policy's DAG reads and writes, by name; never a value of them, never a credential.

Off unless the deployment says where the events go (`AIRFLOW__OPENLINEAGE__TRANSPORT`, see docs/operate.md); then this stands in
`AIRFLOW__OPENLINEAGE__EXTRACTORS` as `anonymize_airflow.lineage.RoadExtractor`, with the DAGs' folder in `PYTHONPATH`: every part of Airflow
imports it at its start. Names as in the OpenLineage naming specification: a database's namespace is its host, a file's `file`; what lies in
the workspace has the namespace `anonymize`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.openlineage.extractors.base import BaseExtractor, OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import schema_dataset

if TYPE_CHECKING:
    from anonymize.policy.model import Policy
    from anonymize.policy.origins import SqlSource

OURS = "anonymize"


class RoadExtractor(BaseExtractor):
    """The datasets of our tasks. A task of another DAG is none of ours, and is left as it is."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        return ["_PythonDecoratedOperator", "ReviewOperator"]

    def _execute_extraction(self) -> OperatorLineage:
        given = getattr(self.operator, "op_kwargs", None) or {}
        # Mapped tasks have their arguments by name, the others by place, the policy's file first; the review is an operator of our own.
        placed = next(iter(getattr(self.operator, "op_args", None) or ()), None)
        file = given.get("policy_file") or getattr(self.operator, "policy_file", None) or placed
        way = WAYS.get(self.operator.task_id)
        if way is None or not isinstance(file, str):
            return OperatorLineage()
        from anonymize.policy.loader import load

        policy = load(file)
        table = given.get("table")
        tables = [table] if isinstance(table, str) else list(policy.tables)
        inputs, outputs = way(policy, tables)
        return OperatorLineage(inputs=inputs, outputs=outputs)


def _extract(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    return [source(policy, table) for table in tables], [_within(policy, "extract", table) for table in tables]


def _check(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    return [source(policy, table) for table in tables], []


def _collect(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    return [_within(policy, "extract", table) for table in tables], [_within(policy, "identifiers")]


def _deidentify(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    came = [_within(policy, "identifiers"), *(_within(policy, "extract", table) for table in tables)]
    return came, [_within(policy, "deidentify", table) for table in tables]


def _generalize(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    return [_within(policy, "deidentify", table) for table in tables], [_within(policy, "stage", table) for table in tables]


def _judge(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    return [_within(policy, "stage", table) for table in tables], []


def _publish(policy: Policy, tables: list[str]) -> tuple[list[Dataset], list[Dataset]]:
    return [_within(policy, "stage", table) for table in tables], [published(policy)]


#: What each task reads and writes, by its id.
WAYS: dict[str, Callable[[Policy, list[str]], tuple[list[Dataset], list[Dataset]]]] = {
    "check": _check,
    "extract": _extract,
    "collect": _collect,
    "deidentify": _deidentify,
    "generalize": _generalize,
    "validate": _judge,
    "review": _judge,
    "publish": _publish,
}


def source(policy: Policy, table: str) -> Dataset:
    """A table where it comes from: `postgres://host:5432` and `schema.table`, `file` and its path; by the connection's id where that knows the
    address."""
    from anonymize.policy.origins import FhirSource, SqlSource

    _, settings = policy.source_of(table)
    name = policy.tables[table].from_ or table
    if isinstance(settings, FhirSource) and settings.url is not None:
        parts = urlsplit(settings.url)
        return Dataset(namespace=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else "environment", name=name)
    if not isinstance(settings, SqlSource):
        return Dataset(namespace="file", name=str(PurePath(settings.path or "") / name))
    if settings.url is None:
        return Dataset(namespace=f"connection://{settings.connection}", name=_qualified(settings, "", name))
    parts = urlsplit(settings.url)
    if not parts.scheme:  # the whole address stands in the environment
        return Dataset(namespace="environment", name=_qualified(settings, settings.url, name))
    host = parts.netloc.rpartition("@")[2]
    scheme = parts.scheme.partition("+")[0].replace("postgresql", "postgres")
    return Dataset(namespace=f"{scheme}://{host}", name=_qualified(settings, parts.path.strip("/"), name))


def _qualified(settings: SqlSource, database: str, table: str) -> str:
    return ".".join(part for part in (database, settings.schema_name, table) if part)


def _within(policy: Policy, step: str, table: str = "") -> Dataset:
    return Dataset(namespace=OURS, name=".".join(part for part in (policy.dataset, step, table) if part))


def published(policy: Policy) -> Dataset:
    """The dataset in the research store, with its columns and what was done to each."""
    from anonymize_airflow.road import asset

    parts = urlsplit(asset(policy).uri)
    namespace = "file" if parts.scheme == "file" else f"{parts.scheme}://{parts.netloc}"
    name = parts.path if parts.scheme == "file" else parts.path.strip("/")
    schema = schema_dataset.SchemaDatasetFacet(fields=list(_fields(policy)))
    return Dataset(namespace=namespace, name=name, facets={"schema": schema})


def _fields(policy: Policy) -> Iterator[Any]:
    for table, spec in policy.tables.items():
        for column, rule in spec.columns.items():
            if rule.leaves:
                name = f"{table}.{rule.rename or column}"
                yield schema_dataset.SchemaDatasetFacetFields(name=name, description=f"{rule.role}, {rule.method}")
