"""Clinical documents written by hand, their PHI marked as `[[LABEL|text]]`; no rule and no maker stood behind them.

Each was written by one who had seen neither rules nor made notes nor the others' documents: `written.txt` 60 by the first such writer,
`written_2.txt` 108 by the second, `written_3.txt` 218 by three more, `written_5.txt` 65 by a seventh, `written_6.txt` 98 by an eighth,
`written_7.txt` 200 by two more, `written_8.txt` 812 by eight more (wards; lives outside of them; haste; letters and forms; towns, and short
questions; small letters; visits; technicians).

Kept back are `written_4.txt` (80 by the sixth writer) and `visits.txt` (60 ordinary visits by the last): nothing was learnt from them, and
whoever writes rules does not read them. `sentences.txt` is no set: its sentences were written for `learn.py`, with the places where names of
employers and facilities stand, and with medicine that looks like names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("written.txt")
SECOND = Path(__file__).with_name("written_2.txt")
THIRD = Path(__file__).with_name("written_3.txt")
FIFTH = Path(__file__).with_name("written_5.txt")
SIXTH = Path(__file__).with_name("written_6.txt")
SEVENTH = Path(__file__).with_name("written_7.txt")
EIGHTH = Path(__file__).with_name("written_8.txt")
KEPT_BACK = Path(__file__).with_name("written_4.txt")
VISITS = Path(__file__).with_name("visits.txt")
SENTENCES = Path(__file__).with_name("sentences.txt")
MARK = re.compile(r"\[\[([A-Z][A-Z_0-9]*)\|([^\[\]|]+)\]\]")


def written(path: Path = FILE) -> list[dict[str, Any]]:
    """The documents as `score` takes them: id, record, text and spans (offsets in code points of the text without marks).

    A file is documents, each headed by a line `=== id | record as JSON`. Raises ValueError(document) where a bracket stands outside a mark.
    """
    documents = []
    for part in re.split(r"(?m)^=== ", path.read_text(encoding="utf-8"))[1:]:
        head, _, body = part.partition("\n")
        name, _, record = head.partition(" | ")
        text, spans = _unmarked(body.strip())
        if "[[" in text or "]]" in text:
            raise ValueError(f"{path.name}, document {name!r}: a bracket outside a mark; write [[LABEL|text]]")
        documents.append({"id": name, "record": json.loads(record), "text": text, "spans": spans})
    return documents


def _unmarked(marked: str) -> tuple[str, list[dict[str, Any]]]:
    text, spans, at = "", [], 0
    for mark in MARK.finditer(marked):
        text += marked[at : mark.start()]
        spans.append({"start": len(text), "end": len(text) + len(mark[2]), "label": mark[1]})
        text, at = text + mark[2], mark.end()
    return text + marked[at:], spans
