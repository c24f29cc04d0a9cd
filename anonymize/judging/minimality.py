"""The minimality attack on a run's tables: what it tells that the search made no class coarser than it must.

Where k alone is asked the search never looks at a sensitive column, so its choice tells nothing of one. Where l-diversity, t-closeness or
beta-likeness are asked it does: a group of k people that is not published as finely as it could be may have been too uniform. Source: Wong,
Fu, Wang and Pei (2007), Minimality attack in privacy preserving data publishing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.judging.comparing import Column, Quasi, Sides, opened, quoted
from anonymize.privacy.attacks import Minimality
from anonymize.privacy.models import Model

#: So many cells of a histogram of groups by values are judged at a time.
_CELLS = 4_000_000


@dataclass(frozen=True)
class Known:
    """A sensitive column's values as texts, in the models' order, and the whole table's counts of them, int64 (s)."""

    values: Sequence[str | None]
    whole: np.ndarray


def minimality(
    sides: Sides, columns: Mapping[str, Column], models: Sequence[Model], known: Mapping[str, Known], k: int
) -> dict[str, Minimality]:
    """By sensitive column of the models, what the attack finds; a column whose every value is published as it is has no finer group.

    columns: as in `compare`; models: fitted; known: by sensitive column.
    """
    quasi = [name for name, column in columns.items() if column.hierarchy is not None]
    duck = opened(sides, quasi)
    types = {field.name: field.type for field in duck.sql("SELECT * FROM before LIMIT 0").to_arrow_table().schema}
    parts: dict[str, list[tuple[float, ...]]] = {name: [] for name in dict.fromkeys(model.column for model in models)}
    everybody = int(duck.execute("SELECT count(DISTINCT __who) FROM after").fetchall()[0][0])
    for name in quasi:
        hierarchy = columns[name].hierarchy
        assert hierarchy is not None  # for the type checker: they were chosen so
        told = Quasi(duck, name, types[name], hierarchy, columns[name].level, "count(DISTINCT __who)").finer()
        if told is None:
            continue
        duck.register("told", told)
        for column, found in parts.items():
            asked = [model for model in models if model.column == column]
            found.append(_column(duck, quasi, name, column, asked, known[column], k))
        duck.unregister("told")
    return {column: _together(found, max(everybody, 1), len(quasi)) for column, found in parts.items()}


def _column(
    duck: duckdb.DuckDBPyConnection,
    quasi: Sequence[str],
    name: str,
    sensitive: str,
    models: Sequence[Model],
    known: Known,
    k: int,
) -> tuple[float, ...]:
    """Over the groups that one column's finer values make: subjects of candidates, subjects of those that fail, and of these the sums of the
    commonest value's share in the class and in the group."""
    keys = ", ".join(f"a.{quoted(one)}" for one in quasi)
    same = f"b.{quoted(name)} IS NOT DISTINCT FROM t.value AND a.{quoted(name)} IS NOT DISTINCT FROM t.published"
    rows = f"SELECT hash({keys}) AS class, hash({keys}, t.finer) AS part, a.{quoted(sensitive)}::VARCHAR AS v, a.__who"
    duck.execute(f"CREATE OR REPLACE TEMP TABLE split AS {rows} FROM after a JOIN before b ON a.__row = b.__row JOIN told t ON {same}")
    people = "count(DISTINCT __who)"
    share = f"SELECT class, max(n) / sum(n) AS share FROM (SELECT class, v, {people} AS n FROM split GROUP BY ALL) GROUP BY class"  # noqa: S608
    sizes = f"SELECT class, {people} AS size FROM split GROUP BY class"  # noqa: S608
    groups = f"SELECT part, any_value(class) AS class, {people} AS size FROM split GROUP BY part"  # noqa: S608
    chosen = (
        f"SELECT g.part, g.size, s.share FROM ({groups}) g JOIN ({sizes}) c ON g.class = c.class JOIN ({share}) s ON s.class = g.class "  # noqa: S608
        f"WHERE g.size >= {k} AND g.size < c.size"
    )
    cells = f"SELECT part, v, {people} AS n FROM split GROUP BY ALL"  # noqa: S608
    query = f"SELECT c.part, g.size, g.share, c.v, c.n FROM ({cells}) c JOIN ({chosen}) g ON c.part = g.part ORDER BY c.part"  # noqa: S608
    found = duck.sql(query).to_arrow_table()
    total = np.zeros(4)
    first, number = np.unique(found["part"].to_numpy(), return_index=True, return_inverse=True)[1:]
    size, shares, n = (found[name].to_numpy() for name in ("size", "share", "n"))
    code = pc.index_in(found["v"].combine_chunks(), pa.array(known.values, pa.string())).to_numpy(zero_copy_only=False)
    step = max(1, _CELLS // max(len(known.values), 1))
    for start in range(0, len(first), step):
        here = (number >= start) & (number < start + step)
        counts = np.zeros((min(step, len(first) - start), len(known.values)), np.int64)
        np.add.at(counts, (number[here] - start, code[here].astype(np.int64)), n[here])
        fails = ~np.logical_and.reduce([model.holds(counts, known.whole) for model in models])
        of = first[start : start + step]
        total += [size[of].sum(), size[of][fails].sum(), (size[of] * shares[of])[fails].sum(), 0]
        total[3] += (size[of] * counts.max(axis=1) / np.maximum(counts.sum(axis=1), 1))[fails].sum()
    return tuple(total.tolist())


def _together(found: Sequence[tuple[float, ...]], everybody: int, columns: int) -> Minimality:
    candidates, failing, in_class, in_group = np.array(found or [(0.0,) * 4]).sum(axis=0).tolist()
    some = max(failing, 1.0)
    return Minimality(candidates / everybody / columns, failing / max(candidates, 1.0), in_class / some, in_group / some)
