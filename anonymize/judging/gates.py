"""The gates of a run: what each is held against. `validate/` knows how to look, this knows where."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from anonymize import asking
from anonymize.engine.base import Table
from anonymize.hierarchies import Hierarchy
from anonymize.judging.comparing import Column, Sides, compare
from anonymize.judging.differencing import Seen, differences
from anonymize.judging.measuring import measure
from anonymize.judging.minimality import Known, minimality
from anonymize.judging.recount import (
    Crowd,
    Rows,
    against,
    combinations_fail,
    failed_against,
    recount,
    safe_delta,
    smallest_combination,
    values_of,
)
from anonymize.lasting.given_up import came
from anonymize.policy.model import Method, Role, Rule
from anonymize.privacy.attacks import Minimality
from anonymize.privacy.models import Model, columns_of
from anonymize.privacy.utility import rounded
from anonymize.publish import Store, published_schema
from anonymize.publish.store import Version
from anonymize.releasing import store_uri
from anonymize.run import Run
from anonymize.transform.batch import SUBJECT
from anonymize.transform.methods import output_type
from anonymize.validate import leak
from anonymize.validate.columns import search_staged
from anonymize.validate.counting import Staged, class_sizes
from anonymize.validate.expectations import Expected, generalized_values, quasi_columns, validate_table
from anonymize.validate.needles import Needles
from anonymize.validate.words import of_policy, search_words

Judged = tuple[bool, list[str]]


def rules_of(run: Run, table: str) -> dict[str, Rule]:
    """The rules of the columns that leave, by published name."""
    return {rule.rename or name: rule for name, rule in run.policy.tables[table].columns.items() if rule.leaves}


def expectations_gate(run: Run, staged: dict[str, Staged], facts: dict[str, Any], verdicts: list[dict[str, Any]] | None = None) -> Judged:
    """Schema, allowed values, formats, k, row counts and null rates, by Great Expectations. verdicts: is given one a line, without a value."""
    last = last_facts(run)
    failed, number = [], 0
    for table, one in staged.items():
        judged = validate_table(one, _expected(run, table, one, facts[table], last.get(table)))
        number += len(judged.results)
        failed += [result.words() for result in judged.results if not result.passed]
        if verdicts is not None:
            verdicts += [result.counts() for result in judged.results]
    return not failed, failed or [f"{number} expectations met"]


def _expected(run: Run, table: str, staged: Staged, facts: dict[str, Any], last: dict[str, Any] | None) -> Expected:
    rules = rules_of(run, table)
    generalized = run.record.get("generalize", table) or {}
    quasi = quasi_columns(rules)
    return Expected(
        rules=rules,
        schema=_schema(run, table),
        k=asking.k_of(run.policy, table),
        rows_in=came(run.record, table).rows or 0,
        rows_out_otherwise=generalized["suppressed"] + generalized["held_back"],
        facts=facts,
        last=last,
        classes=class_sizes(staged, quasi) if quasi else None,
        checks=run.policy.checks,
        generalized=_generalized(run, table),
    )


def _schema(run: Run, table: str) -> pa.Schema:
    """The published schema as the policy and the source give it; what is staged is held against it."""
    source = run.engine.read(run.folder("extract", table)).schema
    fields = [
        pa.field(rule.rename or name, pa.string() if rule.role is Role.QUASI else output_type(rule, source.field(name).type))
        for name, rule in run.policy.tables[table].columns.items()
        if rule.leaves
    ]
    return published_schema(run.policy, table, pa.schema(fields))


def _generalized(run: Run, table: str) -> dict[str, list[str]]:
    """What each quasi-identifier may hold at its level, or its levels: its distinct values before, generalized anew."""
    levels: dict[str, str | dict[str, float]] = (run.record.get("generalize", table) or {}).get("levels", {})
    before = run.engine.read(run.folder("deidentify", table))
    allowed = {}
    for name, at in levels.items():
        hierarchy = _hierarchy(run, table, name)
        values = run.engine.tally(before, [name], None).column(name).combine_chunks()
        every = [generalized_values(hierarchy, values, level) for level in _listed(at)]
        allowed[name] = sorted(set().union(*every))
    return allowed


def _hierarchy(run: Run, table: str, name: str) -> Hierarchy:
    return asking.hierarchy_of(run.policy, table, name, lambda: run.engine.tally(_searched(run, table), [name], SUBJECT))


def _searched(run: Run, table: str) -> Table:
    """The records among which a table's levels were searched."""
    known = run.folder("known", table)
    return run.engine.read(known if known.exists() else run.folder("deidentify", table))


def _listed(levels: str | dict[str, float]) -> list[str]:
    return [levels] if isinstance(levels, str) else list(levels)


def last_facts(run: Run) -> dict[str, dict[str, Any]]:
    """The counts of the last release's tables, from the records of this deployment's runs; none where there was no release."""
    folder = run.record.folder.parent
    latest = Store(store_uri(run.policy)).latest(run.policy.dataset)
    manifest = Store(store_uri(run.policy)).manifest(run.policy.dataset, latest) if latest else None
    if manifest is None or not (folder / manifest.run / "validate.json").exists():
        return {}
    validated = type(run.record)(folder / manifest.run).get("validate") or {}
    return dict(validated.get("facts", {}))


def k_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """k, recounted in distinct subjects from the files as written."""
    words, passed = [], True
    for table, one in staged.items():
        quasi = quasi_columns(rules_of(run, table))
        if quasi:
            sizes = class_sizes(one, quasi)
            k = asking.k_of(run.policy, table)
            holds = not sizes.sizes or sizes.smallest >= k
            passed = passed and holds
            sign = "holds" if holds else "FALLS SHORT OF"
            words.append(f"{table}: the smallest of {sum(sizes.classes):,} classes has {sizes.smallest} subjects; {sign} k = {k}")
    return passed, words or ["no table has quasi-identifiers"]


def events_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """Every combination of demographics with the events that the attacker knows, recounted from the files as written."""
    privacy, subject_table = run.policy.privacy, run.policy.subject_table

    def source(table: str) -> Rows:
        one = staged[table]
        return Rows(one.files(one.data), one.files(one.subjects), tuple(quasi_columns(rules_of(run, table))))

    about = source(subject_table) if subject_table in staged else None
    events = [source(table) for table in asking.event_tables(run.policy)]
    smallest, sets = smallest_combination(about, events, privacy.events)
    holds = not sets or smallest >= privacy.k
    sign = "holds" if holds else "FALLS SHORT OF"
    words = f"the rarest of {sets:,} combinations of {privacy.attacker} is of {smallest} subjects; {sign} k = {privacy.k}"
    failed: list[str] = []
    if about is not None and subject_table is not None and asking.of_table(run.policy, subject_table):
        fitted, before, _ = _fitted(run, subject_table)
        failed = combinations_fail(about, events, privacy.events, asking.wanted(privacy.k, fitted, before, None))
    return holds and not failed, [words, *failed]


def models_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """l-diversity and t-closeness, recounted from the files as written by definitions that the search does not share."""
    words, passed = [], True
    for table, one in staged.items():
        if not asking.of_table(run.policy, table):
            continue
        fitted, before, subject = _fitted(run, table)
        asked = asking.wanted(asking.k_of(run.policy, table), fitted, before, subject)
        found = recount(one.files(one.data), quasi_columns(rules_of(run, table)), asked, subject=one.files(one.subjects))
        passed = passed and not found.failed
        what = f"{table}: {found.classes:,} classes hold what is asked of {', '.join(columns_of(fitted))}"
        words += [f"{table}: {failed}" for failed in found.failed] or [what]
    return passed, words or ["no table has a column of which anything is asked"]


def _fitted(run: Run, table: str) -> tuple[list[Model], pa.Table, str | None]:
    """What is asked of a table's sensitive values, the tally of these as the search saw them, and its column of subjects, where a subject has
    several rows."""
    models = asking.of_table(run.policy, table)
    single = table == run.policy.subject_table
    columns = columns_of(models)
    before = run.engine.tally(_searched(run, table), columns if single else [*columns, SUBJECT], SUBJECT if single else None)
    return asking.fit(models, before, asking.ladders(run.policy, table, models)), before, None if single else SUBJECT


def population_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """k-map and delta-presence, recounted from the files as written and from the population's own file."""
    asked, table = run.policy.privacy.population, run.policy.subject_table
    if asked is None or table is None or table not in staged:
        return False, ["there is no subject table to hold against the population"]
    one, file, ladders, columns = staged[table], run.policy.path(asked.file), {}, {}
    for name, levels in ((run.record.get("generalize", table) or {}).get("levels") or {}).items():
        columns[name] = asked.columns.get(name, name)
        leaves = values_of(file, columns[name], asked.delimiter)
        hierarchy = _hierarchy(run, table, name)
        steps = [hierarchy.generalize(pa.array(leaves, pa.string()), hierarchy.levels.index(at)) for at in _listed(levels)]
        ladders[name] = [pair for step in steps for pair in zip(leaves, step.cast(pa.string()).to_pylist(), strict=True)]
    crowd = Crowd(file, columns, asked.count, asked.delimiter, ladders)
    counted = against(one.files(one.data), crowd, subject=one.files(one.subjects))
    failed = failed_against(counted, asked.k_map, asked.presence)
    least = min((people for _, people in counted), default=0)
    what = f"{table}: the smallest of {len(counted):,} classes stands for {least:,} people of the population"
    return not failed, [f"{table}: {words}" for words in failed] or [what]


def sampling_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """Who is in the release was drawn by the key, and the smallest class gives the delta that was asked for."""
    asked, table = run.policy.privacy.sampling, run.policy.subject_table
    if asked is None or table is None or table not in staged:
        return False, ["there is no subject table to draw from"]
    one = staged[table]
    secret, strangers = run.key.derive("safe sampling"), 0
    for batch in _batches(one, one.subjects):
        for who in batch.column(0).to_pylist():
            drawn = int(hmac.new(secret, str(who).encode(), "sha256").hexdigest()[:16], 16) / 2**64
            strangers += who is None or drawn >= asked.share
    smallest = class_sizes(one, quasi_columns(rules_of(run, table))).smallest
    delta = safe_delta(smallest, asked.share, asked.epsilon) if smallest else 0.0
    words = [f"{table}: {strangers:,} rows are of subjects who were not drawn"] if strangers else []
    if delta > asked.delta * (1 + 1e-6):
        words.append(f"{table}: the smallest class has {smallest} subjects, which gives delta = {delta:.2g} and not {asked.delta:g}")
    what = f"{table}: ({asked.epsilon:g}, {asked.delta:g})-differentially private: a share of {asked.share:g} drawn, at least {smallest} alike"
    return not words, words or [what]


def differences_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """This release against all earlier versions of the dataset, joined by the subjects' published pseudonyms."""
    policy, store = run.policy, Store(store_uri(run.policy))
    earlier = [store.open(policy.dataset, version) for version in store.versions(policy.dataset)]
    words, passed = [], True
    for table, one in staged.items():
        quasi, id_ = quasi_columns(rules_of(run, table)), _published_id(run, table)
        before = [seen for version in earlier if (seen := _seen(version, table, id_)) is not None] if quasi and id_ else []
        if not before or id_ is None:
            continue
        found = differences(Seen(ds.dataset(one.files(one.data)), id_, tuple(quasi)), before, policy.privacy.k, run.folder("scratch"))
        if not found.linked:
            words.append(f"{table}: shares no pseudonym with the last version")
            continue
        held = not found.short
        passed = passed and (held or policy.privacy.differences == "report")
        said = f"{table}: {found.added:,} subjects added, {found.removed:,} gone, {found.changed:,} changed since the last version; "
        said += f"{found.short:,} stand out among fewer than k = {policy.privacy.k} by what the {len(before) + 1} versions tell together"
        hint = "; hold back what is new until more has changed, or publish under another project so that pseudonyms do not join"
        words.append(said + ("" if held or policy.privacy.differences == "report" else hint))
    return passed, words or ["no earlier version can be joined with this one"]


def _published_id(run: Run, table: str) -> str | None:
    """The published name of what joins a table's versions: the subjects' pseudonym where it leaves, else the first other pseudonym, for a stay's
    own number is as stable as a person's; then those that it names are counted."""
    column = run.policy.subject_column(table)
    rule = run.policy.tables[table].columns.get(column or "")
    if rule is not None and rule.leaves:
        return rule.rename or column
    return next((name for name, rule in rules_of(run, table).items() if rule.method is Method.PSEUDONYM), None)


def _seen(version: Version, table: str, id_: str | None) -> Seen | None:
    """A table of an earlier version, where it has the id and quasi-identifiers."""
    fact = next((fact for fact in version.manifest.tables if fact.name == table and fact.files), None)
    if fact is None or id_ is None or id_ not in [column.name for column in fact.columns]:
        return None
    return Seen(version.dataset(table), id_, tuple(column.name for column in fact.columns if column.role == Role.QUASI.value))


def risks(run: Run, staged: dict[str, Staged]) -> dict[str, Any]:
    """The risk of each table with quasi-identifiers, from the files as written."""
    found = {}
    for table, one in staged.items():
        rules = rules_of(run, table)
        quasi, sensitive = quasi_columns(rules), [name for name, rule in rules.items() if rule.role is Role.SENSITIVE]
        if quasi:
            threshold = 1 / asking.k_of(run.policy, table)
            files, subjects, scratch = one.files(one.data), one.files(one.subjects), run.folder("scratch")
            found[table] = measure(files, quasi, subjects=subjects, threshold=threshold, sensitive=sensitive, scratch=scratch)
            for column, attacked in _minimality(run, one).items():
                found[table]["attacks"].setdefault(column, {})["minimality"] = rounded(asdict(attacked))
    return found


def _minimality(run: Run, staged: Staged) -> dict[str, Minimality]:
    """What the search's choice tells of the columns of which more than k was asked."""
    if not asking.of_table(run.policy, staged.table):
        return {}
    fitted, before, subject = _fitted(run, staged.table)
    known = {name: Known(*asking.counted(before, name, subject)) for name in columns_of(fitted)}
    return minimality(_sides(run, staged), _columns(run, staged.table), fitted, known, asking.k_of(run.policy, staged.table))


def utilities(run: Run, staged: dict[str, Staged]) -> dict[str, Any]:
    """What each table leaves of the data, from the files as de-identified and as written: of the shape of `privacy.utility.Utility`."""
    found = {}
    for table, one in staged.items():
        found[table] = compare(_sides(run, one), _columns(run, table), asking.k_of(run.policy, table)).asdict()
    return found


def _sides(run: Run, staged: Staged) -> Sides:
    before, rows = (staged.files(run.folder(step, staged.table)) for step in ("deidentify", "generalize"))
    return Sides(before, staged.files(staged.data), rows, run.folder("scratch"))


def _columns(run: Run, table: str) -> dict[str, Column]:
    levels = (run.record.get("generalize", table) or {}).get("levels", {})
    return {name: _compared(run, table, name, rule, levels.get(name)) for name, rule in rules_of(run, table).items()}


def _compared(run: Run, table: str, name: str, rule: Rule, level: str | dict[str, float] | None) -> Column:
    if rule.role is not Role.QUASI:
        return Column(rule.role.value)
    hierarchy = _hierarchy(run, table, name)
    return Column(rule.role.value, hierarchy, hierarchy.levels.index(level) if isinstance(level, str) else None)


def leak_gate(run: Run, staged: dict[str, Staged]) -> Judged:
    """Every extracted identifier, searched in every column of everything that is staged, and in the policy's words that leave with it."""
    identifiers, folder = sorted(run.folder("identifiers").glob("*.parquet")), run.folder("needles")
    columns = {table: leak.Columns.of(run.policy, table) for table in staged}
    workers = run.policy.engine.local.shares.workers
    leaks, needles = search_staged(staged, identifiers, folder, run.key, columns, k=run.policy.privacy.k, workers=workers)
    number = sum(len(one.schema) for one in staged.values())
    told = [str(found) for found in leaks] + search_words(of_policy(run.policy), needles, k=run.policy.privacy.k)
    return not told, told or [f"no identifier of {identifiers_of(run):,} stands in any of {number} columns"]


def leaks_of_words(run: Run, words: dict[str, str]) -> list[str]:
    """What a run's identifiers are found in, of words that a person wrote after the gates (a reason), by their place; without any value."""
    return search_words(words, Needles.open(run.folder("needles"), run.key), k=run.policy.privacy.k)


def identifiers_of(run: Run) -> int:
    """How many identifier values were extracted."""
    return int((run.record.get("collect") or {}).get("identifiers", 0))


def _batches(staged: Staged, folder: Path) -> Iterator[pa.RecordBatch]:
    """Batch by batch, the same rows for the data as for whose they are."""
    for file in staged.files(folder):
        yield from pq.ParquetFile(file).iter_batches(10_000)
