"""Published Parquet files: what their fields say of themselves, and their hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.errors import StoreError
from anonymize.policy.model import Method, Policy, Rule
from anonymize.publish.manifest import ColumnFact, FileFact
from anonymize.publish.sealing import name_of

_CHUNK = 1 << 20
SHIFTED = "shifted by up to {days} days, each person's by a constant of their own"
"""What every document says of dates that were moved."""


def columns(policy: Policy, table: str, *, levels: dict[str, str] | None = None, types: pa.Schema | None = None) -> list[ColumnFact]:
    """The columns of a table that leave, in the policy's order, under their published names.

    levels: the level that each generalized column came to; types: the published schema, for the columns' types.
    """
    found = []
    for source, rule in policy.tables[table].columns.items():
        name = rule.rename or source
        if rule.leaves:
            type = str(types.field(name).type) if types is not None else ""
            moved = policy.shift_days if _moved(policy, table, rule) else None
            sealed = policy.release.encryption.of_table(table).get(name)
            fact = _column(name, rule, type, (levels or {}).get(name), moved)
            found.append(fact.model_copy(update={"encrypted": name_of(sealed)}) if sealed else fact)
    return found


def _moved(policy: Policy, table: str, rule: Rule) -> bool:
    """Whether dates of a column moved: a date's own, or those within a text of a subject."""
    within = rule.method is Method.SCRUB and policy.text.dates == "shift" and policy.subject_column(table) is not None
    return rule.method is Method.SHIFT or within


def _column(name: str, rule: Rule, type: str, level: str | None, shifted: int | None) -> ColumnFact:
    hierarchy = rule.hierarchy if rule.method is Method.GENERALIZE else None
    return ColumnFact(
        name=name,
        type=type,
        role=rule.role.value,
        method=rule.method.value,
        description=rule.description,
        kind=rule.kind.value if rule.kind else None,
        hierarchy=hierarchy,
        level=level,
        values=rule.values,
        precision=precision(rule, level),
        shifted=shifted,
        unit=rule.unit,
        codes=rule.codes,
    )


def precision(rule: Rule, level: str | None) -> str:
    """How exact a column's values are, in words. level: what it was generalized to."""
    if rule.method is Method.GENERALIZE:
        return f"{rule.hierarchy}: {level}" if level else str(rule.hierarchy)
    if rule.method is Method.ROUND:
        digits = rule.digits or 0
        return f"to {digits} decimal digit{'s' * (digits > 1)}" if digits > 0 else f"to {10**-digits:,}s" if digits else "to whole numbers"
    if rule.method is Method.CODE:
        ends = (("over", rule.top), ("under", rule.bottom))
        return "; ".join(f"{word} {end:g} is {end:g}" for word, end in ends if end is not None)
    words = {Method.KEEP: "as recorded", Method.YEAR: "the year", Method.SHIFT: "as recorded, moved by whole days"}
    return words.get(rule.method, "")


def published_schema(policy: Policy, table: str, schema: pa.Schema, *, levels: dict[str, str] | None = None) -> pa.Schema:
    """The schema of what is published of a table: the columns that leave, each with role, method and description in its field's metadata.

    schema: what the columns are read from; may hold more columns (`__subject`), which stay. Raises KeyError(column) where one lacks.
    """
    fields = [schema.field(column.name).with_metadata(_metadata(column)) for column in columns(policy, table, levels=levels, types=schema)]
    about = {b"table": table.encode(), b"dataset": policy.dataset.encode(), b"description": policy.tables[table].description.encode()}
    return pa.schema(fields, metadata={key: value for key, value in about.items() if value})


def _metadata(column: ColumnFact) -> dict[str, str]:
    said = {
        "role": column.role,
        "method": column.method,
        "description": column.description,
        "hierarchy": column.hierarchy,
        "level": column.level,
        "dates": SHIFTED.format(days=column.shifted) if column.shifted else "",
        "unit": column.unit,
        "codes": column.codes,
    }
    return {key: value for key, value in said.items() if value}


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def staged_files(stage: Path) -> list[Path]:
    """Every file under a stage folder, sorted by its path. Raises StoreError at a link, which could point out of the stage."""
    found = sorted(path for path in stage.rglob("*") if not path.is_dir() or path.is_symlink())
    for path in found:
        if path.is_symlink():
            raise StoreError(f"{path.relative_to(stage)} is a link; only files are published")
    return found


def hash_files(stage: Path) -> list[FileFact]:
    """Every file under a stage folder with its hash, size and rows, sorted by path; paths are relative to the stage."""
    return [_fact(path, stage) for path in staged_files(stage)]


def _fact(path: Path, stage: Path) -> FileFact:
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    return FileFact(path=path.relative_to(stage).as_posix(), sha256=hash_file(path), bytes=path.stat().st_size, rows=rows)
