"""How a value becomes less precise. `build` makes a hierarchy from the words of a policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from rapidfuzz import process

from anonymize.hierarchies.base import ANY, Hierarchy
from anonymize.hierarchies.dates import BirthYear, Calendar, Weeks
from anonymize.hierarchies.drawn import MicroAggregate, Quantiles
from anonymize.hierarchies.numbers import Ages, Coded, Ranges
from anonymize.hierarchies.places import Country, State, ZipState
from anonymize.hierarchies.tables import CsvHierarchy
from anonymize.hierarchies.terms import Atc, Icd9Cm, Icd10Cm, Loinc
from anonymize.hierarchies.texts import Flat, Mask, Ordered, Zip, Zip3

__all__ = ["ANY", "Hierarchy", "build", "data_drawn", "drawn", "names"]

#: Name -> (how it is made from its argument, how it is written in a policy).
_MAKERS: dict[str, tuple[Callable[[str, Path], Hierarchy], str]] = {
    "flat": (lambda _a, _f: Flat(), "flat"),
    "age": (lambda _a, _f: Ages(), "age"),
    "date": (lambda _a, _f: Calendar(), "date"),
    "week": (lambda _a, _f: Weeks(), "week"),
    "birth-year": (lambda a, _f: BirthYear.parse(a), "birth-year"),
    "us-zip": (lambda _a, _f: Zip(), "us-zip"),
    "us-zip3": (lambda a, f: Zip3.load(f / a) if a else Zip3(), "us-zip3"),
    "us-zip-state": (lambda _a, _f: ZipState(), "us-zip-state"),
    "us-state": (lambda _a, _f: State(), "us-state"),
    "country": (lambda _a, _f: Country(), "country"),
    "icd-10-cm": (lambda _a, _f: Icd10Cm(), "icd-10-cm"),
    "icd-9-cm": (lambda _a, _f: Icd9Cm(), "icd-9-cm"),
    "atc": (lambda _a, _f: Atc(), "atc"),
    "loinc": (lambda a, f: Loinc.load(f / a), "loinc:FILE"),
    "ordered": (lambda a, _f: Ordered.parse(a), "ordered:none<mild<moderate<severe"),
    "ranges": (lambda a, _f: Ranges.parse(a), "ranges:0..120:5,10,20"),
    "quantiles": (lambda a, _f: Quantiles.parse(a), "quantiles:20,10,5"),
    "microaggregate": (lambda a, _f: MicroAggregate.parse(a), "microaggregate:5"),
    "coded": (lambda a, _f: Coded.parse(a), "coded:18..89"),
    "mask": (lambda a, _f: Mask.parse(a), "mask:5"),
    "csv": (lambda a, f: CsvHierarchy.load(f / a), "csv:FILE"),
}

#: Those that may also be written with an argument: `us-zip3:FILE`, `birth-year:2026`.
MAY_TAKE = frozenset({"us-zip3", "birth-year"})
_DRAWN = frozenset({"quantiles", "microaggregate"})


def names() -> list[str]:
    """How each hierarchy is written in a policy."""
    return [words for _, words in _MAKERS.values()]


def data_drawn(name: str) -> bool:
    """Whether the groups of a hierarchy, as a policy names it, come from the data's own values."""
    return name.partition(":")[0] in _DRAWN


def drawn(hierarchy: Hierarchy, values: pa.Array, subjects: np.ndarray) -> Hierarchy:
    """The hierarchy itself, or where its groups come from the data, what it is for these. values: distinct; subjects: int64, how many
    have each."""
    return hierarchy.drawn_from(values, subjects) if isinstance(hierarchy, Quantiles | MicroAggregate) else hierarchy


def build(name: str, folder: Path = Path(".")) -> Hierarchy:
    """The hierarchy that a policy names; a file is relative to `folder`.

    Raises ValueError that names the nearest one, or says what the argument must be.
    """
    word, _, argument = name.partition(":")
    if word not in _MAKERS:
        near = process.extractOne(word, list(_MAKERS), score_cutoff=60)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"no hierarchy '{word}'.{hint} Known: {', '.join(names())}")
    maker, words = _MAKERS[word]
    try:
        return maker(argument, folder)
    except OSError as error:
        raise ValueError(f"hierarchy '{name}' cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"hierarchy '{name}': {error}. It is written '{words}'") from None
