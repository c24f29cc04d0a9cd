"""Hierarchies of terminologies: ICD-10-CM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies.base import ANY
from anonymize.hierarchies.tools import checked, each, each_number, is_text, top


@dataclass(frozen=True)
class Icd10Cm:
    """ICD-10-CM diagnoses: the code, its category of three characters, its block, its chapter. Dots may be missing.

    Source: the tabular list of ICD-10-CM (CMS, CDC), from the package simple-icd-10-cm.
    """

    name: str = "icd-10-cm"
    levels: tuple[str, ...] = ("code", "category", "block", "chapter", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: (_ladder(v) or (None,))[0])))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: (ladder := _ladder(v)) and ladder[level]), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        return each_number(values, lambda v: 0.0 if (ladder := _ladder(v)) is None else (_leaves(ladder[level]) - 1) / (_all_leaves() - 1))


@cache
def _ladder(code: str) -> tuple[str, str, str, str] | None:
    """A code's own name, its category, block and chapter; None where there is no such code."""
    import simple_icd_10_cm as icd

    text = code.strip().upper()
    if not icd.is_valid_item(text):
        return None
    path = [text, *icd.get_ancestors(text)]
    category = next((item for item in path if icd.is_category(item)), None)
    block = next((item for item in path if icd.is_block(item)), None)
    if category is None or block is None:
        return None
    own = path[0] if "." in path[0] or len(path[0]) <= 3 else f"{path[0][:3]}.{path[0][3:]}"
    return own, category, block, f"chapter {path[-1]}"


@cache
def _leaves(item: str) -> int:
    import simple_icd_10_cm as icd

    below = icd.get_descendants(item.removeprefix("chapter "))
    return sum(icd.is_leaf(code) for code in below) or 1


@cache
def _all_leaves() -> int:
    import simple_icd_10_cm as icd

    return sum(icd.is_leaf(code) for code in icd.get_all_codes())
