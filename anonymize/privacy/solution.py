"""What a search found, as something that can be applied to any batch of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import Hierarchy
from anonymize.privacy.lattice import Encoded, Node

SUPPRESSED = "__suppressed"
_SEPARATOR = "\x1f"
_NULL = "\x00"


@dataclass(frozen=True)
class Solution:
    """A level a column, and the classes that hold k.

    kept: the keys of the classes that are published, or None where all are; loss: mean loss in [0, 1]; k: the least number of subjects of a
    published class, by the search's own count; suppressed: records.
    """

    hierarchies: Mapping[str, Hierarchy]
    levels: Mapping[str, int]
    kept: pa.Array = field(repr=False)
    loss: float
    k: int
    classes: int
    suppressed: int

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


def make_solution(encoded: Encoded, hierarchies: Mapping[str, Hierarchy], node: Node, kept: np.ndarray, loss: float, k: int) -> Solution:
    """Turn a node and the tuples that it keeps into a solution. k: what was asked for."""
    levels = dict(zip(encoded.columns, node, strict=True))
    if not len(kept):
        return Solution(hierarchies, levels, pa.array([], pa.string()), 0.0, 0, 0, 0)
    classes = encoded.classes(node)
    sizes = encoded.sizes(classes)
    held = sizes[sizes >= k]
    reached = int(held.min()) if len(held) else 0
    suppressed = round(float(encoded.rows[~kept].sum()))
    return Solution(hierarchies, levels, _keys(encoded, classes, kept, node), loss, reached, len(held), suppressed)


def _keys(encoded: Encoded, classes: np.ndarray, kept: np.ndarray, node: Node) -> pa.Array:
    """The key of each kept class, from one tuple of it."""
    _, first = np.unique(classes[kept], return_index=True)
    tuples = encoded.codes[kept][first]
    columns = [encoded.labels[c][level].take(pa.array(tuples[:, c])) for c, level in enumerate(node)]
    return class_keys(columns, len(tuples))
