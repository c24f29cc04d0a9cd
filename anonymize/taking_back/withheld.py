"""Who stays out of a run: subjects who opted out at the source, and those who were taken back earlier.

The run reads both before its first record and keeps the pseudonyms alone. The gate reads both again and holds the staged files against them,
at validation and once more at publication: who opts out while a release waits is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize.engine.duck import private_duck
from anonymize.errors import AnonymizeError
from anonymize.keys import Key
from anonymize.policy.model import Policy
from anonymize.taking_back.subjects import KeyedIds, from_source
from anonymize.trail.files import write_whole
from anonymize.transform.batch import KEY
from anonymize.transform.pseudonym import SUBJECT, pseudonymize

if TYPE_CHECKING:
    from anonymize.run import Counts, Run
    from anonymize.validate.counting import Staged


# ------------------------------------------------------------------------------------------------- the subjects that were taken back


def retracted_file(policy: Policy) -> Path:
    """The pseudonyms of all subjects that were taken back from a dataset: no key of the source, no reason, no name."""
    return policy.path(policy.workspace) / "taken-back" / f"{policy.dataset}.json"


def retracted(policy: Policy, key: Key) -> KeyedIds:
    """Who was taken back and must never come again. Raises AnonymizeError where the list was made under another key: under this one nobody
    of it would be known again."""
    file = retracted_file(policy)
    if not file.exists():
        return KeyedIds({})
    stated = json.loads(file.read_text())
    if stated["key_id"] != key.id:
        raise AnonymizeError(
            f"{file} was made under key {stated['key_id']}, and this is key {key.id}: who was taken back is not known again under it. "
            f"Move the file away and take them back anew: anonymize retract {policy.file} --subjects FILE"
        )
    return KeyedIds({name: tuple(ids) for name, ids in stated["ids"].items()})


def remember(policy: Policy, key: Key, ids: KeyedIds) -> None:
    """Add subjects to those who were taken back, in one step."""
    both = retracted(policy, key) | ids
    stated = {"dataset": policy.dataset, "key_id": key.id, "ids": {name: list(one) for name, one in both.by_namespace.items()}}
    write_whole(retracted_file(policy), (json.dumps(stated, indent=1) + "\n").encode())


# ------------------------------------------------------------------------------------------------------------------- out of a run


def take(run: Run) -> Counts:
    """Read who stays out, and keep their pseudonyms for the tables' extraction. Raises SourceError where the list cannot be read."""
    opted_out = KeyedIds.of(from_source(run.policy, run.connections), run.key, run.policy)
    before = retracted(run.policy, run.key)
    folder = run.folder("withheld")
    folder.mkdir(exist_ok=True, mode=0o700)
    pq.write_table(pa.table({SUBJECT: pa.array((opted_out | before).subjects, pa.string())}), folder / "subjects.parquet")
    return {"opted_out": len(opted_out), "taken_back": len(before)}


def keep(run: Run) -> Callable[[pa.RecordBatch], pa.Array]:
    """A function that says of each record of a batch whether it may stay: its subject is not among those who stay out."""
    if run.record.get("withheld") is None:
        run.once("withheld", lambda: take(run))
    out = pq.read_table(run.folder("withheld") / "subjects.parquet")[SUBJECT].combine_chunks()
    if not len(out):
        return lambda batch: pa.repeat(True, batch.num_rows)
    return lambda batch: pc.invert(pc.is_in(pseudonymize(batch[KEY], run.key, namespace=SUBJECT), out))


def asked(run: Run) -> bool:
    """Whether there is anybody to stay out, so that the gate has something to say."""
    return run.policy.optout is not None or retracted_file(run.policy).exists()


def gate(run: Run, staged: dict[str, Staged]) -> tuple[bool, list[str]]:
    """No pseudonym of theirs stands in any column of what is staged, nor beside it. The list is read anew: what cannot be read fails.

    Raises SourceError where the source cannot be read; who judges takes that as failed.
    """
    opted_out = KeyedIds.of(from_source(run.policy, run.connections), run.key, run.policy)
    out = opted_out | retracted(run.policy, run.key)
    words = []
    for table, one in staged.items():
        files, beside = one.files(one.data), one.files(one.subjects)
        found = found_in(beside, out) | found_in(files, out)
        words += [f"{table}: {rows:,} rows in '{column}' are of subjects who must stay out" for column, rows in found.items() if rows]
    if words:
        return False, [*words, "they opted out or were taken back after the records were taken. Discard the run and start a new one"]
    who = f"{len(opted_out):,} subjects who opted out and {len(out) - len(opted_out):,} who were taken back"
    return True, [f"no pseudonym of {who} stands in any column"]


def found_in(files: list[Path], ids: KeyedIds) -> dict[str, int]:
    """By column that can hold a pseudonym: the rows that hold one of some subjects. Counted by DuckDB from the files as written."""
    if not files:
        return {}
    texts, numbers = ids.texts(), ids.numbers()
    found: dict[str, int] = {}
    with private_duck() as duck:
        duck.register("texts", pa.table({"id": pa.array(texts, pa.string())}))
        duck.register("numbers", pa.table({"id": pa.array(numbers, pa.int64())}))
        rows = duck.read_parquet([str(file) for file in files])
        rows.create_view("data")
        for field in pq.read_schema(files[0]):
            among = _among(field)
            if among is not None:
                name = '"' + field.name.replace('"', '""') + '"'
                query = f"SELECT count(*) FROM data WHERE {name} IN (SELECT id FROM {among})"  # noqa: S608
                found[field.name] = int((duck.execute(query).fetchone() or (0,))[0])
    return found


def _among(field: pa.Field[Any]) -> str | None:
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return "texts"
    return "numbers" if pa.types.is_int64(field.type) else None
