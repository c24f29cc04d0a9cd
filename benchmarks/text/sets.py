"""The sets of texts that are measured: two that stand in the data folder, five that the maker writes, and those by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.text.maker import make
from benchmarks.text.retold import retell
from benchmarks.text.score import IGNORED
from benchmarks.text.written import EIGHTH, FIFTH, FILE, KEPT_BACK, SECOND, SEVENTH, SIXTH, THIRD, VISITS, written

Documents = list[dict[str, Any]]


@dataclass(frozen=True)
class Set:
    """read: (number of documents, seed) -> documents with id, text, spans and, for notes, record; ignored: labels that are no PHI here."""

    name: str
    about: str
    read: Callable[[int, int], Documents]
    ignored: frozenset[str] = IGNORED


def _file(name: str) -> Documents:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("ANONYMIZE_DATA", beside)) / "notes" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; set ANONYMIZE_DATA to the folder of real data")
    return list(read_jsonl(path))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The documents of a file, one JSON object a line."""
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


#: Jobs, nationalities and religions are not among HIPAA's identifiers.
GENERAL = IGNORED | {"TITLE", "NRP"}

SETS = {
    one.name: one
    for one in (
        Set("clin_dev", "role-played visits (ACI-Bench), surrogate PHI; rules were tuned on it", lambda *_: _file("clin_dev.jsonl")),
        Set("dev", "made notes, the forms that rules may be tuned on", lambda n, seed: make("dev", n, seed)),
        Set("holdout", "made notes; new names; half of the forms and sentences unknown to dev", lambda n, seed: make("holdout", n, seed)),
        Set("natural", "made notes; new names; all forms as often as hospitals write them", lambda n, seed: make("natural", n, seed)),
        Set("retold", "the text of clin_dev with new PHI, forms as in natural", lambda n, seed: retell(_file("clin_dev.jsonl"), n, seed)),
        Set("questions", "clinicians' short questions, forms as in natural", lambda n, seed: make("natural", 2 * n, seed, ("question",))),
        Set("written", "clinical documents of sixty kinds, by one writer, without sight of rules or maker", lambda *_: written(FILE)),
        Set("written-2", "clinical documents by another such writer; rules and weights were then made from them", lambda *_: written(SECOND)),
        Set("written-3", "clinical documents by three more such writers; weights were then learnt from them", lambda *_: written(THIRD)),
        Set("written-5", "clinical documents by a seventh such writer; weights were then learnt from them", lambda *_: written(FIFTH)),
        Set("written-6", "clinical documents by an eighth such writer; weights were then learnt from them", lambda *_: written(SIXTH)),
        Set("written-7", "clinical documents by two more such writers; weights were then learnt from them", lambda *_: written(SEVENTH)),
        Set("written-8", "clinical documents by eight more such writers; weights were then learnt from them", lambda *_: written(EIGHTH)),
        Set("visits", "ordinary visits by another such writer, kept back: do not read them", lambda *_: written(VISITS)),
        Set("written-4", "clinical documents by a sixth such writer, kept back: do not read them", lambda *_: written(KEPT_BACK)),
        Set("general", "general sentences (presidio-research)", lambda *_: _file("presidio_research_v2.jsonl"), GENERAL),
    )
}
