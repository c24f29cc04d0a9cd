"""The leak gate: is any identifier of any subject left in what is about to be published? One hit stops the release.

It is the referee: it shares no code with detection. Every column is read, texts and cells, numbers and dates, whatever its role; of base64,
RTF, HTML and XML what stands in it. A hit is

1. a subject's own identifier in one of that subject's rows: names (each word of them; White and Hope only where they are written as names),
   numbers of five digits and more in any grouping, addresses, codes, dates of birth and death in any form; or
2. an identifier that is distinctive by itself, in anybody's row: full names, numbers of six digits and more (if there are more
   hits than chance explains), e-mail and street addresses, codes.

In a column that is not free text a name is no hit where at least k - 1 subjects who do *not* bear it have it in that column as well:
`White` in a race column is a race. A column of surnames never passes so, for those who have `Smith` in it are called Smith.
A city, a ZIP code or a day of birth in a quasi-identifier is shared by k subjects, which is the k-anonymity gate's to prove; a name or a
number there is a hit.
A day is no proof where dates were shifted, since a shifted date can fall on a birthday by chance: in texts and shifted columns a day counts
where a word of birth or death stands before it, or where more rows have one than chance explains.

Results hold counts and row positions, never a value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from anonymize.errors import StepFailed, without_values
from anonymize.policy.model import Method, Policy, Role
from anonymize.validate.column import ColumnSearch
from anonymize.validate.extract import owner_hashes
from anonymize.validate.needles import Needles


@dataclass(frozen=True)
class Leak:
    """Identifiers of one kind in one column. rows: how many rows; own: whether they are the rows' own subjects'; first: the positions of
    the first few rows in the table, from 0."""

    table: str
    column: str
    kind: str
    rows: int
    own: bool
    first: tuple[int, ...] = ()

    def counts(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "first": list(self.first)}

    def __str__(self) -> str:
        whose = "their own subject's" if self.own else "another subject's"
        places = ", ".join(f"{row:,}" for row in self.first)
        return f"{self.table}.{self.column}: {whose} {self.kind} in {self.rows:,} row{'s' * (self.rows != 1)} (positions {places})"


@dataclass(frozen=True)
class Columns:
    """What the gate must know of a table's columns. text: free text; shifted: dates, or texts whose dates, were moved; allowed: the only
    values that the policy lets a column hold, which are nobody's; quasi: quasi-identifiers, in which a place or a day is the k-anonymity
    gate's to judge, since k subjects share each combination."""

    text: frozenset[str] = frozenset()
    shifted: frozenset[str] = frozenset()
    allowed: Mapping[str, Collection[str]] = field(default_factory=dict)
    quasi: frozenset[str] = frozenset()

    @classmethod
    def of(cls, policy: Policy, table: str) -> Columns:
        """As the policy has them, under their published names."""
        rules = {rule.rename or name: rule for name, rule in policy.tables[table].columns.items() if rule.leaves}
        text = frozenset(name for name, rule in rules.items() if rule.method is Method.SCRUB)
        moved = frozenset(name for name, rule in rules.items() if rule.method is Method.SHIFT)
        quasi = frozenset(name for name, rule in rules.items() if rule.role is Role.QUASI)
        moved |= text if policy.text.dates == "shift" else frozenset()
        return cls(text, moved, {name: rule.values for name, rule in rules.items() if rule.values is not None}, quasi)


def search(
    batches: Iterator[pa.RecordBatch],
    subjects: Iterator[pa.Array],
    needles: Needles,
    *,
    table: str,
    columns: Columns | None = None,
    k: int = 5,
) -> list[Leak]:
    """Search a table for every needle. One pass; memory does not grow with the rows.

    batches: the table as it is about to be published; subjects: in arrays of any lengths each row's subject (pseudonym; null where a row is
    about nobody). Empty where nothing was found.
    Raises StepFailed, without any value, where a column cannot be read, and where rows and subjects are not equally many.
    """
    known, whose, row = columns or Columns(), _Beside(subjects, f"leak gate {table}"), 0
    found: dict[str, ColumnSearch] = {}
    for batch in batches:
        owner = owner_hashes(whose.take(batch.num_rows), needles.hasher)
        for name in batch.schema.names:
            with without_values(f"leak gate {table}.{name}"):
                state = found.setdefault(name, ColumnSearch(table, name, needles, known, k))
                state.read(batch[name], owner, row)
        row += batch.num_rows
    whose.end()
    return [leak for state in found.values() for leak in state.leaks()]


class _Beside:
    """A stream of arrays, taken in other lengths than it comes in."""

    def __init__(self, arrays: Iterator[pa.Array], where: str) -> None:
        self._arrays, self._where, self._left = arrays, where, pa.array([], pa.string())

    def take(self, rows: int) -> pa.Array:
        """The next values, as many as there are rows."""
        parts = [self._left.cast(pa.string())]
        while sum(map(len, parts)) < rows:
            more = next(self._arrays, None)
            if more is None:
                raise StepFailed(f"{self._where}: fewer subjects than rows; stage the table again")
            parts.append(more.cast(pa.string()))
        whole = pa.concat_arrays(parts)
        self._left = whole.slice(rows)
        return whole.slice(0, rows)

    def end(self) -> None:
        """Raises StepFailed where values are left."""
        if len(self._left) or any(len(more) for more in self._arrays):
            raise StepFailed(f"{self._where}: more subjects than rows; stage the table again")
