"""Notes for a steward to read: drawn by a seed from every text column of a run, after scrubbing, with what was replaced and what looks like PHI.

They come from the run's stage, which is what would be published, or from the published release. While the workspace is there, what was
replaced in each of them is found again and shown: a date that was moved looks like one that was missed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from anonymize import releasing
from anonymize.auditing.remains import Mark, remains, tags
from anonymize.errors import AnonymizeError
from anonymize.policy.model import Method, Policy, Rule
from anonymize.publish import open_version
from anonymize.run import Run
from anonymize.transform.batch import IDENTIFIER_LIST, IDENTIFIERS, KEY, ROW, Deidentify
from anonymize.transform.markup import unwrap
from anonymize.transform.markup.layer import apply

LEAST = 10
"""Of each column at least so many notes are drawn, where it has them."""


@dataclass(frozen=True)
class Note:
    """One note as it would be published. stratum: `table.column`; place: its number among the column's notes; text: what a reader sees of it."""

    stratum: str
    place: int
    text: str
    replaced: tuple[tuple[int, int], ...]
    """Where something stands in the place of PHI; only the tags, where the workspace is gone."""
    marks: tuple[Mark, ...]

    @property
    def id(self) -> str:
        return f"{self.stratum}:{self.place}"


@dataclass(frozen=True)
class Sample:
    """What was drawn. sizes: the notes of each stratum; unreadable: its cells that hold a tag instead of a file."""

    run: str
    dataset: str
    seed: int
    sizes: dict[str, int]
    unreadable: dict[str, int]
    traced: bool
    """Whether `replaced` is known exactly, or only the tags are."""
    notes: tuple[Note, ...] = field(repr=False)


def text_columns(policy: Policy) -> list[tuple[str, str, Rule]]:
    """The text columns that leave: table, source name, rule."""
    return [(table, name, rule) for table, spec in policy.tables.items() for name, rule in spec.columns.items() if rule.method is Method.SCRUB]


def draw(run: Run, *, size: int = 200, seed: int = 1) -> Sample:
    """Draw notes from a run's text columns, in proportion to their numbers of notes, of each at least LEAST.

    The same run, size and seed give the same notes. Raises AnonymizeError where the policy has no text column, where nothing is staged or
    published, and where no text leaves.
    """
    columns = text_columns(run.policy)
    if not columns:
        raise AnonymizeError(f"{run.policy.file} has no text column, so there is nothing to audit")
    places: dict[str, np.ndarray] = {}
    unreadable: dict[str, int] = {}
    for table, name, rule in columns:
        readable, held = _readable(run, table, rule.rename or name)
        places[f"{table}.{name}"] = readable
        unreadable[f"{table}.{name}"] = held
    sizes = {stratum: len(found) for stratum, found in places.items()}
    if not sum(sizes.values()):
        raise AnonymizeError(f"run '{run.id}' publishes no text, so there is nothing to audit")
    numbers = allot(sizes, size)
    notes: list[Note] = []
    traced = True
    for table, name, rule in columns:
        stratum = f"{table}.{name}"
        rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(stratum.encode()).digest()[:4], "big")])
        chosen = np.sort(rng.choice(places[stratum], numbers[stratum], replace=False))
        drawn, exact = _notes(run, table, name, rule, chosen)
        traced = traced and exact
        notes += drawn
    return Sample(run.id, run.policy.dataset, seed, sizes, unreadable, traced, tuple(notes))


def allot(sizes: dict[str, int], size: int) -> dict[str, int]:
    """How many notes of each stratum: in proportion, at least LEAST, never more than there are."""
    total = sum(sizes.values())
    least = {stratum: min(number, LEAST, size) for stratum, number in sizes.items()}
    wanted = {stratum: max(least[stratum], min(number, round(size * number / total))) if total else 0 for stratum, number in sizes.items()}
    # What the least and the rounding add is taken from, or given to, the largest.
    for stratum in sorted(sizes, key=lambda one: -sizes[one]):
        over = sum(wanted.values()) - min(size, total)
        wanted[stratum] = min(sizes[stratum], max(least[stratum], wanted[stratum] - over))
    return wanted


def _published(run: Run, table: str) -> ds.Dataset:
    staged = sorted(run.folder("stage", table).glob("*.parquet"))
    if staged:
        return ds.dataset([str(file) for file in staged], format="parquet")
    version = (run.record.get("publish") or {}).get("version")
    if version is None:
        raise AnonymizeError(
            f"run '{run.id}' has nothing staged and nothing published. Take it to its review first: anonymize run {run.policy.file}"
        )
    return open_version(releasing.store_uri(run.policy), run.policy.dataset, version).dataset(table)


def _batches(dataset: ds.Dataset, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """In the order of the files and of their rows."""
    return dataset.scanner(columns=columns, use_threads=False, batch_readahead=2, fragment_readahead=1).to_batches()


def _readable(run: Run, table: str, column: str) -> tuple[np.ndarray, int]:
    """The places of the cells with text that somebody can read, and how many hold a tag instead of a file."""
    found, held, first = [np.zeros(0, np.int64)], 0, 0
    for batch in _batches(_published(run, table), [column]):
        text = batch[column].cast(pa.string())
        filled = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(text), ""), False)
        tag = pc.fill_null(pc.match_substring_regex(text, r"^\[UNREADABLE: [a-z0-9-]+\]$"), False)
        held += pc.sum(tag).as_py() or 0
        found.append(first + np.flatnonzero(pc.and_(filled, pc.invert(tag)).to_numpy(zero_copy_only=False)))
        first += batch.num_rows
    return np.concatenate(found), held


def _at(dataset: ds.Dataset, columns: list[str], places: np.ndarray) -> pa.Table:
    """The rows at some places of a dataset, in ascending order."""
    parts, first = [], 0
    for batch in _batches(dataset, columns):
        here = places[(places >= first) & (places < first + batch.num_rows)] - first
        if len(here):
            parts.append(batch.take(pa.array(here)))
        first += batch.num_rows
    return pa.Table.from_batches(parts) if parts else dataset.schema.empty_table().select(columns)


def _notes(run: Run, table: str, name: str, rule: Rule, places: np.ndarray) -> tuple[list[Note], bool]:
    column = rule.rename or name
    cells = [str(cell) for cell in _at(_published(run, table), [column], places)[column].to_pylist()]
    rebuilt = _rebuilt(run, table, name, places)
    notes, exact = [], rebuilt is not None
    for index, (place, cell) in enumerate(zip(places.tolist(), cells, strict=True)):
        text = unwrap(cell).text
        made = rebuilt[index] if rebuilt is not None else None
        if made is None or made[0] != text:
            exact = False
            replaced = tuple(tags(text))
        else:
            replaced = made[1]
        notes.append(Note(f"{table}.{name}", place, text, replaced, tuple(remains(text, replaced))))
    return notes, exact


def _rebuilt(run: Run, table: str, name: str, places: np.ndarray) -> list[tuple[str, tuple[tuple[int, int], ...]]] | None:
    """Each note's plain text as scrubbing made it, with where something was replaced; None where the workspace is gone."""
    files = [sorted(run.folder(step, table).glob("*.parquet")) for step in ("generalize", "extract")]
    if not all(files) or not len(places):
        return None
    generalized, extracted = (ds.dataset([str(file) for file in found], format="parquet") for found in files)
    rows = _at(generalized, [ROW], places)[ROW]
    wanted = extracted.to_table(columns=[ROW, KEY, name], filter=pc.field(ROW).isin(rows.combine_chunks()))
    order = pc.index_in(rows, wanted[ROW])
    batch = _with_identifiers(run, wanted.take(order)).combine_chunks().to_batches()
    policy = run.policy
    rules = tuple((column, rule) for column, rule in policy.tables[table].columns.items() if column == name)
    fn = Deidentify(rules, policy.subject_column(table), run.key, policy.shift_days, policy.text)
    return [_after(unwrapped.text, edits) for part in batch for unwrapped, edits in fn.traced(name, part)]


def _with_identifiers(run: Run, rows: pa.Table) -> pa.Table:
    """The subject's own identifiers beside each row, as they were when it was scrubbed."""
    files = sorted(run.folder("identifiers").glob("*.parquet"))
    if not files:
        return rows
    keys = pc.unique(rows[KEY].drop_null())
    known = ds.dataset([str(file) for file in files], format="parquet").to_table(columns=[KEY, IDENTIFIERS], filter=pc.field(KEY).isin(keys))
    own = dict(zip(known[KEY].to_pylist(), known[IDENTIFIERS].to_pylist(), strict=True))
    return rows.append_column(IDENTIFIERS, pa.array([own.get(key) for key in rows[KEY].to_pylist()], IDENTIFIER_LIST))


def _after(text: str, edits: list[tuple[int, int, str]]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A text with its edits made, and where each stands in it."""
    spans, moved = [], 0
    for start, end, instead in edits:
        spans.append((start + moved, start + moved + len(instead)))
        moved += len(instead) - (end - start)
    return apply(text, edits), tuple(spans)
