"""Made patients with notes, as many as wanted, and the policy that takes them down the road."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.text.maker import make as make_notes

POLICY = """\
dataset: notes
subject: patients.patient_id
key: env:ANONYMIZE_KEY
workspace: workspace
{engine}
sources:
  files: {{type: parquet, path: {source}}}
tables:
  patients:
    columns:
      patient_id: identifier pseudonym
      given: identifier drop name
      family: identifier drop name
      mrn: identifier drop mrn
      phone: identifier drop phone
  notes:
    columns:
      note_id: identifier pseudonym
      patient_id: identifier pseudonym
      body: text
privacy: {{k: 5}}
release: {{store: store, title: Notes}}
"""


def make(folder: Path, notes: int, *, seed: int = 7) -> int:
    """Write `patients.parquet` and `notes.parquet`, one note a patient; returns the characters."""
    made = make_notes("dev", notes, seed)
    return _write(folder, [str(note["text"]) for note in made], [note["record"] for note in made])


def cut(folder: Path, characters: int, length: int, *, seed: int = 7) -> int:
    """The same characters, whatever the length, as notes of so many characters each; returns their number. A note's record is that of the
    patient with whom it begins."""
    made = make_notes("dev", characters // 1_000, seed)
    ends = np.cumsum([len(str(note["text"])) + 2 for note in made])
    text = "\n\n".join(str(note["text"]) for note in made)[:characters]
    starts = range(0, len(text), length)
    _write(
        folder, [text[start : start + length] for start in starts], [made[np.searchsorted(ends, start, "right")]["record"] for start in starts]
    )
    return len(starts)


def _write(folder: Path, texts: Sequence[str], records: Sequence[Mapping[str, object]]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"N{number:07}" for number in range(len(texts))]
    known = {word: [str(record[word]) for record in records] for word in ("given", "family", "mrn", "phone")}
    pq.write_table(pa.table({"patient_id": ids, **known}), folder / "patients.parquet")
    pq.write_table(pa.table({"note_id": ids, "patient_id": ids, "body": texts}), folder / "notes.parquet")
    return sum(map(len, texts))


def policy(folder: Path, source: Path, *, engine: str = "") -> Path:
    """Write the policy of one road."""
    file = folder / "policy.yaml"
    file.write_text(POLICY.format(engine=engine, source=source))
    return file
