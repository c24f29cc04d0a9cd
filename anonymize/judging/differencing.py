"""What two releases of one dataset tell together: who was added, who has gone, whose class has changed.

Somebody who holds both can join them by any id that stays the same. The one person who was added between them stands alone, whatever k each
release holds by itself. So the joined releases are looked at as the release that they are: over all versions, the subjects of each combination
of what is published of them, absence included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.dataset as ds

from anonymize.policy import memory


@dataclass(frozen=True)
class Seen:
    """A table as one version publishes it. id: the column that names the subject in all versions; quasi: the columns that are known."""

    rows: ds.Dataset
    id: str
    quasi: tuple[str, ...]


@dataclass(frozen=True)
class Differences:
    """Of the subjects of this release and of those before. changed: in the last and in this one, with other rows; smallest: subjects of the
    rarest combination over all versions; short: subjects in combinations of fewer than k. linked: no version shares an id where False."""

    linked: bool
    added: int = 0
    removed: int = 0
    changed: int = 0
    smallest: int = 0
    short: int = 0


def differences(now: Seen, earlier: Sequence[Seen], k: int, scratch: Path) -> Differences:
    """This release against the earlier ones, oldest first (one at least). scratch: private, for what does not fit into memory."""
    duck = duckdb.connect(config={"memory_limit": memory.counting(), "temp_directory": str(scratch)})
    duck.execute("SET enable_progress_bar = false")
    last = len(earlier)
    for number, seen in enumerate([*earlier, now]):
        duck.register(f"rows{number}", seen.rows)
        known = ", ".join(_quoted(name) for name in seen.quasi)
        text = f"to_json(row({known}))::VARCHAR" if seen.quasi else "''"
        query = f"SELECT DISTINCT {_quoted(seen.id)}::VARCHAR AS who, {text} AS seen FROM rows{number} WHERE {_quoted(seen.id)} IS NOT NULL"  # noqa: S608
        duck.execute(f"CREATE TABLE v{number} AS {query}")
    shared = _one(duck, f"SELECT count(*) FROM (SELECT who FROM v{last} INTERSECT SELECT who FROM v{last - 1})")  # noqa: S608
    if not shared:
        return Differences(linked=False)
    per = "SELECT who, list_sort(list(seen)) AS all_seen FROM v{} GROUP BY who"
    changed = f"SELECT count(*) FROM ({per.format(last)}) a JOIN ({per.format(last - 1)}) b USING (who) WHERE a.all_seen != b.all_seen"  # noqa: S608
    joined = f"SELECT who, {', '.join(f'v{n}.seen AS s{n}' for n in range(last + 1))} FROM v0"  # noqa: S608
    joined += "".join(f" FULL JOIN v{n} USING (who)" for n in range(1, last + 1))
    keys = ", ".join(f"s{n}" for n in range(last + 1))
    duck.execute(f"CREATE TABLE classes AS SELECT {keys}, count(DISTINCT who) AS n FROM ({joined}) GROUP BY {keys}")  # noqa: S608
    few = f"SELECT {keys} FROM classes WHERE n < {k}"  # noqa: S608
    match = " AND ".join(f"j.s{n} IS NOT DISTINCT FROM f.s{n}" for n in range(last + 1))
    return Differences(
        linked=True,
        added=_one(duck, f"SELECT count(DISTINCT who) FROM v{last} WHERE who NOT IN (SELECT who FROM v{last - 1})"),  # noqa: S608
        removed=_one(duck, f"SELECT count(DISTINCT who) FROM v{last - 1} WHERE who NOT IN (SELECT who FROM v{last})"),  # noqa: S608
        changed=_one(duck, changed),
        smallest=_one(duck, "SELECT min(n) FROM classes"),
        short=_one(duck, f"SELECT count(DISTINCT who) FROM ({joined}) j JOIN ({few}) f ON {match}"),  # noqa: S608
    )


def _one(duck: duckdb.DuckDBPyConnection, query: str) -> int:
    row = duck.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
