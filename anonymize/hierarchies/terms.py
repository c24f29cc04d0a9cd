"""Hierarchies of terminologies: ICD-10-CM, ICD-9-CM, ATC."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

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


#: The chapters of ICD-9-CM by their categories (first, last); V and E stand beside. Source: ICD-9-CM tabular list, FY 2015 (CMS).
_ICD9_CHAPTERS = (
    (1, 139), (140, 239), (240, 279), (280, 289), (290, 319), (320, 389), (390, 459), (460, 519), (520, 579), (580, 629),
    (630, 679), (680, 709), (710, 739), (740, 759), (760, 779), (780, 799), (800, 999),
)  # fmt: skip
_ICD9 = re.compile(r"(?:(\d{1,3})|(V\d\d)|(E\d{3}))(?:\.(\d{1,2}))?")
_ICD9_CODES, _ICD9_A_CATEGORY = 14_567, 12


@dataclass(frozen=True)
class Icd9Cm:
    """ICD-9-CM diagnoses: the code, its category (three digits; `V58`, `E885`), its chapter as a range of categories.

    Leading zeros may be missing (`8` is 008). No list of codes is held, so every code of the right form is covered, and a category's loss is
    that of the mean category: 12 of 14,567 codes.
    """

    name: str = "icd-9-cm"
    levels: tuple[str, ...] = ("code", "category", "chapter", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: (_ladder9(v) or (None,))[0])))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: (ladder := _ladder9(v)) and ladder[level]), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        return each_number(values, lambda v: 0.0 if (ladder := _ladder9(v)) is None else _loss9(ladder, level))


@cache
def _ladder9(code: str) -> tuple[str, str, str] | None:
    found = _ICD9.fullmatch(code.strip().upper())
    if found is None:
        return None
    number, v, e, rest = found.groups()
    category = f"{int(number):03}" if number else v or e
    chapter = next((f"{low:03}-{high:03}" for low, high in _ICD9_CHAPTERS if number and low <= int(number) <= high), None)
    chapter = chapter or ("V01-V91" if v else "E000-E999" if e else None)
    return None if chapter is None else (f"{category}.{rest}" if rest else category, category, chapter)


def _loss9(ladder: tuple[str, str, str], level: int) -> float:
    low, high = (int(end.lstrip("VE")) for end in ladder[2].split("-"))
    leaves = (1, _ICD9_A_CATEGORY, _ICD9_A_CATEGORY * (high - low + 1))[level]
    return (leaves - 1) / (_ICD9_CODES - 1)


_ATC = re.compile(r"[A-Z](?:\d\d(?:[A-Z](?:[A-Z](?:\d\d)?)?)?)?")
#: Signs of a code at each level, and the mean number of substances under it: the index has some 6,000 in 14, 94, 270 and 900 groups (WHO).
_ATC_SIGNS, _ATC_LEAVES, _ATC_SUBSTANCES = (7, 5, 4, 3, 1), (1, 6.7, 22, 64, 430), 6_000


@dataclass(frozen=True)
class Atc:
    """ATC codes of medicines: the substance, its chemical, pharmacological and therapeutic subgroup, its anatomical group.

    Every code of the right form is covered; a shorter one is a group already, and stays as it is down to its own level. A group's loss is
    that of the mean group of its level.
    """

    name: str = "atc"
    levels: tuple[str, ...] = ("substance", "chemical subgroup", "pharmacological subgroup", "therapeutic subgroup", "anatomical group", ANY)

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, _atc)))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: (code := _atc(v)) and code[: _ATC_SIGNS[level]]), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level == len(self.levels) - 1:
            return np.ones(len(values))
        leaves = dict(zip(_ATC_SIGNS, _ATC_LEAVES, strict=True))
        return each_number(values, lambda v: (leaves[min(len(_atc(v) or "A01AA01"), _ATC_SIGNS[level])] - 1) / (_ATC_SUBSTANCES - 1))


def _atc(code: str) -> str | None:
    text = code.strip().upper()
    return text if _ATC.fullmatch(text) else None


#: CLASSTYPE of LOINC's own table. Source: LOINC Users' Guide.
_CLASS_TYPES = {"1": "laboratory", "2": "clinical", "3": "claims attachments", "4": "surveys"}


@dataclass(frozen=True)
class Loinc:
    """LOINC codes by a site's own copy of LOINC's table: the code, its class (`CHEM`), the class's type.

    rows: code -> class, type. The table cannot be had without LOINC's licence, so none is held here: `Loinc.csv` or `LoincTableCore.csv` of
    a release has it, with the columns LOINC_NUM, CLASS and CLASSTYPE. Source: loinc.org.
    """

    rows: dict[str, tuple[str, str]] = field(repr=False)
    name: str = "loinc"
    levels: tuple[str, ...] = ("code", "class", "class type", ANY)

    @classmethod
    def load(cls, file: Path) -> Loinc:
        """Read a table. Raises ValueError where a column is not there."""
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = {"LOINC_NUM", "CLASS", "CLASSTYPE"} - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"the file has no column {', '.join(sorted(missing))}: take Loinc.csv or LoincTableCore.csv of a LOINC release")
            types: dict[str, str] = {}
            rows = {}
            for row in reader:
                # A class has one type, the first that is met: else a coarser level would tell more than a finer one.
                type = types.setdefault(row["CLASS"], _CLASS_TYPES.get(row["CLASSTYPE"], "other"))
                rows[row["LOINC_NUM"].strip()] = (row["CLASS"], type)
        if not rows:
            raise ValueError("the file has no codes")
        return cls(rows, f"loinc:{file.name}")

    def __hash__(self) -> int:
        return hash((self.name, len(self.rows)))

    def accepts(self, type: pa.DataType) -> bool:
        return is_text(type)

    def covers(self, values: pa.Array) -> pa.Array:
        return pc.or_(pc.is_null(values), pc.is_valid(each(values, lambda v: self._shown(v, 0))))

    def generalize(self, values: pa.Array, level: int) -> pa.Array:
        if level == len(self.levels) - 1:
            return top(values)
        return checked(values, each(values, lambda v: self._shown(v, level)), self.name)

    def loss(self, values: pa.Array, level: int) -> np.ndarray:
        if level in (0, len(self.levels) - 1):
            return np.full(len(values), float(level > 0))
        under = Counter(row[level - 1] for row in self.rows.values())
        return each_number(values, lambda v: (under[self._shown(v, level) or ""] - 1) / max(len(self.rows) - 1, 1))

    def _shown(self, value: str, level: int) -> str | None:
        code = value.strip()
        row = self.rows.get(code)
        return None if row is None else (code, *row)[level]


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
