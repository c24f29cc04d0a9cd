"""What a search found, as something that can be applied to any batch of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from anonymize.hierarchies.base import Hierarchy
from anonymize.privacy.judge import Judge, Verdict
from anonymize.privacy.lattice import Encoded, Node
from anonymize.privacy.tuples import Tuples

SUPPRESSED = "__suppressed"


@dataclass(frozen=True)
class Solution:
    """A level a column, and the classes that hold.

    kept: the classes that are published; loss: mean loss in [0, 1]; k: the least number of subjects of a
    published class, by the search's own count; suppressed: records; checks: nodes of the lattice that were counted; gap: the share by which the
    least loss may be under this one, where the budget ended the search.
    """

    has_text: ClassVar[bool] = False
    hierarchies: Mapping[str, Hierarchy]
    levels: Mapping[str, int]
    kept: Tuples = field(repr=False)
    loss: float
    k: int
    classes: int
    suppressed: int
    checks: int = 0
    gap: float = 0.0

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its quasi-identifiers generalized (strings), and `__suppressed`: bool. A class that the search has not seen is
        suppressed: closed by default."""
        return apply_levels(batch, self.hierarchies, self.levels, self.kept)

    def counts(self) -> dict[str, Any]:
        """What may stand in a record."""
        levels = {name: self.hierarchies[name].levels[level] for name, level in self.levels.items()}
        return {"k": self.k, "classes": self.classes, "loss": round(self.loss, 6), "levels": levels, **cut_short(self.gap)}


def cut_short(gap: float) -> dict[str, str]:
    """What a record says of a search that its budget ended."""
    return {"cut": f"the budget ended the search: the least loss may be up to {gap:.1%} under this one"} if gap else {}


def apply_levels(
    batch: pa.RecordBatch, hierarchies: Mapping[str, Hierarchy], levels: Mapping[str, int], kept: Tuples, about: Sequence[str] = ()
) -> pa.RecordBatch:
    """The batch with each column at its level (strings), and `__suppressed`: bool, where the tuple, led by the columns of `about`, is not
    kept."""
    generalized = {name: hierarchies[name].generalize(batch[name], level) for name, level in levels.items()}
    arrays = [generalized.get(name, batch[name]) for name in batch.schema.names]
    found = kept.find([*(batch[name] for name in about), *generalized.values()], batch.num_rows)
    return pa.RecordBatch.from_arrays([*arrays, pa.array(found < 0)], names=[*batch.schema.names, SUPPRESSED])


def empty_solution(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], node: Node) -> Solution:
    """Of a table without records: nothing is published."""
    return Solution(hierarchies, dict(zip(encoded.columns, node, strict=True)), Tuples([pa.array([], pa.string())] * len(node)), 0.0, 0, 0, 0)


def make_solution(judge: Judge, hierarchies: Mapping[str, Hierarchy], verdict: Verdict, gap: float = 0.0) -> Solution:
    """Turn the verdict on the best node into a solution."""
    encoded = judge.encoded
    ids, count = encoded.classes(verdict.node)
    sizes = encoded.sizes(ids, count)
    _, good, _ = judge.good(ids, count, sizes)
    occupied = good & (np.bincount(ids, encoded.cells.rows, count) > 0)
    reached = int(sizes[occupied].min()) if occupied.any() else 0
    levels = dict(zip(encoded.columns, verdict.node, strict=True))
    keys = _keys(encoded, hierarchies, ids, count, occupied, verdict.node)
    loss = verdict.loss / encoded.total / encoded.weight
    return Solution(hierarchies, levels, keys, loss, reached, int(occupied.sum()), verdict.suppressed, judge.checks, gap)


def _keys(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], ids: np.ndarray, count: int, kept: np.ndarray, node: Node) -> Tuples:
    """The kept classes, each from one tuple of it."""
    from anonymize.privacy import kernels

    tuples = encoded.cells.codes[kernels.first_of_each(ids, count)[kept]] - encoded.starts[:-1].astype(np.int32)
    columns = [encoded.labels(hierarchies, c, level).take(pa.array(tuples[:, c])) for c, level in enumerate(node)]
    return Tuples(columns)
