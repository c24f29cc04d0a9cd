"""A first policy from a live source: every guess with its reason in a comment, everything unsure on the closed side.

What is closed is written as `drop`, with a comment that says how to open it. No value of the source stands in a draft.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.detect.columns import guess
from anonymize.detect.registry import build
from anonymize.errors import AnonymizeError
from anonymize.hierarchies import build as build_hierarchy
from anonymize.policy.model import Kind, Policy, Rule, Text
from anonymize.policy.origins import DicomSource, FhirSource, FileSource, SqlSource, TranscriptSource
from anonymize.policy.writing import quoted
from anonymize.sources import Source, open_source
from anonymize.sources.base import ROW, Objects, sampled
from anonymize.sources.kinds import kind_of
from anonymize.transform import dates

SAMPLE_ROWS = 1_000
#: With fewer values than this a text's variety tells nothing.
FEW = 20
#: Names of the subject key, the likeliest first.
KEYS = ("patient_id", "person_id", "subject_id", "patientid", "patient_nbr", "pat_id", "patient", "subject", "mrn", "id")
#: What somebody may know of a person, beside what the names of columns say.
QUASI = re.compile(r"^(sex|gender|race|ethnicity|marital.*|language|religion|birth_?sex|gender_.*|race_.*|ethnicity_.*)$", re.IGNORECASE)

#: What a column of places is called, and the hierarchy that then has to cover its values.
PLACES = {r"(?i)(^|_)(country|nationality|citizenship)": "country", r"(?i)(^|_)(state|province)($|_)": "us-state"}


@dataclass(frozen=True)
class Line:
    """One column of a draft: its rule, and why."""

    column: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Drafted:
    """One table of a draft."""

    name: str
    from_: str
    subject: str | None
    single: bool
    lines: tuple[Line, ...]


def draft(where: str) -> str:
    """The text of a first policy. where: a SQLAlchemy URL, a folder of files (CSV, Parquet, XLSX …), of a FHIR bulk export,
    of DICOM files or of transcripts.

    Raises SourceError where it cannot be read; AnonymizeError where it holds no table.
    """
    kind, settings = _settings(where)
    source = open_source("source", settings, _blank(settings))
    tables = source.tables()
    sampled = {table: sample for table in tables if (sample := _sample(source, table)) is not None}
    if not sampled:
        raise AnonymizeError("the source holds no table with a row")
    key = _key(sampled)
    drafted = [_allowed(_table(table, sample, key), source) for table, sample in sampled.items()]
    empty = [table for table in tables if table not in sampled]
    return "\n".join(_text(kind, where, key, _told_apart(drafted), empty)) + "\n"


def described(source: Source, table: str, key: str) -> Iterator[tuple[str, str, str]]:
    """(column, type, what its name and a sample say of it) of a source's table, for a person; no value of the sample."""
    schema, sample = source.schema(table), _sample(source, table)
    if sample is None:
        yield from ((field.name, str(field.type), "the table holds no row") for field in schema)
        return
    about_subjects = key in sample.schema.names
    for column in schema.names:
        reason = _filled(column, sample[column].combine_chunks(), column == key, about_subjects).reason
        yield column, str(schema.field(column).type), reason.split(" To open it:")[0].rstrip(".")


def _allowed(table: Drafted, source: Source) -> Drafted:
    """The table with every column closed that the standard of its source does not let leave as it was drafted."""
    if not isinstance(source, Objects):
        return table
    lines = []
    for line in table.lines:
        what = source.objection(table.from_, line.column, Rule.model_validate(line.rule))
        lines.append(line if what is None else Line(line.column, "drop", what))
    return replace(table, lines=tuple(lines))


def _told_apart(drafted: list[Drafted]) -> list[Drafted]:
    """Tables whose names become the same word in a policy get a number."""
    apart: dict[str, Drafted] = {}
    for table in drafted:
        free = (name for n in count(2) if (name := f"{table.name}-{n}") not in apart)
        name = table.name if table.name not in apart else next(free)
        apart[name] = replace(table, name=name)
    return list(apart.values())


Drawn = SqlSource | FileSource | FhirSource | DicomSource | TranscriptSource


def _settings(where: str) -> tuple[str, Drawn]:
    if "://" in where:
        return "sql", SqlSource(type="sql", url=where)
    folder = Path(where)
    if not folder.exists():
        raise AnonymizeError(f"there is no {where}. Name a folder of files, or a database's URL (sqlite:////path, postgresql://…)")
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else [folder.name]
    path = str(folder.resolve())
    if any(re.match(r"[A-Z][A-Za-z]+\.\d+\.ndjson(\.gz)?$", name) for name in names):
        return "fhir", FhirSource(type="fhir", path=path)
    kinds = Counter(kind for name in names if not name.startswith((".", "_", "~")) and (kind := kind_of(name, "files")))
    if any(name.lower().endswith((".vtt", ".srt")) for name in names):
        return "transcript", TranscriptSource(type="transcript", path=path)
    if not kinds and _holds_dicom(folder):
        return "dicom", DicomSource(type="dicom", path=path)
    if not kinds:
        raise AnonymizeError(f"{where} holds no CSV, TSV, Parquet, JSON, NDJSON, XLSX or DICOM file, and no transcript")
    kind = next(iter(kinds)) if len(kinds) == 1 else "files"
    return kind, FileSource.model_validate({"type": kind, "path": path})


def _holds_dicom(folder: Path) -> bool:
    """Whether one of the first files, at any depth, has DICOM's sign."""
    files = (file for file in (folder.rglob("*") if folder.is_dir() else [folder]) if file.is_file())
    for file in islice(files, 200):
        with file.open("rb") as stream:
            if stream.read(132)[128:] == b"DICM":
                return True
    return False


def _blank(settings: Any) -> Policy:
    stub = {"dataset": "draft", "subject": "id", "sources": {"source": settings}, "release": {"store": "store"}}
    return Policy.model_validate({**stub, "tables": {"t": {"columns": {"id": "drop"}}}})


def _sample(source: Source, table: str) -> pa.Table | None:
    schema = source.schema(table)
    sample = sampled(source.read(table, schema.names), SAMPLE_ROWS)
    return sample.drop_columns(ROW) if sample is not None else None


def _key(sampled: dict[str, pa.Table]) -> str:
    """The subject key: of the likely names the one that most tables have."""
    counts = Counter(column for sample in sampled.values() for column in sample.schema.names)
    likely = [(counts[column], -KEYS.index(column.lower()), column) for column in counts if column.lower() in KEYS]
    return max(likely)[2] if likely else next(iter(next(iter(sampled.values())).schema.names))


def _table(table: str, sample: pa.Table, key: str) -> Drafted:
    subject = key if key in sample.schema.names else None
    own_id = next((c for c in sample.schema.names if c.lower() == "id"), None)
    if subject is None and own_id and re.fullmatch(r"(?i)(patients?|persons?|subjects?|people)", table):
        subject = own_id  # the persons' own table calls the key `Id`
    single = subject is not None and len(pc.unique(sample[subject])) == sample.num_rows
    lines = tuple(_filled(column, sample[column].combine_chunks(), column == subject, subject is not None) for column in sample.schema.names)
    return Drafted(_slug(table), table, subject, single, lines)


def _filled(column: str, values: pa.Array, is_subject: bool, about_subjects: bool) -> Line:
    """A column's rule; one of which the sample holds no value does not leave, whatever its name says."""
    line = _line(column, values, is_subject, about_subjects)
    opened = "drop" not in line.rule.split()
    return _closed(column, "the sample holds no value of it") if opened and values.null_count == len(values) else line


def _line(column: str, values: pa.Array, is_subject: bool, about_subjects: bool) -> Line:
    """A column's rule: what its name says first, then what its values are; what neither tells stays closed."""
    if is_subject:
        return Line(column, "identifier pseudonym", "the subject key")
    if not len(values.drop_null()):
        return _closed(column, "the sample holds no value of it")
    guessed = guess(column)
    if guessed is not None and guessed.text:
        return Line(column, "text", f"{guessed.reason}: scrubbed") if _is_text(values.type) else _closed(column, guessed.reason)
    if guessed is not None and guessed.kind in (Kind.DATE, Kind.AGE):
        return _dated(column, values, guessed.reason, guessed.kind, about_subjects)
    if guessed is not None and guessed.kind is not None:
        if re.search(r"(?i)zip|postal|postcode", column) and about_subjects:
            return Line(column, "drop address", f"{guessed.reason}. To open it: quasi us-zip3")
        return Line(column, f"identifier drop {guessed.kind}" if about_subjects else f"drop {guessed.kind}", guessed.reason)
    if _is_id(column, values):
        return Line(column, "identifier pseudonym", "its name says 'id': pseudonyms still join")
    if QUASI.match(column) or _place(column, values) != "flat":
        return _quasi(column, values, about_subjects)
    return _by_values(column, values, about_subjects)


def _by_values(column: str, values: pa.Array, about_subjects: bool) -> Line:
    if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
        return _dated(column, values, f"its type is {values.type}", Kind.DATE, about_subjects)
    present = values.drop_null()
    if not len(present):
        return _closed(column, "the sample holds no value of it")
    distinct = len(pc.unique(present))
    if _is_text(values.type) and len(present) < FEW:
        return _closed(column, f"{len(present):,} values are too few to judge by")
    if _is_text(values.type):
        found = _phi(present)
        if found:
            return _closed(column, f"its values look like {found}")
        if distinct * 5 > len(present) and distinct > 20:
            return _closed(column, f"{distinct:,} distinct texts in {len(present):,}: free, or rare enough to point at somebody")
        return Line(column, "plain", f"{distinct:,} distinct values in {len(present):,}, none looks like PHI")
    if pa.types.is_integer(values.type) and distinct == len(present) and len(present) > 20:
        return _closed(column, "every value is another: it may be a number that points at somebody")
    return Line(column, "plain", f"{values.type}, {distinct:,} distinct values in {len(present):,}")


def _dated(column: str, values: pa.Array, reason: str, kind: Kind, about_subjects: bool) -> Line:
    if kind is Kind.AGE and not _is_text(values.type):
        return Line(column, "drop age", f"{reason}. To open it: quasi age")
    moves = not _is_text(values.type) or (len(values.drop_null()) > 0 and pc.all(dates.parsable(values)).as_py())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or not moves:
        return _closed(column, f"{reason}, but its values are no dates that can be shifted")
    if re.search(r"(?i)birth|dob|born", column):
        return Line(column, "drop date", f"{reason}. To open it: {{role: quasi, hierarchy: birth-year, kind: date}}")
    return Line(column, "date shift", reason) if about_subjects else _closed(column, f"{reason}, and a table about no subject has no shift")


def _quasi(column: str, values: pa.Array, about_subjects: bool) -> Line:
    if not about_subjects or not (_is_text(values.type) or pa.types.is_integer(values.type)):
        return _closed(column, "somebody may know it")
    return Line(column, "drop", f"somebody may know it. To open it: quasi {_place(column, values)}")


def _place(column: str, values: pa.Array) -> str:
    """The hierarchy of a country or a state, by the column's name and all that the sample holds; else `flat`."""
    present = pc.unique(values.drop_null())
    for named, hierarchy in PLACES.items():
        if re.search(named, column) and _is_text(values.type) and len(present) and pc.all(build_hierarchy(hierarchy).covers(present)).as_py():
            return hierarchy
    return "flat"


def _closed(column: str, reason: str) -> Line:
    return Line(column, "drop", f"{reason}. To open it: plain, text, date shift, or quasi HIERARCHY")


def _is_text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def _is_id(column: str, values: pa.Array) -> bool:
    named = re.search(r"(?i)(^|_|[a-z])(id|nbr|key|uuid)$", column) is not None and not re.search(r"(?i)concept|type|code", column)
    return named and (_is_text(values.type) or pa.types.is_integer(values.type))


def _phi(values: pa.Array) -> str:
    """Kinds of PHI that the detectors find in more than one in twenty of a sample's distinct values."""
    texts = pc.unique(values).to_pylist()[:200]
    counts = Counter(kind for found in build(Text()).find(texts) for kind in {finding.kind.value for finding in found})
    return ", ".join(sorted(kind for kind, number in counts.items() if number * 20 > len(texts)))


def _slug(table: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", table.lower()).strip("-")[:50] or "table"


def _text(kind: str, where: str, key: str, drafted: list[Drafted], empty: list[str]) -> Iterator[str]:
    persons = next((table for table in drafted if table.single and _closed_columns(table)), None)
    yield "# A first draft. Nothing here was decided by a person: read every line, open what may leave, and close the rest."
    yield "# What is unsure is `drop`. Then: anonymize check THIS-FILE"
    yield "dataset: draft"
    if persons is not None:
        yield f"subject: {quoted(f'{persons.name}.{persons.subject}')}   # the table with one row a subject, and its key"
    else:
        yield f"subject: {quoted(key)}   # a guess by its name"
    yield "profile: hipaa-expert-determination"
    yield "sources:"
    if kind == "sql":
        yield '  source: {type: sql, url: "${SOURCE_URL}"}   # set SOURCE_URL in the environment: no password stands in a policy'
    else:
        yield f"  source: {{type: {kind}, path: {quoted(str(Path(where).resolve()))}}}"
    yield "tables:"
    default = persons.subject if persons is not None else key
    for table in drafted:
        yield from _table_text(table, default)
    for name in empty:
        yield f"  # {quoted(name)} stays out: it held no row to judge by"
    yield "privacy: {k: 5, suppression: 0.05}"
    yield "review: {required: true}"
    yield "release: {store: store, title: Draft}"


def _closed_columns(table: Drafted) -> bool:
    """Whether a table knows of its persons: at least two identifiers that are closed."""
    return sum("identifier drop" in line.rule for line in table.lines) >= 2


def _table_text(table: Drafted, default: str | None) -> Iterator[str]:
    yield f"  {table.name}:"
    if table.from_ != table.name:
        yield f"    from: {quoted(table.from_)}"
    if table.subject is None:
        yield "    subject: null   # no column of it is the subject key"
    elif table.subject != default:
        yield f"    subject: {quoted(table.subject)}"
    yield "    columns:"
    for line in table.lines:
        yield f"      {quoted(line.column)}: {line.rule}   # {line.reason}"
