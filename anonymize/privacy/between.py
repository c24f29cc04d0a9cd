"""In between: each part of the table, a region or a year, has one level a column throughout, and another part may have others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.base import ANY, Hierarchy
from anonymize.privacy.judge import Judge, SearchSettings
from anonymize.privacy.lattice import encode
from anonymize.privacy.models import columns_of
from anonymize.privacy.search import search_encoded
from anonymize.privacy.solution import SUPPRESSED, Solution, cut_short


@dataclass(frozen=True)
class PartsSolution:
    """A solution a part. column, level: what parts the table; parts: by the column's value at that level (None: null). The other fields as in
    `Solution`; a part that is not here is suppressed."""

    has_text: ClassVar[bool] = False
    hierarchies: Mapping[str, Hierarchy]
    column: str
    level: int
    parts: Mapping[str | None, Solution] = field(repr=False)
    loss: float
    k: int
    classes: int
    suppressed: int
    checks: int = 0
    gap: float = 0.0

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """As `Solution.apply`."""
        labels = (
            self.hierarchies[self.column].generalize(batch[self.column], self.level).cast(pa.string()).dictionary_encode(null_encoding="encode")
        )
        numbers, pieces, places = labels.indices.to_numpy(zero_copy_only=False), [], []
        for number, label in enumerate(labels.dictionary.to_pylist()):
            here = np.flatnonzero(numbers == number)
            rows = batch.take(pa.array(here))
            pieces.append(self.parts[label].apply(rows) if label in self.parts else self._gone(rows))
            places.append(here)
        if not pieces:
            return self._gone(batch)
        back = np.argsort(np.concatenate(places), kind="stable")
        return pa.Table.from_batches(pieces).take(pa.array(back)).combine_chunks().to_batches()[0]

    def _gone(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        top = pa.repeat(ANY, rows.num_rows)
        arrays = [top if name in self.hierarchies else rows[name] for name in rows.schema.names]
        return pa.RecordBatch.from_arrays([*arrays, pa.repeat(True, rows.num_rows)], names=[*rows.schema.names, SUPPRESSED])

    def counts(self) -> dict[str, Any]:
        """What may stand in a record: by column, the share of parts at each level."""
        levels: dict[str, dict[str, float]] = {name: defaultdict(float) for name in self.hierarchies}
        for part in self.parts.values():
            for name, level in part.levels.items():
                levels[name][self.hierarchies[name].levels[level]] += round(1 / len(self.parts), 4)
        return {
            "k": self.k,
            "classes": self.classes,
            "loss": round(self.loss, 6),
            "levels": {name: dict(shares) for name, shares in levels.items()},
            **cut_short(self.gap),
        }


def search_parts(
    tally: pa.Table, hierarchies: Mapping[str, Hierarchy], settings: SearchSettings, column: str, level: int = 0, *, subject: str | None = None
) -> PartsSolution:
    """Search each part by itself; within a part its column is no coarser than `level`, so that no class lies in two parts.

    The suppression budget holds in each part; a part that cannot hold what is asked within it is suppressed whole, and all that is suppressed
    must be within the budget of the whole. Raises AnonymizeError where it is not. What models compare with the table is the whole one.
    """
    encoded = encode(tally, hierarchies, settings.weights, subject, columns_of(settings.models))
    place = encoded.columns.index(column)
    groups, labels = encoded.groups[level], encoded.labels(hierarchies, place, level)
    leaves = np.arange(encoded.starts[place], encoded.starts[place + 1])
    numbers = groups[encoded.cells.codes[:, place]]
    highest = min(level, settings.max_levels.get(column, level))
    judge = Judge(encoded, replace(settings, max_levels={**settings.max_levels, column: highest}))
    parts: dict[str | None, Solution] = {}
    lost, least, gone, checks, total = 0.0, 0.0, 0, 0, encoded.total
    for number, first in zip(*np.unique(groups[leaves], return_index=True), strict=True):
        part = encoded.part(np.flatnonzero(numbers == number))
        ours = judge.of_part(part)
        ours.settings = replace(judge.settings, seconds=settings.seconds * part.total / max(total, 1))
        try:
            found = search_encoded(ours, hierarchies)
        except AnonymizeError:
            lost, least, gone = lost + part.total, least + part.total, gone + part.total
            continue
        parts[labels[int(first)].as_py()] = found
        least += found.loss * (1 - found.gap) * part.total
        lost, gone, checks = lost + found.loss * part.total, gone + found.suppressed, checks + found.checks
    if gone > int(settings.suppression * total + 1e-9):
        raise AnonymizeError(
            f"k = {settings.k} cannot be reached in each part by '{column}': {gone / total:.1%} of the records would be suppressed, and "
            f"{settings.suppression:.1%} may be. Part the table more coarsely, or allow more suppression"
        )
    smallest = min((part.k for part in parts.values() if part.classes), default=0)
    classes = sum(part.classes for part in parts.values())
    gap = 1 - least / lost if least < lost else 0.0
    return PartsSolution(hierarchies, column, level, parts, lost / max(total, 1), smallest, classes, gone, checks, gap)
