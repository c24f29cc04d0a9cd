"""The policy held against the live sources, before the first record leaves: what stays out, and every rule that cannot be honoured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymize import asking
from anonymize.detect.columns import guess, searched_kinds
from anonymize.detect.registry import DETECTORS
from anonymize.errors import NoSuchTable, PolicyError, Problem, SourceError
from anonymize.hierarchies import build
from anonymize.lasting import drift
from anonymize.policy.model import Method, Policy, Role, Rule
from anonymize.policy.nearest import nearest
from anonymize.safe_harbor import Coverage, coverage
from anonymize.sources import Connections, Source, open_source
from anonymize.sources.base import ROW, Objects, TellsOfFiles, sampled
from anonymize.sources.mapped import MappedSource
from anonymize.transform import accepts, dates, needs_subject
from anonymize.transform.methods import ARROW_TYPES

SAMPLE_ROWS = 2_000
#: A key of so many letters and digits (a UUID, a UID, a hash) was made up by a machine, and nobody writes it into a text.
MADE_UP = 20
#: As the registry of detectors builds them.
LANGUAGES = ("en",)


@dataclass
class Report:
    """What a check found. left_out: tables and columns of the sources that the policy does not name; absent: optional
    tables and columns of the policy that the sources do not have; looked_up: columns whose values are
    searched for in texts; problems: what stops a run; warnings: what a steward should look at; coverage: Safe Harbor's 18 identifiers."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    looked_up: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of tables that lie in files, what was found of these."""
    schema: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each table of the policy the source's columns with their types."""
    drift: list[str] = field(default_factory=list)
    """What is not as when the dataset was last published, a sentence each."""

    def counts(self) -> dict[str, Any]:
        """For a run's record: names of tables and columns, no value."""
        counts: dict[str, Any] = {"warnings": len(self.warnings), "left_out": self.left_out, "absent": self.absent, "looked_up": self.looked_up}
        counts["schema"] = self.schema
        return counts | ({"files": self.files} if self.files else {})

    def text(self) -> str:
        """For a person."""
        lines = ["stays out, because the policy does not name it:"]
        lines += [f"  {table}: {', '.join(columns) or 'the whole table'}" for table, columns in sorted(self.left_out.items())] or ["  nothing"]
        lines += ["optional, and not at the source:", *(f"  {table}" for table in self.absent)] if self.absent else []
        lines += ["looked up in the subject's texts, and by the leak gate:"]
        lines += [f"  {table}: {', '.join(columns)}" for table, columns in sorted(self.looked_up.items()) if columns] or ["  nothing"]
        lines += ["read as:", *(f"  {table}: {_of_files(told)}" for table, told in sorted(self.files.items()))] if self.files else []
        lines += ["not as when it was last published:", *(f"  {one}" for one in self.drift)] if self.drift else []
        law = "Safe Harbor's 18 identifiers:" if len(self.coverage) == 18 else f"a limited data set's {len(self.coverage)} identifiers:"
        lines += [law, *(f"  {one}" for one in self.coverage)] if self.coverage else []
        for title, found in (("look at", self.warnings), ("cannot be honoured", self.problems)):
            lines += [f"{title}:", *(f"  {problem}" for problem in found)] if found else []
        return "\n".join(lines)


def check_or_raise(policy: Policy, connections: Connections | None = None, room: Path | None = None) -> Report:
    """The report of a policy that can be honoured. Raises PolicyError with every rule that cannot."""
    report = check(policy, connections, room)
    if report.problems:
        raise PolicyError(report.problems)
    return report


def check(policy: Policy, connections: Connections | None = None, room: Path | None = None) -> Report:
    """Compare a policy with its live sources; reads the schemas, and a sample of the columns whose rules depend on values.

    room: a run's private folder for what a source has to fetch; without one, a source that must be asked for an export is not.
    """
    report = Report()
    sources = {name: open_source(name, settings, policy, connections, room=room) for name, settings in policy.sources.items()}
    named: dict[str, set[str]] = {name: set() for name in sources}
    for table in policy.tables:
        name, _ = policy.source_of(table)
        named[name].add(policy.tables[table].from_ or table)
        _check_table(policy, table, sources[name], report)
    policy = policy.without(report.absent)
    for name, source in sources.items():
        report.left_out |= {f"{name}.{table}": [] for table in source.tables() if table not in named[name] and not globbed(table, named[name])}
    _check_drift(policy, report)
    _check_text(policy, report)
    _check_sensitive(policy, report)
    _check_profile(policy, report)
    return report


def _check_drift(policy: Policy, report: Report) -> None:
    """What changed at the sources since the last release is told; where the policy says `drift: hold`, it stops the run."""
    report.drift = drift.of_schema(policy, report.schema, report.left_out, drift.last_published(policy))
    if policy.checks.drift == "hold":
        where = policy.where("checks", "drift")
        what = "Look at it, then let one run pass with 'drift: report'"
        report.problems += [Problem(where, "checks.drift", f"{one}. {what}") for one in report.drift]


def _check_text(policy: Policy, report: Report) -> None:
    """The words of `text` that only the detectors know."""
    for name in policy.text.detectors:
        if name not in DETECTORS:
            path = ("text", "detectors", name)
            report.problems.append(Problem(policy.where(*path), ".".join(path), f"no detector '{name}'.{nearest(name, DETECTORS)}"))
    if policy.text.language not in LANGUAGES:
        what = f"no detectors for language '{policy.text.language}'.{nearest(policy.text.language, LANGUAGES)}"
        report.problems.append(Problem(policy.where("text", "language"), "text.language", what))


def _check_sensitive(policy: Policy, report: Report) -> None:
    """What is asked of sensitive values needs their columns."""
    for path, what in asking.problems(policy):
        report.problems.append(Problem(policy.where(*path), ".".join(path), what))


def _check_profile(policy: Policy, report: Report) -> None:
    """Under Safe Harbor, or for a limited data set, each violation stops the run; an expert's determination has them to look at."""
    if policy.profile == "none":
        return
    report.coverage = coverage(policy, report.left_out)
    strict = policy.profile in ("hipaa-safe-harbor", "hipaa-limited-data-set")
    for one in report.coverage:
        for table, column, what in one.violated:
            path = ("tables", table, "columns", column)
            words = what if strict else f"needs the expert's word: {what}"
            (report.problems if strict else report.warnings).append(Problem(policy.where(*path), ".".join(path), words))


def globbed(table: str, named: set[str]) -> bool:
    """Whether a table of a folder is one that a policy names by its file, or by a pattern."""
    return any(one.rsplit(".", 1)[0] == table or one.lower() == table.lower() or "*" in one for one in named)


def _check_table(policy: Policy, table: str, source: Source, report: Report) -> None:
    spec = policy.tables[table]
    at_source = spec.from_ or table
    try:
        schema = source.schema(at_source, spec.query)
    except SourceError as error:
        if spec.optional and isinstance(error, NoSuchTable):
            report.absent.append(table)
            return
        report.problems.append(Problem(policy.where("tables", table), f"tables.{table}", str(error)))
        return
    report.schema[table] = {field.name: str(field.type) for field in schema}
    _check_files(policy, table, source, report)
    gone = [f"{table}.{column}" for column, rule in spec.columns.items() if rule.optional and column not in schema.names]
    report.absent += gone
    policy = policy.without(gone)
    spec = policy.tables[table]
    left = [column for column in schema.names if column not in spec.columns]
    if left:
        report.left_out[table] = left
    report.looked_up[table] = [f"{column} ({kind})" for column, kind in searched_kinds(policy, table).items()]
    problems = [*_names(policy, table, schema), *_types(policy, table, schema), *_objections(policy, table, source)]
    problems += _incremental(policy, table, schema, source)
    if not problems:
        problems = list(_values(policy, table, source))
        empty = [Problem(policy.where(*path), ".".join(path), what) for path, what in _unmatched(policy, table, source)]
        (report.warnings if isinstance(source, MappedSource) and source.lenient else report.problems).extend(empty)
    for path, what in problems:
        report.problems.append(Problem(policy.where(*path), ".".join(path), what))
    for path, what in (*_suspicions(policy, table), *(() if problems else _unsearched(policy, table, source))):
        report.warnings.append(Problem(policy.where(*path), ".".join(path), what))


def _check_files(policy: Policy, table: str, source: Source, report: Report) -> None:
    """What the files of a table were found to be; each that cannot be read is for a person to look at, and the others are read."""
    if not isinstance(source, TellsOfFiles):
        return
    at_source = policy.tables[table].from_ or table
    report.files[table] = source.told(at_source)
    for file, what in source.faults(at_source):
        words = f"the file {file} stays out: {what}. How many records it holds is not known"
        report.warnings.append(Problem(policy.where("tables", table), f"tables.{table}", words))


def _of_files(told: dict[str, Any]) -> str:
    """`3 files; encoding utf-8 (2), cp1252 (1); delimiter semicolon`."""
    parts = [f"{told['files']:,} file{'' if told['files'] == 1 else 's'}"]
    for word, found in told.items():
        if isinstance(found, dict) and found:
            one = len(found) == 1 and word != "broken"
            parts.append(f"{word} " + ", ".join(name if one else f"{name} ({number:,})" for name, number in found.items()))
    return "; ".join(parts)


Found = Iterator[tuple[tuple[str, ...], str]]


def _names(policy: Policy, table: str, schema: pa.Schema) -> Found:
    spec, subject = policy.tables[table], policy.subject_column(table)
    for column in spec.columns:
        if column not in schema.names:
            yield ("tables", table, "columns", column), f"the source has no such column.{nearest(column, schema.names)}"
    if subject is not None and subject not in schema.names:
        hint = f"the subject key '{subject}' is no column of the source.{nearest(subject, schema.names)} "
        hint += "Say 'subject: COLUMN', or 'subject: null' for a table that is not about subjects"
        yield ("tables", table), hint
    published: dict[str, str] = {}
    for column, rule in spec.columns.items():
        name = rule.rename or column
        if rule.leaves and published.setdefault(name, column) != column:
            yield ("tables", table, "columns", column), f"'{name}' is the published name of '{published[name]}' too"
        if name.startswith("__"):
            yield ("tables", table, "columns", column), "published names do not begin with '__'"


def _types(policy: Policy, table: str, schema: pa.Schema) -> Found:
    about_subjects = policy.subject_column(table) is not None
    for column, rule in policy.tables[table].columns.items():
        if column not in schema.names:
            continue
        path = ("tables", table, "columns", column)
        type = ARROW_TYPES[rule.type] if rule.type else schema.field(column).type
        reason = accepts(rule, type)
        if reason is None and needs_subject(rule) and not about_subjects:
            reason = f"method '{rule.method}' needs the record's subject, and the table says 'subject: null'"
        if reason is None and rule.format == "uid" and (not _text(type) or column == policy.subject_column(table)):
            reason = "the form 'uid' is for text, and not for the subject key, whose pseudonym is searched for when a subject is taken back"
        if reason is None and rule.role is Role.QUASI:
            reason = _hierarchy_problem(policy, rule, type)
        if reason is not None:
            yield path, reason


def _text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def _objections(policy: Policy, table: str, source: Source) -> Found:
    """What the standard that a source's records are written by has against the rules."""
    if isinstance(source, Objects):
        for column, rule in policy.tables[table].columns.items():
            what = source.objection(policy.tables[table].from_ or table, column, rule)
            if what is not None:
                yield ("tables", table, "columns", column), what


def _incremental(policy: Policy, table: str, schema: pa.Schema, source: Source) -> Found:
    """What tells of a row that it is new, which it is, and that it is gone, must be there."""
    spec, at = policy.tables[table].incremental, ("tables", table, "incremental")
    if spec is None:
        return
    if spec.kind == "since" and getattr(policy.source_of(table)[1], "url", None) is None:
        yield (*at, "kind"), "'since' is for a FHIR server's 'url': this source does not say what changed"
    deletes = None if isinstance(spec.deletes, str) else spec.deletes
    wanted = {
        "row": spec.row,
        "cursor": () if spec.kind == "since" else (spec.cursor,),
        "deletes": (deletes.flag,) if deletes and deletes.flag else (),
    }
    for word, columns in wanted.items():
        for column in columns:
            if column not in schema.names:
                yield (*at, word), f"the source has no column '{column}'.{nearest(column, schema.names)}"
    rules = policy.tables[table].columns
    if spec.cursor in schema.names:
        said = rules[spec.cursor].type if spec.cursor in rules else None
        type = ARROW_TYPES[said] if said else schema.field(spec.cursor).type
        if spec.interval and not pa.types.is_temporal(type):
            yield (*at, "interval"), f"cursor '{spec.cursor}' is no time at the source ({type}), so it has no intervals"
        if pa.types.is_boolean(type) or (isinstance(spec.lateness, int) and spec.lateness and not pa.types.is_integer(type)):
            yield (*at, "cursor"), f"'{spec.cursor}' is {type} at the source: nothing that grows, or that a lateness in numbers fits"
    if deletes and deletes.table:
        try:
            there = source.schema(deletes.table).names
        except SourceError as error:
            yield (*at, "deletes", "table"), str(error)
            return
        for column in (*(deletes.row or spec.row), *([deletes.cursor] if deletes.cursor else [])):
            if column not in there:
                yield (*at, "deletes"), f"table '{deletes.table}' has no column '{column}'.{nearest(column, there)}"


def _hierarchy_problem(policy: Policy, rule: Rule, type: pa.DataType) -> str | None:
    try:
        hierarchy = build(rule.hierarchy or "flat", policy.file.parent)
    except ValueError as error:
        return str(error)
    if not hierarchy.accepts(type):
        return f"hierarchy '{rule.hierarchy}' takes no {type}"
    highest = len(hierarchy.levels) - 1
    if not rule.min_level <= (highest if rule.max_level is None else rule.max_level) <= highest:
        return f"levels go from 0 ({hierarchy.levels[0]}) to {len(hierarchy.levels) - 1} ({hierarchy.levels[-1]})"
    return None


def _values(policy: Policy, table: str, source: Source) -> Found:
    """Rules that depend on values, held against a sample: dates that are text, hierarchies that must cover what is there."""
    spec = policy.tables[table]
    wanted = [c for c, rule in spec.columns.items() if rule.role is Role.QUASI or rule.method in (Method.SHIFT, Method.YEAR)]
    types = {c: ARROW_TYPES[str(spec.columns[c].type)] for c in wanted if spec.columns[c].type}
    sample = _sample(source, spec.from_ or table, wanted, spec.query, types)
    if sample is None:
        return
    for column in wanted:
        rule, values = spec.columns[column], sample[column].combine_chunks()
        path = ("tables", table, "columns", column)
        if rule.role is Role.QUASI:
            covered = build(rule.hierarchy or "flat", policy.file.parent).covers(values)
            yield from _uncovered(path, covered, sample, f"hierarchy '{rule.hierarchy}' does not cover")
        elif pa.types.is_string(values.type):
            fine = dates.parsable(values, format=rule.format)
            bad = pc.sum(pc.invert(fine)).as_py() or 0
            if bad > policy.checks.quarantine * len(values) and bad > 0.5 * len(values):
                yield from _uncovered(path, fine, sample, f"a date rule, but no dates{f' of the form {rule.format}' if rule.format else ''}:")


def _unmatched(policy: Policy, table: str, source: Source) -> Found:
    """Mapped paths that no resource fills: the rule would silently never apply."""
    if not isinstance(source, MappedSource):
        return
    named = [column for column, rule in policy.tables[table].columns.items() if rule.role is not Role.DROP]
    empty = source.unmatched(policy.tables[table].from_ or table, named)
    for column in empty if len(empty) < len(named) else ():
        what = "no resource of the export fills its path, so the rule would never apply. Mend the mapping, or do not name the column"
        yield ("tables", table, "columns", column), what


def _uncovered(path: tuple[str, ...], fine: pa.Array, sample: pa.Table, words: str) -> Found:
    bad = pc.invert(fine)
    number = pc.sum(bad).as_py() or 0
    if number:
        rows = ", ".join(str(row) for row in sample[ROW].filter(bad).to_pylist()[:3])
        yield path, f"{words} {number:,} of {len(fine):,} sampled values (rows {rows})"


def _sample(source: Source, table: str, columns: list[str], query: str | None, types: dict[str, pa.DataType]) -> pa.Table | None:
    if not columns:
        return None
    return sampled(source.read(table, columns, query=query, types=types), SAMPLE_ROWS)


def _unsearched(policy: Policy, table: str, source: Source) -> Found:
    """Values that `looked-up: false` keeps out of the search, and that somebody could write into a text."""
    spec, subject = policy.tables[table], policy.subject_column(table)
    kept = [column for column, rule in spec.columns.items() if not rule.looked_up and column != subject] if subject is not None else []
    sample = _sample(source, spec.from_ or table, kept, spec.query, dict.fromkeys(kept, pa.string()))
    for column in kept if sample is not None else ():
        values = sample[column].drop_null()  # type: ignore[index]
        short = pc.less(pc.utf8_length(pc.replace_substring_regex(values.cast(pa.string()), "[^A-Za-z0-9]", "")), MADE_UP)
        number = pc.sum(short).as_py() or 0
        if number:
            what = f"'looked-up: false', but {number:,} of {len(values):,} sampled values are short enough for a text to tell them (the number "
            what += "of a visit, an order, a sample): nobody would search for them. Leave it only where they stand in no text"
            yield ("tables", table, "columns", column), what


def _suspicions(policy: Policy, table: str) -> Found:
    for column, rule in policy.tables[table].columns.items():
        found = guess(column)
        if found is not None and rule.method is Method.KEEP and (found.kind is not None or found.text):
            yield ("tables", table, "columns", column), f"is kept as it is, and {found.reason}: is it {found.kind or 'free text'}?"
