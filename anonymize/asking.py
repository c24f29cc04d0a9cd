"""What is asked beside k, as the search and the recount each want it said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import AnonymizeError
from anonymize.hierarchies import Hierarchy, build, data_drawn, drawn
from anonymize.judging.recount import Wanted
from anonymize.policy.model import Policy, Role
from anonymize.population import People
from anonymize.privacy.lattice import values_in_order
from anonymize.privacy.models import (
    BetaLikeness,
    CloseT,
    DeltaPresence,
    DistinctL,
    EntropyL,
    KMap,
    Model,
    PopulationModel,
    RecursiveL,
    fitted,
    parse_beta,
    parse_l,
    parse_t,
    safe_sampling_k,
)


def parse(l: Sequence[str], t: Sequence[str], beta: Sequence[str] = ()) -> list[Model]:  # noqa: E741
    """Models as they are written in a policy and on the command line. Raises ValueError."""
    return [*(parse_l(text) for text in l), *(parse_t(text) for text in t), *(parse_beta(text) for text in beta)]


def hierarchy_of(policy: Policy, table: str, name: str, tally: Callable[[], pa.Table]) -> Hierarchy:
    """The hierarchy of a published quasi-identifier. tally: gives the distinct values of the column (as `name`) of all records that are
    searched, with `subjects`; called where the hierarchy's groups come from the data."""
    rules = {rule.rename or written: rule for written, rule in policy.tables[table].columns.items()}
    written = rules[name].hierarchy or "flat"
    hierarchy = build(written, policy.file.parent)
    if not data_drawn(written):
        return hierarchy
    counted = tally()
    return drawn(hierarchy, counted[name].combine_chunks(), counted["subjects"].to_numpy())


def of_table(policy: Policy, table: str) -> list[Model]:
    """The models of a policy that speak of a column that a table publishes, where the table has quasi-identifiers."""
    rules = {rule.rename or name: rule for name, rule in policy.tables[table].columns.items() if rule.leaves}
    if not any(rule.role is Role.QUASI for rule in rules.values()):
        return []
    return [model for model in parse(policy.privacy.l, policy.privacy.t, policy.privacy.beta) if model.column in rules]


def of_population(policy: Policy, table: str) -> list[PopulationModel]:
    """What a policy asks of a table against the population: of the subject table alone, for the population's rows are people."""
    asked = policy.privacy.population
    if asked is None or table != policy.subject_table:
        return []
    return population_models(asked.k_map, asked.presence)


def population_models(k_map: int | None, presence: tuple[float, float] | None) -> list[PopulationModel]:
    """Models as they are written in a policy and on the command line."""
    return [*([KMap(k_map)] if k_map else []), *([DeltaPresence(*presence)] if presence else [])]


def people(policy: Policy) -> People:
    """The population that a policy names."""
    asked = policy.privacy.population
    assert asked is not None
    return People(policy.path(asked.file), asked.columns, asked.count, asked.delimiter)


def k_of(policy: Policy, table: str) -> int:
    """The subjects that a class of a table must hold: the policy's k, the release's own beside k-map, what a safe sample needs if more."""
    privacy = policy.privacy
    if table == policy.subject_table and privacy.population is not None and privacy.population.k is not None:
        return privacy.population.k
    if table == policy.subject_table and privacy.sampling is not None:
        drawn = privacy.sampling
        return max(privacy.k, safe_sampling_k(drawn.delta, drawn.share, drawn.epsilon))
    return privacy.k


def event_tables(policy: Policy) -> list[str]:
    """The tables whose rows are events of subjects, in the order in which they are generalized: those with quasi-identifiers that are not
    the subject table."""
    quasi = [name for name, table in policy.tables.items() if any(rule.role is Role.QUASI for rule in table.columns.values())]
    return [name for name in quasi if name != policy.subject_table]


def ladders(policy: Policy, table: str, models: Iterable[Model]) -> dict[str, Hierarchy]:
    """The hierarchies that the rules of sensitive columns name, for hierarchical t-closeness."""
    rules = {rule.rename or name: rule for name, rule in policy.tables[table].columns.items()}
    named = {model.column: rules[model.column].hierarchy for model in models}
    return {column: build(hierarchy, policy.file.parent) for column, hierarchy in named.items() if hierarchy}


def problems(policy: Policy) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a policy asks and cannot be honoured: where it stands, and what is wrong."""
    privacy = policy.privacy
    if privacy.within is not None:
        yield from ((("privacy", "within"), what) for what in _within_problems(policy, *privacy.within.split(":")))
    if privacy.population is not None:
        yield from ((("privacy", "population"), what) for what in _population_problems(policy))
    if privacy.sampling is not None:
        yield from ((("privacy", "sampling"), what) for what in _sampling_problems(policy))
    for name, texts in (("l", privacy.l), ("t", privacy.t), ("beta", privacy.beta)):
        for text in texts:
            try:
                (model,) = parse(**{"l": (), "t": (), name: (text,)})
            except ValueError as error:
                yield ("privacy", name), str(error)
                continue
            yield from _sensitive_problems(policy, name, model)


def _sensitive_problems(policy: Policy, name: str, model: Model) -> Iterator[tuple[tuple[str, ...], str]]:
    column = model.column
    roles = [
        rule.role
        for table in policy.tables.values()
        for written, rule in table.columns.items()
        if (rule.rename or written) == column and rule.leaves
    ]
    tables = [table for table in policy.tables if model in of_table(policy, table)]
    if not roles:
        yield ("privacy", name), f"no table publishes a column '{column}'"
    elif Role.QUASI in roles:
        what = f"'{column}' is a quasi-identifier; what is asked of sensitive values needs a column of role 'sensitive'"
        yield ("privacy", name), what
    elif not tables:
        yield ("privacy", name), f"the table of '{column}' has no quasi-identifiers, so it has no classes"
    elif policy.privacy.events and set(tables) & set(event_tables(policy)):
        what = f"'{column}' is of an event, and a person has several: who knows '{policy.privacy.attacker}' sees them all, joined, and learns "
        what += "what all candidates have in common however diverse each class is. Ask it of the subject table, or publish that column apart"
        yield ("privacy", name), what
    elif isinstance(model, CloseT) and model.distance == "hierarchical":
        for table in tables:
            if column not in ladders(policy, table, [model]):
                yield ("tables", table, "columns", column), f"hierarchical t-closeness of '{column}' needs a hierarchy in its rule"


def _population_problems(policy: Policy) -> Iterator[str]:
    privacy, subjects = policy.privacy, policy.subject_table
    assert privacy.population is not None
    if subjects is None:
        yield "a population has a row a person, and the policy names no subject table to hold against it: say 'subject: TABLE.COLUMN'"
        return
    quasi = [rule.rename or name for name, rule in policy.tables[subjects].columns.items() if rule.role is Role.QUASI]
    if not quasi:
        yield f"the subject table '{subjects}' has no quasi-identifiers, so it has no classes"
    unknown = [name for name in privacy.population.columns if name not in quasi]
    try:
        people(policy).opened(quasi)
    except AnonymizeError as error:
        yield str(error)
    if unknown:
        yield f"'{unknown[0]}' is no quasi-identifier of '{subjects}'. It has: {', '.join(quasi)}"
    if privacy.mode == "local" and privacy.population.presence is not None:
        yield (
            "delta-presence needs classes that do not overlap, and those of 'mode: local' do: a person of the population may stand in "
            "several. Take 'mode: optimal', with 'within' if need be"
        )


def _sampling_problems(policy: Policy) -> Iterator[str]:
    """What the theorem of safe sampling takes for given, and a policy does not."""
    privacy, subjects = policy.privacy, policy.subject_table
    if subjects is None:
        yield "people are drawn, and the policy names no subject table: say 'subject: TABLE.COLUMN'"
        return
    others = [table for table in policy.tables if table != subjects and policy.subject_column(table) is not None]
    if others:
        yield f"holds for one row a person, and '{others[0]}' has more about the same people: publish the subject table alone"
    more = [word for word in ("l", "t", "beta", "population", "within") if getattr(privacy, word)]
    if more:
        yield f"'{more[0]}' looks at the data to choose what is published, which differential privacy does not allow; leave it out"
    if privacy.mode == "local":
        yield "the levels must not depend on the data, and those of 'mode: local' do"
    if privacy.suppression < 1:
        yield "whether too much is suppressed depends on the data, and must not stop the release: say 'suppression: 1.0'"
    for name, rule in policy.tables[subjects].columns.items():
        if rule.role is Role.QUASI and rule.min_level != rule.max_level:
            yield f"the levels must not depend on the data: give '{name}' the same min-level and max-level"
        elif rule.role is Role.QUASI and data_drawn(rule.hierarchy or "flat"):
            yield f"the groups of '{rule.hierarchy}' are drawn from the data, and must not depend on it: take 'ranges' for '{name}'"
        elif rule.role is not Role.QUASI and rule.leaves:
            yield f"column '{name}' leaves as it is, and every column that leaves must be a quasi-identifier: generalize or drop it"


def _within_problems(policy: Policy, column: str, level: str = "0") -> Iterator[str]:
    if policy.privacy.mode == "local":
        yield "'within' parts a table for 'mode: optimal'; 'mode: local' is finer than any parting"
    rules = [rule for table in policy.tables.values() for name, rule in table.columns.items() if (rule.rename or name) == column]
    quasi = [rule for rule in rules if rule.role is Role.QUASI]
    if not quasi:
        yield f"no table has a quasi-identifier '{column}'"
    for rule in quasi:
        levels = build(rule.hierarchy or "flat", policy.file.parent).levels
        if int(level) >= len(levels) - 1:
            yield f"'{column}' has levels 0 ({levels[0]}) to {len(levels) - 2} ({levels[-2]}) to part a table by"


def fit(models: Iterable[Model], tally: pa.Table, hierarchies: Mapping[str, Hierarchy]) -> list[Model]:
    """Models that know the values of their columns. tally: holds the sensitive columns. Raises ValueError, without a value."""
    return [fitted(model, values_in_order(tally[model.column]), hierarchies.get(model.column)) for model in models]


def wanted(k: int, models: Sequence[Model], tally: pa.Table, subject: str | None) -> Wanted:
    """What was asked, in the recount's own words. models: fitted; tally: the whole table's sensitive values with `subjects`, how many rows;
    subject: its column that says whose they are, where a subject has several rows."""
    diversity: list[tuple[str, str, tuple[float, ...]]] = []
    closeness: list[tuple[str, str, float]] = []
    likeness: list[tuple[str, str, float]] = []
    whole, ranks, paths = {}, {}, {}
    for model in models:
        if isinstance(model, DistinctL):
            diversity.append((model.column, "distinct", (model.l,)))
        elif isinstance(model, EntropyL):
            diversity.append((model.column, "entropy", (model.l,)))
        elif isinstance(model, RecursiveL):
            diversity.append((model.column, "recursive", (model.c, model.l)))
        elif isinstance(model, CloseT):
            closeness.append((model.column, model.distance, model.t))
            order = values_in_order(tally[model.column])
            values = _as_counted(order)
            whole[model.column] = dict(zip(values, histogram(tally, model.column, order, subject).tolist(), strict=True))
            if model.order:
                ranks[model.column] = [value for _, value in sorted(zip(model.order, values, strict=True), key=lambda pair: pair[0])]
            if model.tree:
                paths[model.column] = dict(zip(values, zip(*(map(str, level) for level in model.tree), strict=True), strict=True))
        elif isinstance(model, BetaLikeness):
            likeness.append((model.column, "enhanced" if model.enhanced else "basic", model.beta))
            values = _as_counted(order := values_in_order(tally[model.column]))
            whole[model.column] = dict(zip(values, histogram(tally, model.column, order, subject).tolist(), strict=True))
        else:
            raise TypeError(f"the recount knows no {type(model).__name__}")
    return Wanted(k, tuple(diversity), tuple(closeness), whole, ranks, paths, tuple(likeness))


def _as_counted(order: pa.Array) -> list[str | None]:
    """Each value as the recount writes it, for numbers and dates are written in more than one way."""
    with duckdb.connect() as duck:
        duck.register("v", pa.table({"v": order}))
        return [row[0] for row in duck.sql("SELECT v::VARCHAR FROM v").fetchall()]


def histogram(tally: pa.Table, column: str, order: pa.Array, subject: str | None) -> np.ndarray:
    """int64 (s): how many rows, or subjects, have each value."""
    counted = _once(tally.select([column, subject])) if subject else tally
    return np.bincount(pc.index_in(counted[column], order).to_numpy(), counted["subjects"].to_numpy(), len(order)).astype(np.int64)


def counted(tally: pa.Table, column: str, subject: str | None) -> tuple[list[str | None], np.ndarray]:
    """A sensitive column's values as texts, in the models' order, and how many rows, or subjects, have each."""
    order = values_in_order(tally[column])
    return _as_counted(order), histogram(tally, column, order, subject)


def _once(pairs: pa.Table) -> pa.Table:
    distinct = pairs.group_by(pairs.schema.names).aggregate([])
    return distinct.append_column("subjects", pa.array(np.ones(len(distinct), np.int64)))
