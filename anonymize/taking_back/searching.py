"""Which published versions hold some subjects: by the pseudonyms in their files, for there is no other way back to a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.policy.model import Method, Policy
from anonymize.publish.manifest import TableFact
from anonymize.publish.store import Store, Version
from anonymize.taking_back.subjects import KeyedIds, namespaces
from anonymize.transform.pseudonym import SUBJECT


@dataclass(frozen=True)
class Held:
    """What a version holds of some subjects. rows: by table that can be searched; unsearchable: why it cannot be cleaned, in words; empty
    where it can. certain: whether it holds any of them, where that is known."""

    version: str
    rows: dict[str, int]
    unsearchable: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        return sum(self.rows.values())


def search(store: Store, policy: Policy, ids: KeyedIds, key_id: str) -> Iterator[Held]:
    """Every version of the dataset that may hold one of the subjects, oldest first, also those that cannot be searched."""
    for name in store.versions(policy.dataset):
        version = store.open(policy.dataset, name)
        held = held_by(version, policy, ids, key_id)
        if held.found or held.unsearchable:
            yield held


def held_by(version: Version, policy: Policy, ids: KeyedIds, key_id: str) -> Held:
    """What one version holds. A table about subjects that publishes no pseudonym of theirs cannot be searched; it holds none of them where
    the subject table, to whose subjects all tables are held, holds none."""
    manifest = version.manifest
    if manifest.key_id != key_id:
        return Held(manifest.version, {}, (f"it was made under key {manifest.key_id}, and this is key {key_id}",))
    rows, blind = {}, []
    for table in manifest.tables:
        column = id_column(policy, table)
        if column is not None:
            rows[table.name] = rows_of(version, table, column, ids)
        elif table.subjects is not None:
            blind.append(f"table '{table.name}' is about subjects and publishes no pseudonym of theirs")
    named = {name for name in namespaces(policy) if name != SUBJECT}
    if len(named) > 1:
        blind.append(f"its subjects have pseudonyms of several namespaces ({', '.join(sorted(named))}), which cannot be joined")
    keys = policy.release.encryption.references
    sealed = [f"{table.name}.{c.name}" for table in manifest.tables for c in table.columns if c.encrypted and c.encrypted not in keys]
    if sealed:
        blind.append(f"columns are encrypted under keys that release.encryption of the policy does not name: {', '.join(sealed)}")
    absent = policy.subject_table in rows and not any(rows.values())
    return Held(manifest.version, rows, () if absent else tuple(blind))


def id_column(policy: Policy, table: TableFact) -> str | None:
    """The published column of a version's table with the pseudonym of its subjects; None where there is none."""
    names = set()
    for name, spec in policy.tables.items():
        rule = spec.columns.get(policy.subject_column(name) or "")
        if rule is not None and rule.leaves:
            names.add(rule.rename or policy.subject_column(name))
    made = (column.name for column in table.columns if column.name in names and column.method == Method.PSEUDONYM.value)
    return next(made, None)


def rows_of(version: Version, table: TableFact, column: str, ids: KeyedIds) -> int:
    """The rows of a table that are of the subjects; streamed."""
    if not table.files:
        return 0
    dataset = version.dataset(table.name, columns=[column])
    among = values_like(dataset.schema.field(column).type, ids)
    return sum(int(pc.sum(pc.is_in(batch.column(0), among)).as_py() or 0) for batch in dataset.to_batches(columns=[column]))


def values_like(type: pa.DataType, ids: KeyedIds) -> pa.Array:
    """The pseudonyms in the form of a column: text, or int64."""
    return pa.array(ids.numbers(), pa.int64()) if pa.types.is_integer(type) else pa.array(ids.texts(), type)
