"""Role-played visits told anew: the clinical text of `clin_dev.jsonl` with other people, numbers and forms in the place of its PHI."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from benchmarks.text.grammar import Piece, pick
from benchmarks.text.maker import Note

KEPT = frozenset({"AGE", "YEAR", "AGE_OVER_89"})
ROLES = (("pt", ("given", "family")), ("rel", ("relative",)), ("doc", ("provider",)))
FORMS = {"HOSPITAL": "new:facility_new", "EMAIL": "email", "LOCATION": "new:told_city", "STATE": "new:told_state", "ZIP": "new:told_zip"}
FORMS |= {"ADDRESS": "new:told_address", "ORG": "org"}
TITLE = re.compile(r"(?i)\b(mr|mrs|ms|miss|dr|doctor)\.?\s*$")
BIRTH = re.compile(r"(?i)\b(dob|born|birth)[^\n]{0,12}$")


def retell(documents: Sequence[dict[str, Any]], n: int, seed: int, *, split: str = "natural") -> list[dict[str, Any]]:
    """n visits, each with new PHI in forms of a split, and with some sentences more that hold PHI; the same for the same seed."""
    told = []
    for number in range(n):
        document = documents[number % len(documents)]
        note = Note(split, random.Random(f"retold {split} {seed} {number}"), "retold")
        told.append(note.finished(_pieces(document, note), f"retold{seed}-{number:04d}"))
    return told


def _pieces(document: dict[str, Any], note: Note) -> list[Piece]:
    text, pieces, position = document["text"], [], 0
    for span in sorted(document["spans"], key=lambda span: span["start"]):
        pieces += _between(text[position : span["start"]], note)
        pieces += _new(text, span, document["record"], note)
        position = span["end"]
    return pieces + _between(text[position:], note)


def _between(text: str, note: Note) -> list[Piece]:
    """Clinical text, and here and there at a paragraph's end a sentence that holds PHI."""
    pieces: list[Piece] = []
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            if note.rng.random() < note.rate / 2:
                pieces += [Piece(" "), *note.expand(pick("phi", note.split, note.rng), "phi")]
            pieces.append(Piece("\n\n"))
        pieces.append(Piece(paragraph))
    return pieces


def _new(text: str, span: dict[str, Any], record: dict[str, str], note: Note) -> list[Piece]:
    told, before = text[span["start"] : span["end"]], text[max(0, span["start"] - 24) : span["start"]]
    if span["label"] in KEPT:
        return [Piece(told, span["label"], "told")]
    if span["label"] == "NAME":
        return _name(told, before, record, note)
    if span["label"] == "DATE":
        bank = "date_full" if re.search(r"\d{4}|\d\W\d+\W\d", told) else "date_partial"
        return note.slot(f"{'dob' if BIRTH.search(before) else 'past'}:{bank}", "")
    if span["label"] == "PHONE" and len(told) > 6:
        return note.slot("own:phone" if record["phone"] == told else "new:phone", "")
    if span["label"] in FORMS:
        return note.slot(FORMS[span["label"]], "")
    shaped = "".join(str(note.rng.randint(0, 9)) if c.isdigit() else note.rng.choice("ABCDEFGHJKLM") if c.isalpha() else c for c in told)
    return [Piece(shaped, span["label"], "told")]


def _name(told: str, before: str, record: dict[str, str], note: Note) -> list[Piece]:
    words = set(re.findall(r"\w+", told.lower()))
    theirs = {role: {word for key in keys for word in re.findall(r"\w+", record[key].lower())} for role, keys in ROLES}
    role = max(theirs, key=lambda role: len(words & theirs[role]))
    role = role if words & theirs[role] else "other"
    if TITLE.search(before) and len(words) == 1:
        return note.slot(f"{role}:told_family", "")
    return note.slot(f"{role}:{'nickname' if len(words) == 1 else 'name_header' if told.isupper() else 'told_full'}", "")
