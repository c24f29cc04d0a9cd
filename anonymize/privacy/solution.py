"""What a search found, as something that can be applied to any batch of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import Hierarchy
from anonymize.privacy.judge import Judge, Verdict
from anonymize.privacy.lattice import Encoded, Node

SUPPRESSED = "__suppressed"
_SEPARATOR = "\x1f"
_NULL = "\x00"


@dataclass(frozen=True)
class Solution:
    """A level a column, and the classes that hold.

    kept: the keys of the classes that are published; loss: mean loss in [0, 1]; k: the least number of subjects of a
    published class, by the search's own count; suppressed: records; checks: nodes of the lattice that were counted.
    """

    hierarchies: Mapping[str, Hierarchy]
    levels: Mapping[str, int]
    kept: pa.Array = field(repr=False)
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
        suppressed = pc.invert(pc.is_in(class_keys(list(generalized.values()), batch.num_rows), self.kept))
        return pa.RecordBatch.from_arrays([*arrays, suppressed], names=[*batch.schema.names, SUPPRESSED])

    def counts(self) -> dict[str, Any]:
        """What may stand in a record."""
        levels = {name: self.hierarchies[name].levels[level] for name, level in self.levels.items()}
        return {"k": self.k, "classes": self.classes, "loss": round(self.loss, 6), "levels": levels}


def class_keys(columns: list[pa.Array], rows: int) -> pa.Array:
    """One text a record that is equal for equal tuples and for no others; null is a value of its own."""
    if not columns:
        return pa.repeat("", rows)
    # A value that holds the separator or begins like a null must not fall together with another tuple.
    texts = [pc.fill_null(pc.binary_join_element_wise("v", _escaped(column), ""), _NULL) for column in columns]
    return pc.binary_join_element_wise(*texts, _SEPARATOR)


def _escaped(column: pa.Array) -> pa.Array:
    return pc.replace_substring(pc.replace_substring(column, "\x1e", "\x1e\x1e"), _SEPARATOR, "\x1eu")


def empty_solution(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], node: Node) -> Solution:
    """Of a table without records: nothing is published."""
    return Solution(hierarchies, dict(zip(encoded.columns, node, strict=True)), pa.array([], pa.string()), 0.0, 0, 0, 0)


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


def _keys(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], ids: np.ndarray, count: int, kept: np.ndarray, node: Node) -> pa.Array:
    """The key of each kept class, from one tuple of it."""
    from anonymize.privacy import kernels

    tuples = encoded.cells.codes[kernels.first_of_each(ids, count)[kept]] - encoded.starts[:-1].astype(np.int32)
    columns = [encoded.labels(hierarchies, c, level).take(pa.array(tuples[:, c])) for c, level in enumerate(node)]
    return class_keys(columns, len(tuples))
