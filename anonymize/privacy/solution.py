"""What a search found, as something that can be applied to any batch of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    published class, by the search's own count; suppressed: records; checks: nodes of the lattice that were counted.
    """

    hierarchies: Mapping[str, Hierarchy]
    levels: Mapping[str, int]
    kept: Tuples = field(repr=False)
    loss: float
    k: int
    classes: int
    suppressed: int
    checks: int = 0

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its quasi-identifiers generalized (strings), and `__suppressed`: bool. A class that the search has not seen is
        suppressed: closed by default."""
        generalized = {name: self.hierarchies[name].generalize(batch[name], level) for name, level in self.levels.items()}
        arrays = [generalized.get(name, batch[name]) for name in batch.schema.names]
        suppressed = pa.array(self.kept.find(list(generalized.values()), batch.num_rows) < 0)
        return pa.RecordBatch.from_arrays([*arrays, suppressed], names=[*batch.schema.names, SUPPRESSED])

    def counts(self) -> dict[str, Any]:
        """What may stand in a record."""
        levels = {name: self.hierarchies[name].levels[level] for name, level in self.levels.items()}
        return {"k": self.k, "classes": self.classes, "loss": round(self.loss, 6), "levels": levels}


def empty_solution(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], node: Node) -> Solution:
    """Of a table without records: nothing is published."""
    return Solution(hierarchies, dict(zip(encoded.columns, node, strict=True)), Tuples([pa.array([], pa.string())] * len(node)), 0.0, 0, 0, 0)


def make_solution(judge: Judge, hierarchies: Mapping[str, Hierarchy], verdict: Verdict) -> Solution:
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
    return Solution(hierarchies, levels, keys, loss, reached, int(occupied.sum()), verdict.suppressed, judge.checks)


def _keys(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], ids: np.ndarray, count: int, kept: np.ndarray, node: Node) -> Tuples:
    """The kept classes, each from one tuple of it."""
    from anonymize.privacy import kernels

    tuples = encoded.cells.codes[kernels.first_of_each(ids, count)[kept]] - encoded.starts[:-1].astype(np.int32)
    columns = [encoded.labels(hierarchies, c, level).take(pa.array(tuples[:, c])) for c, level in enumerate(node)]
    return Tuples(columns)
