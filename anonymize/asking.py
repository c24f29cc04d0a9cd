"""What is asked beside k, as the search and the recount each want it said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies import Hierarchy, build
from anonymize.policy.model import Policy, Role
from anonymize.privacy.lattice import values_in_order
from anonymize.privacy.models import CloseT, DistinctL, EntropyL, Model, RecursiveL, fitted, parse_l, parse_t
from anonymize.recount import Wanted


def parse(l: Sequence[str], t: Sequence[str]) -> list[Model]:  # noqa: E741
    """Models as they are written in a policy and on the command line. Raises ValueError."""
    return [*(parse_l(text) for text in l), *(parse_t(text) for text in t)]


def of_table(policy: Policy, table: str) -> list[Model]:
    """The models of a policy that speak of a column that a table publishes, where the table has quasi-identifiers."""
    rules = {rule.rename or name: rule for name, rule in policy.tables[table].columns.items() if rule.leaves}
    if not any(rule.role is Role.QUASI for rule in rules.values()):
        return []
    return [model for model in parse(policy.privacy.l, policy.privacy.t) if model.column in rules]


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
    """What a policy asks of sensitive values and cannot be honoured: where it stands, and what is wrong."""
    if policy.privacy.within is not None:
        yield from ((("privacy", "within"), what) for what in _within_problems(policy, *policy.privacy.within.split(":")))
    for name, texts in (("l", policy.privacy.l), ("t", policy.privacy.t)):
        for text in texts:
            try:
                (model,) = parse([text], []) if name == "l" else parse([], [text])
            except ValueError as error:
                yield ("privacy", name), str(error)
                continue
            roles = [
                rule.role
                for table in policy.tables.values()
                for column, rule in table.columns.items()
                if (rule.rename or column) == model.column and rule.leaves
            ]
            if not roles:
                yield ("privacy", name), f"no table publishes a column '{model.column}'"
            elif Role.QUASI in roles:
                yield (
                    ("privacy", name),
                    f"'{model.column}' is a quasi-identifier; what is asked of sensitive values needs a column of role 'sensitive'",
                )
            elif not any(of_table(policy, table) and model in of_table(policy, table) for table in policy.tables):
                yield ("privacy", name), f"the table of '{model.column}' has no quasi-identifiers, so it has no classes"
            elif policy.privacy.events and any(model in of_table(policy, table) for table in event_tables(policy)):
                yield (
                    ("privacy", name),
                    f"'{model.column}' is of an event; what is asked of it cannot be held beside 'attacker: {policy.privacy.attacker}'",
                )
            elif isinstance(model, CloseT) and model.distance == "hierarchical":
                for table in policy.tables:
                    if model in of_table(policy, table) and model.column not in ladders(policy, table, [model]):
                        yield (
                            ("tables", table, "columns", model.column),
                            f"hierarchical t-closeness of '{model.column}' needs a hierarchy in its rule",
                        )


def _within_problems(policy: Policy, column: str, level: str = "0") -> Iterator[str]:
    if policy.privacy.mode == "local":
        yield "'within' parts a table for 'mode: optimal'; 'mode: local' is finer than any parting"
    if policy.privacy.t:
        yield "t-closeness compares each class with the whole table, and cannot be asked of parts of it"
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
        else:
            raise TypeError(f"the recount knows no {type(model).__name__}")
    return Wanted(k, tuple(diversity), tuple(closeness), whole, ranks, paths)


def _as_counted(order: pa.Array) -> list[str | None]:
    """Each value as the recount writes it, for numbers and dates are written in more than one way."""
    with duckdb.connect() as duck:
        duck.register("v", pa.table({"v": order}))
        return [row[0] for row in duck.sql("SELECT v::VARCHAR FROM v").fetchall()]


def histogram(tally: pa.Table, column: str, order: pa.Array, subject: str | None) -> np.ndarray:
    """int64 (s): how many rows, or subjects, have each value."""
    counted = _once(tally.select([column, subject])) if subject else tally
    return np.bincount(pc.index_in(counted[column], order).to_numpy(), counted["subjects"].to_numpy(), len(order)).astype(np.int64)


def _once(pairs: pa.Table) -> pa.Table:
    distinct = pairs.group_by(pairs.schema.names).aggregate([])
    return distinct.append_column("subjects", pa.array(np.ones(len(distinct), np.int64)))
