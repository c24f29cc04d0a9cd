"""The six steps, each a plain function of a Run. Read top to bottom: this is the way of a record, and nothing else knows the order.

    check -> extract -> collect -> deidentify -> generalize -> validate -> review -> publish

Every step may be called again at any time: what is done is not done twice, and a step that was killed starts its table anew. Every step
returns counts alone, fit for an XCom or a log.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize import asking, evidence, extracting, releasing, trail
from anonymize import check as checking
from anonymize.detect.columns import searched_kinds
from anonymize.engine.base import Table
from anonymize.errors import AnonymizeError, GateFailed, ReviewMissing
from anonymize.hierarchies import Hierarchy
from anonymize.judging.gates import (
    differences_gate,
    events_gate,
    expectations_gate,
    k_gate,
    leak_gate,
    leaks_of_words,
    models_gate,
    population_gate,
    risks,
    sampling_gate,
    utilities,
)
from anonymize.lasting import cohort, kept, linkage, mending
from anonymize.lasting.given_up import GivenUp
from anonymize.policy.model import Policy, Role, Rule
from anonymize.privacy import (
    EventSolution,
    LocalSolution,
    PartsSolution,
    SearchSettings,
    Solution,
    recode_locally,
    search,
    search_events,
    search_parts,
)
from anonymize.privacy.events import DEMOGRAPHICS, About, Demographics, as_one_text
from anonymize.privacy.lattice import values_in_order
from anonymize.privacy.models import columns_of
from anonymize.progress import paced
from anonymize.publish import prepare, published_schema
from anonymize.publish import publish as publish_release
from anonymize.publish import review as reviewing
from anonymize.run import Counts, Record, Run, line
from anonymize.sampling import DRAWN, Draw
from anonymize.sources.base import ROW
from anonymize.taking_back import withheld
from anonymize.transform.batch import (
    FINDINGS,
    IDENTIFIERS,
    KEY,
    KNOWN,
    KNOWN_SCHEMA,
    SUBJECT,
    SUPPRESSED,
    Deidentify,
    Keep,
    at_source,
    flag_subjects,
    total_findings,
)
from anonymize.transform.identifiers import IDENTIFIERS_SCHEMA, FindIdentifiers, JoinIdentifiers
from anonymize.validate.counting import Staged
from anonymize.validate.counting import facts as count_facts
from anonymize.validate.gates import judge
from anonymize.validate.gates import require as require_gates

#: What a step says of an optional table that is not there.
ABSENT: Counts = {"absent": True}


def tables(policy: Policy) -> list[str]:
    """The tables that leave, in the policy's order."""
    return list(policy.tables)


# ---------------------------------------------------------------------------------------------------------------------------- check


def check(run: Run) -> Counts:
    """Hold the policy against the live sources before the first record leaves; what the policy does not name is recorded as left out. Read who
    is one person, who opted out, and who is in the cohort, so that no record of others is taken.

    Raises PolicyError with every rule that cannot be honoured, SourceError where it cannot be known who opted out, who is in the cohort, or
    where the map of persons contradicts itself.
    """
    counts = run.once("check", lambda: checking.check_or_raise(kept.narrowed(run), run.connections, run.folder("sources")).counts())
    run.policy = run.policy.without(counts.get("absent", ()))
    people = linkage.people(run)
    run.once("withheld", lambda: withheld.take(run))
    cohort.members(run, people)
    return counts


# -------------------------------------------------------------------------------------------------------------------------- extract


def extract(run: Run, table: str) -> Counts:
    """Stream the columns that are needed into the workspace; malformed records go to the quarantine, within the policy's budget.

    An optional table that the source does not have was left out by the check: there is nothing to do for it, here and later.
    """
    if table not in run.policy.tables:
        return ABSENT
    return run.once("extract", lambda: extracting.extract(run, table), table)


# -------------------------------------------------------------------------------------------------------------------------- collect


def collect(run: Run) -> Counts:
    """Gather each subject's own identifiers from all tables: to be looked up in the subject's texts, and by the leak gate."""
    return run.once("collect", lambda: _collect(run))


def _collect(run: Run) -> Counts:
    found = _own(run)
    own = found[0] if found else Table("identifiers", IDENTIFIERS_SCHEMA, lambda: iter(()))
    if len(found) > 1:
        several = run.engine.write(own.followed_by(found[1:]), run.folder("collect"), sort=[KEY], passing=True).table
        own = run.engine.map(several, JoinIdentifiers(run.key), IDENTIFIERS_SCHEMA, whole=KEY)
    written = run.engine.write(own, run.folder("identifiers"), passing=True)
    return {"subjects": written.rows, "identifiers": _listed(written.files), **cohort.outcome(run)}


def _own(run: Run) -> list[Table]:
    """Each subject's identifiers, by table that is about subjects."""
    found = []
    for table in tables(run.policy):
        searched = tuple((column, kind.value) for column, kind in searched_kinds(run.policy, table).items())
        if searched and run.policy.subject_column(table) is not None:
            extracted = run.engine.read(run.folder("extract", table))
            names = {KEY, *(name for column, _ in searched for name in (column, at_source(column)))}
            needed = extracted.only(pa.schema([field for field in extracted.schema if field.name in names]))
            found.append(run.watched(run.engine.map(needed, FindIdentifiers(searched, run.key), IDENTIFIERS_SCHEMA, whole=KEY), "collect"))
    return found


def _listed(files: Sequence[Path]) -> int:
    """The identifiers in lists of files, as their footers count them."""
    columns = [group.column(n) for file in files for group in _groups(file) for n in range(group.num_columns)]
    return sum(column.num_values for column in columns if column.path_in_schema.endswith(".value"))


def _groups(file: Path) -> list[pq.RowGroupMetaData]:
    metadata = pq.read_metadata(file)
    return [metadata.row_group(number) for number in range(metadata.num_row_groups)]


# ----------------------------------------------------------------------------------------------------------------------- deidentify


def deidentify(run: Run, table: str) -> Counts:
    """Strip the PHI of a table: each column by its method, each text by detection with the subject's own identifiers beside it."""
    if table not in run.policy.tables:
        return ABSENT
    return run.once("deidentify", lambda: _deidentify(run, table), table)


def _deidentify(run: Run, table: str) -> Counts:
    policy = run.policy
    rules = tuple((name, rule) for name, rule in policy.tables[table].columns.items() if rule.leaves)
    fn = Deidentify(rules, policy.subject_column(table), run.key, policy.shift_days, policy.text)
    source = run.engine.read(run.folder("extract", table))
    schema = fn.schema(source.schema)
    if fn.has_text and policy.subject_column(table) is not None:
        identifiers = run.engine.read(run.folder("identifiers"))
        source = run.engine.join(source, identifiers.only(pa.schema([identifiers.schema.field(name) for name in (KEY, IDENTIFIERS)])), KEY)
    rows = (run.record.get("extract", table) or {})["rows"]
    with GivenUp(run, table) as given_up:
        stripped = run.watched(run.engine.map(source.losing(given_up.add), fn, schema), "deidentify", rows)
        written = run.engine.write(stripped, run.folder("deidentify", table), passing=True)
    return {"rows": written.rows, "findings": _findings(run, written.table) if fn.has_text else {}, **given_up.counts()}


def _findings(run: Run, table: Table) -> dict[str, int]:
    told = table.only(pa.schema([table.schema.field(FINDINGS)]))
    total: Counter[str] = Counter()
    for batch in run.engine.map(told, total_findings, told.schema).batches():
        for counts in batch[FINDINGS].to_pylist():
            total.update(json.loads(counts))
    return dict(sorted(total.items()))


# ----------------------------------------------------------------------------------------------------------------------- generalize


def generalize(run: Run) -> Counts:
    """Generalize every table's quasi-identifiers until each class holds k subjects, suppress what cannot be, and stage what would be
    published. The subject table goes first: a subject suppressed there leaves all tables, and a record of no known subject stays out."""
    for table in _subject_table_first(run.policy):
        run.once("generalize", lambda table=table: _generalize(run, table), table)  # type: ignore[misc]
        run.once("stage", lambda table=table: _stage(run, table), table)  # type: ignore[misc]
    return run.once("generalize", lambda: _together(run))


def _subject_table_first(policy: Policy) -> list[str]:
    return sorted(tables(policy), key=lambda table: table != policy.subject_table)


def _generalize(run: Run, table: str) -> Counts:
    source = run.engine.read(run.folder("deidentify", table))
    before = run.record.get("deidentify", table) or {}
    known, merged = _one_row_a_person(run, table, source)
    known, held_back = _of_known_subjects(run, table, known)
    known, not_drawn = _drawn(run, table, known)
    held_back += not_drawn + merged.get("merged", 0)
    quasi = quasi_rules(run.policy, table)
    order = _order(run, table)
    if not quasi:
        written = run.engine.write(_without(known, [FINDINGS]), run.folder("generalize", table), sort=order, passing=True)
        return {"rows_in": before["rows"], "rows": written.rows, "held_back": held_back, "suppressed": 0, **merged}
    solution = _search(run, table, known)
    schema = pa.schema([f.with_type(pa.string()) if f.name in quasi else f for f in known.schema] + [pa.field(SUPPRESSED, pa.bool_())])
    generalized = run.watched(run.engine.map(known, solution.apply, schema), "generalize", before["rows"] - held_back)
    kept = run.engine.map(generalized, Keep(SUPPRESSED, False), schema)
    leaving = _without(kept, [FINDINGS, SUPPRESSED, DEMOGRAPHICS])
    written = run.engine.write(leaving, run.folder("generalize", table), sort=order, passing=True)
    suppressed = before["rows"] - held_back - written.rows
    return {"rows_in": before["rows"], "rows": written.rows, "held_back": held_back, "suppressed": suppressed, **solution.counts(), **merged}


def _order(run: Run, table: str) -> list[str]:
    """What is still to be sorted by: nothing, where the records came into the workspace in the order in which they leave."""
    return [] if SUBJECT in run.engine.read(run.folder("extract", table)).schema.names else [SUBJECT, ROW]


def _search(run: Run, table: str, known: Table) -> Solution | LocalSolution | EventSolution | PartsSolution:
    """The least loss that holds k. Where a subject has one row, classes add up; where it may have several, the pairs of class and subject
    are needed, since a subject counts once however many of its rows fall together."""
    tally, hierarchies, settings, subject = searchable(run, table, known)
    privacy = run.policy.privacy
    if subject and privacy.events:
        return search_events(tally, hierarchies, settings, privacy.events, subject=subject, before=_events_before(run, table), about=_about(run))
    column, _, level = (privacy.within or "").partition(":")
    if column in hierarchies and privacy.mode == "optimal":
        return search_parts(tally, hierarchies, settings, column, int(level or 0), subject=subject)
    find = recode_locally if privacy.mode == "local" else search
    return find(tally, hierarchies, settings, subject=subject)


def searchable(run: Run, table: str, known: Table) -> tuple[pa.Table, dict[str, Hierarchy], SearchSettings, str | None]:
    """What a search takes: the tally of a table's quasi-identifiers, their hierarchies, what the policy asks, and the column of subjects where
    a subject may have several rows."""
    privacy = run.policy.privacy
    quasi = quasi_rules(run.policy, table)
    single = table == run.policy.subject_table
    if single:
        _one_row_a_subject(run, table, known)
    models = asking.of_table(run.policy, table)
    counted = [*quasi, *columns_of(models), *([DEMOGRAPHICS] if DEMOGRAPHICS in known.schema.names else [])]
    tally = run.engine.tally(known, counted if single else [*counted, SUBJECT], SUBJECT if single else None)
    settings = SearchSettings(
        k=asking.k_of(run.policy, table),
        suppression=privacy.suppression,
        weights={name: rule.weight for name, rule in quasi.items()},
        min_levels={name: rule.min_level for name, rule in quasi.items()},
        max_levels={name: rule.max_level for name, rule in quasi.items() if rule.max_level is not None},
        models=tuple(asking.fit(models, tally, asking.ladders(run.policy, table, models))),
        population=tuple(asking.of_population(run.policy, table)),
        seconds=privacy.time,
        watch=paced(run.say, f"generalize {table}"),
    )
    hierarchies = {
        name: asking.hierarchy_of(run.policy, table, name, lambda name=name: run.engine.tally(known, [name], SUBJECT))  # type: ignore[misc]
        for name in quasi
    }
    if settings.population:
        tally = asking.people(run.policy).beside(tally, hierarchies)
    return tally, hierarchies, settings, None if single else SUBJECT


def quasi_rules(policy: Policy, table: str) -> dict[str, Rule]:
    """The rules of a table's quasi-identifiers, by published name."""
    return {rule.rename or name: rule for name, rule in policy.tables[table].columns.items() if rule.role is Role.QUASI}


def _events_before(run: Run, table: str) -> pa.Table:
    """What is known already of subjects: the events of the tables that were generalized before this one."""
    pairs = []
    for earlier in asking.event_tables(run.policy):
        if earlier == table:
            break
        quasi = list(quasi_rules(run.policy, earlier))
        tally = run.engine.tally(run.engine.read(run.folder("generalize", earlier)), [*quasi, SUBJECT], None).combine_chunks()
        columns = [pa.repeat(earlier, len(tally)), *(tally[name].combine_chunks() for name in quasi)]
        pairs.append(pa.table({SUBJECT: tally[SUBJECT], "item": as_one_text(columns, len(tally))}))
    return pa.concat_tables(pairs) if pairs else pa.table({SUBJECT: pa.array([], pa.string()), "item": pa.array([], pa.string())})


def _about(run: Run) -> About | None:
    """The sensitive values of the subjects, where more than k is asked of the subject table: of all who share some events too."""
    subjects = run.policy.subject_table
    models = asking.of_table(run.policy, subjects) if subjects is not None else []
    if not models or subjects is None:
        return None
    columns = columns_of(models)
    whole = run.engine.tally(run.engine.read(run.folder("deidentify", subjects)), columns, SUBJECT)
    fitted = asking.fit(models, whole, asking.ladders(run.policy, subjects, models))
    orders = {name: values_in_order(whole[name]) for name in columns}
    values = run.engine.tally(run.engine.read(run.folder("generalize", subjects)), [SUBJECT, *columns], None)
    return About(values, tuple(fitted), {name: asking.histogram(whole, name, order, None) for name, order in orders.items()}, orders)


def _one_row_a_person(run: Run, table: str, source: Table) -> tuple[Table, Counts]:
    """Of a person whom the subject table has under several keys the first row by its number; the others are counted. Their identifiers were
    collected, and are looked for."""
    if run.policy.linkage is None or table != run.policy.subject_table:
        return source, {}
    ordered = run.engine.write(source, run.folder("persons", table), sort=[SUBJECT, ROW])

    def first_rows() -> Iterator[pa.RecordBatch]:
        before: str | None = None
        for batch in ordered.table.batches():
            subjects = batch[SUBJECT]
            earlier = pa.concat_arrays([pa.array([before], pa.string()), subjects.slice(0, len(subjects) - 1)])
            before = subjects[-1].as_py() if len(subjects) else before
            yield batch.filter(pc.not_equal(subjects, earlier).fill_null(True))

    written = run.engine.write(Table(table, source.schema, first_rows), run.folder("person", table))
    return written.table, {"merged": ordered.rows - written.rows}


def _one_row_a_subject(run: Run, table: str, known: Table) -> None:
    rows, subjects = (run.engine.tally(known, [], counted)["subjects"][0].as_py() for counted in (None, SUBJECT))
    if rows != subjects:
        raise AnonymizeError(
            f"{run.policy.where('subject')}  subject: table '{table}' has {rows:,} rows of {subjects:,} subjects, and a subject "
            f"table has one row a subject. Name another table, or the column alone (subject: {run.policy.subject_column(table)})"
        )


def _of_known_subjects(run: Run, table: str, source: Table) -> tuple[Table, int]:
    """The records whose subject stands in the subject table as it will be published, and the number of the others."""
    policy = run.policy
    if policy.subject_table in (None, table) or policy.subject_column(table) is None:
        return source, 0
    subjects = run.engine.read(run.folder("generalize", policy.subject_table))
    flagged = run.engine.map(subjects, flag_subjects, KNOWN_SCHEMA)
    joined = run.engine.join(source, flagged, SUBJECT)
    if policy.privacy.events and table in asking.event_tables(policy):
        quasi = tuple(quasi_rules(policy, policy.subject_table))
        about = run.engine.map(subjects, Demographics(SUBJECT, quasi), pa.schema([(SUBJECT, pa.string()), (DEMOGRAPHICS, pa.string())]))
        joined = run.engine.join(joined, about, SUBJECT)
    kept = run.engine.map(joined, Keep(KNOWN, True), joined.schema)
    written = run.engine.write(_without(kept, [KNOWN]), run.folder("known", table), passing=True)
    return written.table, ((run.record.get("deidentify", table) or {})["rows"] - written.rows)


def _drawn(run: Run, table: str, source: Table) -> tuple[Table, int]:
    """The records of the subjects who were drawn, where the policy asks for a safe sample; and the number of the others."""
    sampling = run.policy.privacy.sampling
    if sampling is None or table != run.policy.subject_table:
        return source, 0
    schema = source.schema.append(pa.field(DRAWN, pa.bool_()))
    drawn = run.engine.map(run.engine.map(source, Draw(run.key, sampling.share, SUBJECT), schema), Keep(DRAWN, True), schema)
    written = run.engine.write(_without(drawn, [DRAWN]), run.folder("known", table), passing=True)
    return written.table, ((run.record.get("deidentify", table) or {})["rows"] - written.rows)


def _without(table: Table, columns: list[str]) -> Table:
    return table.only(pa.schema([field for field in table.schema if field.name not in columns]))


def _stage(run: Run, table: str) -> Counts:
    """Write exactly the files that would be published, and beside them, row by row, whose record each is: the recount and the leak gate
    need it where the subject's pseudonym itself does not leave."""
    generalized = run.engine.read(run.folder("generalize", table))
    schema = published_schema(run.policy, table, generalized.schema)
    rows = run.policy.release.file_rows
    written = run.engine.write(generalized.only(schema), run.folder("stage", table), file_rows=rows)
    run.engine.write(generalized.only(pa.schema([(SUBJECT, pa.string())])), run.folder("subjects", table), file_rows=rows, passing=True)
    return {"rows": written.rows, "files": len(written.files)}


def _together(run: Run) -> Counts:
    per_table = run.record.tables("generalize")
    return {
        "suppressed": sum(c["suppressed"] for c in per_table.values()),
        "k": min((c["k"] for c in per_table.values() if "k" in c), default=0),
    }


# ------------------------------------------------------------------------------------------------------------------------- validate


def validate(run: Run) -> Counts:
    """Judge what is staged by every gate. Raises GateFailed, with each that failed, in words that a steward understands."""
    return run.once("validate", lambda: _validate(run))


def _staged(run: Run) -> dict[str, Staged]:
    return {table: Staged(table, run.folder("stage", table), run.folder("subjects", table)) for table in tables(run.policy)}


def _validate(run: Run) -> Counts:
    staged = _staged(run)
    facts = {table: count_facts(one) for table, one in staged.items()}
    privacy = run.policy.privacy
    expectations: list[Counts] = []
    # The search is in processes of its own: meanwhile the rest is judged and counted in this one.
    with ThreadPoolExecutor(1) as beside:
        leaks = beside.submit(leak_gate, run, staged)
        told = {"risk": risks(run, staged), "utility": utilities(run, staged)}
        verdicts = judge(
            {
                "expectations": lambda: expectations_gate(run, staged, facts, expectations),
                "k-anonymity": lambda: k_gate(run, staged),
                "leaks": leaks.result,
                **({"opt-out": lambda: withheld.gate(run, staged)} if withheld.asked(run) else {}),
                **({"differences": lambda: differences_gate(run, staged)} if releasing.published_before(run.policy) else {}),
                **({"events": lambda: events_gate(run, staged)} if privacy.events else {}),
                **({"sensitive values": lambda: models_gate(run, staged)} if privacy.l or privacy.t or privacy.beta else {}),
                **({"population": lambda: population_gate(run, staged)} if privacy.population else {}),
                **({"safe sampling": lambda: sampling_gate(run, staged)} if privacy.sampling else {}),
            }
        )
    passed = sum(verdict.passed for verdict in verdicts)
    counts = {"gates": [verdict.asdict() for verdict in verdicts], "passed": passed, "facts": facts}
    counts |= {**told, "expectations": expectations}
    # What failed is on record, but not done: the next try is judged anew.
    run.record.put("judged", counts)
    if passed < len(verdicts):
        evidence.remember(run)
        trail.record(run.policy, "stopped", run=run.id, gates=[verdict.gate for verdict in verdicts if not verdict.passed])
    require_gates(verdicts)
    return counts


# --------------------------------------------------------------------------------------------------------------- review and publish


def request_review(run: Run) -> Counts:
    """Write the documents that leave with the data, hash every file, and wait for a steward's word on exactly these."""
    return run.once("request", lambda: _request(run))


def _request(run: Run) -> Counts:
    if run.record.get("validate") is None:
        raise GateFailed(f"run '{run.id}' has not passed its gates, so there is nothing to review")
    facts = releasing.facts(run)
    releasing.seal(run)
    evidence.keep(run)
    version = prepare(
        run.leaving(),
        facts,
        before=releasing.before(run.policy),
        extra=releasing.beside(run),
        plain=run.folder("stage"),
        subjects=run.folder("subjects"),
    )
    shown = {
        "version": version,
        "rows": sum(table.rows for table in facts.tables),
        "tables": len(facts.tables),
        "k": facts.privacy.reached or 0,
        "suppressed": facts.privacy.suppressed,
    }
    asked = reviewing.request(run.leaving(), gates=facts.gates, facts=shown, folder=run.folder("review"))
    return {**shown, "files": len(asked.files), "sha256": asked.sha256, "at": asked.at.isoformat(timespec="seconds")}


def decide(run: Run, *, approve: bool, steward: str, reason: str, shown: str | None = None) -> Counts:
    """Record a steward's decision on the files that were shown. A rejected run ends: its workspace is removed.

    Where the policy asks for two stewards, the first approval is recorded as `signature`, and `review` once both have signed.
    shown: the `sha256` of the request that the steward saw; None where it was this one for certain.
    Raises ReviewMissing where nothing waits, where it is not what was shown, or name or reason is blank.
    """
    asked = reviewing.read_request(run.folder("review"))
    if asked is None:
        raise ReviewMissing(f"run '{run.id}' has nothing to review: it has not passed its gates, or has ended")
    needed = run.policy.review.stewards
    held = leaks_of_words(run, {"the reason": reason}) if approve else []
    if held:
        raise ReviewMissing(f"a decision stands in the manifest, for readers. {'; '.join(held)}. Say it without")
    decision = reviewing.decide(asked, run.folder("review"), approve=approve, steward=steward, reason=reason, stewards=needed, shown=shown)
    _decided(run, decision)
    counts = {"approved": approve, "steward": decision.steward, "reason": decision.reason, "files": len(decision.files)}
    counts |= {"at": decision.at.isoformat(timespec="seconds"), "signatures": decision.signatures, "of": needed}
    if decision.second is not None:
        counts["second"] = decision.second.model_dump(mode="json")
    step = "signature" if approve and decision.signatures < needed else "review"
    run.record.put(step, counts)
    run.say(line(step, counts))
    if not approve:
        _end(run, "rejected")
    return counts


def _decided(run: Run, decision: reviewing.Decision) -> None:
    """The stewards' word, in the audit trail once."""
    action = "approved" if decision.approve else "rejected"
    for said in (decision, decision.second):
        if said is not None:
            trail.record(run.policy, action, who=said.steward, run=run.id, once=True, reason=said.reason, files=decision.files)


def publish(run: Run) -> Counts:
    """Publish what was signed, then remove the workspace. May be called again after any end of it.

    Raises ReviewMissing where no steward approved exactly these files.
    """
    ended = run.record.get("end")
    if ended is not None and ended["outcome"] != "published":
        raise ReviewMissing(f"run '{run.id}' was {ended['outcome']}. Start a new run")
    counts = run.once("publish", lambda: _publish(run))
    if any(spec.incremental for spec in run.policy.tables.values()):
        run.once("kept", lambda: kept.keep(run))  # from here on the next run takes what is new
    _end(run, "published")
    return counts


def _publish(run: Run) -> Counts:
    decision = reviewing.read_decision(run.folder("review"))
    if run.policy.review.required:
        reviewing.require(decision, run.leaving(), stewards=run.policy.review.stewards)
    if withheld.asked(run):
        require_gates(judge({"opt-out": lambda: withheld.gate(run, _staged(run))}))
    if decision is not None:
        _decided(run, decision)  # where the one who decided was killed between the two
    kept.hold(run)
    trail.record(run.policy, "publishing", run=run.id, once=True)
    facts, signed = releasing.facts(run), evidence.documents(run)
    at_rest = run.policy.release.encryption.server
    release = publish_release(run.leaving(), releasing.store_uri(run.policy), facts, decision, signed=signed, server_encryption=at_rest)
    files = {file.path: file.sha256 for file in release.manifest.files()}
    manifest = hashlib.sha256(release.manifest.to_bytes()).hexdigest()
    content = release.manifest.content_sha256
    trail.record(
        run.policy, "published", run=run.id, once=True, version=release.version, content_sha256=content, manifest_sha256=manifest, files=files
    )
    return {"version": release.version, "uri": release.uri, "tables": len(release.manifest.tables)}


def replay(policy: Policy, run_id: str, table: str | None = None, *, say: Callable[[str], None] | None = None) -> Run:
    """A run that reads again what was malformed in another, after a repair: that one itself where it is not published, else a new one.

    Of a table with a row key those records alone are read again; any other is extracted anew. What a steward was shown or signed of a run
    that takes mended records in is void. Raises AnonymizeError where nothing waits, or the run was rejected or discarded.
    """
    record = Record(policy.path(policy.workspace) / "records" / run_id)
    outcome = (record.get("end") or {}).get("outcome")
    held = mending.folder(policy, run_id)
    if outcome not in (None, "published") or held is None:
        raise AnonymizeError(
            f"run '{run_id}' has no quarantine{f': it was {outcome}' if outcome else ''}. Start a new run: anonymize run {policy.file}"
        )
    again = mending.tables_of(policy, run_id, table)
    run = Run.open(policy, run_id=run_id if outcome is None else None, fresh=outcome is not None, say=say)
    mending.replayed(run, again, held)
    if outcome is None:
        for one in again:
            run.record.undo("extract", one)
        run.record.forget(
            "collect", "deidentify", "generalize", "stage", "validate", "judged", "evidence", "request", "signature", "review", "audit"
        )
        for folder in ("review", "documents", "sealed"):
            shutil.rmtree(run.folder(folder), ignore_errors=True)
    return run


def discard(run: Run) -> None:
    """End a run that will not go on; its workspace, which holds PHI, is removed."""
    if run.record.get("end") is None:
        trail.record(run.policy, "discarded", run=run.id, once=True)
    _end(run, "discarded")


def _end(run: Run, outcome: str) -> None:
    if outcome == "published":
        mending.keep(run)
    if run.record.get("end") is None:
        run.record.put("end", {"outcome": outcome, "at": datetime.now(UTC).isoformat(timespec="seconds")})
    shutil.rmtree(run.policy.path(run.policy.workspace) / "desk" / run.id, ignore_errors=True)  # the notes that stewards were to label
    run.close(remove=True)


# ------------------------------------------------------------------------------------------------------------------- the whole road


def to_review(run: Run) -> None:
    """All steps up to the steward's desk."""
    check(run)
    for table in tables(run.policy):
        extract(run, table)
    collect(run)
    for table in tables(run.policy):
        deidentify(run, table)
    generalize(run)
    validate(run)
    request_review(run)


def publish_if_signed(run: Run) -> None:
    """Publish where the policy asks for no review, or the steward has approved already; else the run waits."""
    if not run.policy.review.required or run.record.get("review") is not None:
        publish(run)
