"""The only subjects whose records are taken: read once a run, and asked of every table that is about subjects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import SourceError, without_values
from anonymize.policy.lasting import SubjectList
from anonymize.policy.model import Policy
from anonymize.sources import open_source
from anonymize.sources.base import Malformed
from anonymize.transform.batch import KEY
from anonymize.transform.pseudonym import canonical

if TYPE_CHECKING:
    from anonymize.lasting.linkage import People
    from anonymize.run import Counts, Run


def members(run: Run, people: People | None) -> frozenset[str] | None:
    """The subjects (persons, where systems are linked) of the run's cohort; None where the policy has none. Raises SourceError where the list
    cannot be read whole."""
    asked = run.policy.cohort
    if asked is None:
        return None
    file = _file(run)
    if run.record.get("cohort") is None or not file.exists():
        keys = _keys(run.policy, asked, run.connections)
        found, lost = _persons(run.policy, asked, keys, people)
        file.parent.mkdir(exist_ok=True, mode=0o700)
        pq.write_table(pa.table({KEY: pa.array(sorted(found), pa.string())}), file)
        run.once("cohort", lambda: {"subjects": len(found), "listed": len(keys), **({"not_in_linkage": lost} if people else {})})
    return frozenset(pq.read_table(file)[KEY].to_pylist())


def found(run: Run, table: str, subjects: set[str]) -> None:
    """Note which subjects a table has records of, so that those of whom there is nothing at all can be counted."""
    if run.policy.cohort is not None:
        pq.write_table(pa.table({KEY: pa.array(sorted(subjects), pa.string())}), _file(run).with_name(f"found.{table}.parquet"))


def outcome(run: Run) -> Counts:
    """How many of the cohort have a record in any table, and how many are in none: most often a misspelt or foreign key."""
    if run.policy.cohort is None:
        return {}
    listed = set(pq.read_table(_file(run))[KEY].to_pylist())
    for file in _file(run).parent.glob("found.*.parquet"):
        listed -= set(pq.read_table(file)[KEY].to_pylist())
    every = int((run.record.get("cohort") or {}).get("subjects", 0))
    return {"cohort": every, "cohort_in_no_table": len(listed)}


def _file(run: Run) -> Path:
    return run.folder("cohort") / "subjects.parquet"


def _keys(policy: Policy, asked: SubjectList, connections: Callable[[str], str] | None) -> list[str]:
    from anonymize.taking_back.subjects import read_file

    column = asked.column or policy.subject.rpartition(".")[2]
    if asked.file is not None:
        return read_file(policy.path(asked.file), column)
    name = asked.source or next(iter(policy.sources))
    source = open_source(name, policy.sources[name], policy, connections)
    where = f"cohort of source '{name}'"
    keys: set[str] = set()
    with without_values(where):
        for item in source.read(asked.table or "cohort", [column], query=asked.query):
            if isinstance(item, Malformed):
                raise SourceError(f"{where}: row {item.row} cannot be read ({item.reason}). Mend it: who is in the cohort must be known")
            keys.update(one for one in canonical(item[column]).drop_null().to_pylist() if one)
    if not keys:
        raise SourceError(f"{where}: it names no subject, so nothing would be taken. Mend the query, or leave 'cohort' out")
    return sorted(keys)


def _persons(policy: Policy, asked: SubjectList, keys: list[str], people: People | None) -> tuple[set[str], int]:
    """The persons of the listed keys, and how many keys the map does not have."""
    if people is None:
        return set(keys), 0
    if asked.file is not None and asked.source is None:
        return set(people.anywhere(keys)), 0
    persons = [people.person(asked.source or next(iter(policy.sources)), key) for key in keys]
    return {person for person in persons if person is not None}, sum(person is None for person in persons)
