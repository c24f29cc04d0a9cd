"""How a value becomes less precise.

A hierarchy has levels, finest first; level 0 is the value itself (in the hierarchy's canonical spelling), the last is `*`. Levels are
drawn on demand for the values that the data holds, so a terminology of 100,000 codes costs what the data uses.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

ANY = "*"
"""The top of every hierarchy, and what stands in a suppressed cell."""


class Hierarchy(Protocol):
    """One column's ladder of precision. Implementations are frozen, picklable and pure."""

    @property
    def name(self) -> str:
        """As in a policy."""
        ...

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels' names, finest first (`5 digits`, `3 digits`, `*`); the last is `*`."""
        ...

    def accepts(self, type: pa.DataType) -> bool:
        """Whether values of this Arrow type can be generalized (an age hierarchy takes integers, a date hierarchy dates)."""
        ...

    def covers(self, values: pa.Array) -> pa.Array:
        """bool, length n: whether each value is in the hierarchy. Null is covered."""
        ...

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        """string, length n: each value at a level. Null stays null below the top and is `*` at the top. Raises ValueError, without the
        value, where a value is not covered."""
        ...

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        """float64, length n, in [0, 1]: the information lost by each value at a level, (leaves under it - 1) / (leaves - 1); 1 at the top.

        Source: Iyengar (2002), Transforming data to satisfy privacy constraints; the loss of ARX's `LM` metric.
        """
        ...
