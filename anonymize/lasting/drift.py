"""What is not as it was when the dataset was last published: columns, their types and tables at the source; code systems, extensions and
codes in the records.

All of it is read from records of runs, which hold names, counts and keyed hashes. What is new stays out until the policy names it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from anonymize.keys import Key
from anonymize.policy.model import Policy
from anonymize.run import Record

MOST_CODES = 500
"""A column with more distinct codes than this is a terminology, of which a new code is nothing new."""
Schemas = Mapping[str, Mapping[str, str]]


def last_published(policy: Policy, before: str | None = None) -> Record | None:
    """The record of the newest run that was published, of those that began before `before` (ISO time); None where there is none."""
    found = []
    for file in (policy.path(policy.workspace) / "records").glob("*/run.json"):
        begun, record = json.loads(file.read_text()), Record(file.parent)
        ended = (record.get("end") or {}).get("outcome") == "published" or record.get("publish") is not None
        if begun.get("dataset") == policy.dataset and ended and (before is None or begun["started"] < before):
            found.append((begun["started"], begun["id"], record))
    return max(found, key=lambda one: one[:2])[2] if found else None


def of_schema(policy: Policy, schema: Schemas, left_out: Mapping[str, Any], last: Record | None) -> list[str]:
    """What changed in the sources' schemas since a run's check, a sentence each. schema: table -> column -> type, of the policy's tables;
    left_out: the tables that it does not name."""
    before = (last.get("check") if last is not None else None) or {}
    if "schema" not in before:
        return []
    found = list(_columns(policy, schema, before["schema"]))
    tables, earlier = ({name for name in one if name not in policy.tables} for one in (left_out, before["left_out"]))
    found += [f"{name}: a table that is new at the source; it stays out" for name in sorted(tables - earlier)]
    return found + [f"{name}: a table that stayed out is gone from the source" for name in sorted(earlier - tables)]


def _columns(policy: Policy, now: Schemas, before: Schemas) -> Iterator[str]:
    for table, columns in now.items():
        earlier = before.get(table)
        if earlier is None or table not in policy.tables:
            continue
        named = policy.tables[table].columns
        for column in columns:
            if column not in earlier:
                yield f"{table}.{column}: a column that is new at the source; {'the policy names it' if column in named else 'it stays out'}"
            elif columns[column] != earlier[column]:
                yield f"{table}.{column}: its type at the source was {earlier[column]} and is {columns[column]}"
        for column in earlier:
            if column not in columns:
                yield f"{table}.{column}: the column is gone from the source"


def of_records(policy: Policy, record: Record, last: Record | None) -> list[str]:
    """What the records of a run hold that those of the last did not: paths, code systems and extensions that the source had not shown, and
    codes of columns that the policy gives `codes`."""
    if last is None:
        return []
    found: list[str] = []
    same_key = (record.get("run") or {}).get("key_id") == (last.get("run") or {}).get("key_id")
    for table in policy.tables:
        now, before = record.get("extract", table) or {}, last.get("extract", table) or {}
        for path in now.get("unseen", {}) if before else ():
            if path != "others" and path not in before.get("unseen", {}):
                found.append(f"{table}: {path} was not seen before; the mapping does not name it, so it stays out")
        codes = before.get("codes", {})
        for column, hashes in now.get("codes", {}).items():
            new = len(set(hashes) - set(codes[column])) if column in codes and same_key else 0
            if new:
                system = policy.tables[table].columns[column].codes
                found.append(f"{table}.{column}: {new:,} {'code' if new == 1 else 'codes'} of {system} not seen before")
    return found


def found(policy: Policy, record: Record) -> list[str]:
    """All that is new in a run, from its record."""
    begun, checked = record.get("run") or {}, record.get("check") or {}
    last = last_published(policy, begun.get("started"))
    return [*of_schema(policy, checked.get("schema", {}), checked.get("left_out", {}), last), *of_records(policy, record, last)]


class Codes:
    """Gathers the distinct codes of the columns that the policy gives `codes`, while there are few of them."""

    def __init__(self, policy: Policy, table: str, key: Key) -> None:
        self._key = key
        self._found: dict[str, set[str]] = {c: set() for c, rule in policy.tables[table].columns.items() if rule.codes and rule.leaves}

    def see(self, batch: pa.RecordBatch) -> None:
        """Look at a batch."""
        for column, values in list(self._found.items()):
            values.update(batch[column].drop_null().cast(pa.string()).unique().to_pylist())
            if len(values) > MOST_CODES:
                del self._found[column]

    def told(self) -> dict[str, dict[str, list[str]]]:
        """For the record: of each column the keyed hashes of its codes, of which nothing can be read."""
        secret = self._key.derive("codes seen")
        told = {c: sorted(hmac.digest(secret, v.encode(), "sha256").hex()[:12] for v in values) for c, values in self._found.items()}
        return {"codes": told} if told else {}
