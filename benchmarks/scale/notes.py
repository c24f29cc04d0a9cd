"""Made patients with notes, as many as wanted, and the policy that takes them down the road."""

from __future__ import annotations

from pathlib import Path

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


def make(folder: Path, notes: int, *, seed: int = 7, length: int | None = None) -> int:
    """Write `patients.parquet` and `notes.parquet`, one note a patient; returns the characters. length: of each note, made of several, in
    characters; None: as they come."""
    folder.mkdir(parents=True, exist_ok=True)
    made = make_notes("dev", notes if length is None else min(notes * max(length // 2_000, 1), 2_000), seed)
    texts = [str(note["text"]) for note in made]
    if length is not None:
        texts = [_long(texts, number, length) for number in range(notes)]
    ids = [f"N{number:07}" for number in range(len(texts))]
    known = {
        word: [str(made[number % len(made)]["record"][word]) for number in range(len(texts))] for word in ("given", "family", "mrn", "phone")
    }
    pq.write_table(pa.table({"patient_id": ids, **known}), folder / "patients.parquet")
    pq.write_table(pa.table({"note_id": ids, "patient_id": ids, "body": texts}), folder / "notes.parquet")
    return sum(map(len, texts))


def _long(texts: list[str], number: int, length: int) -> str:
    """Several notes one after the other."""
    parts: list[str] = []
    while sum(map(len, parts)) < length:
        parts.append(texts[(number * 31 + len(parts)) % len(texts)])
    return "\n\n".join(parts)[:length]


def policy(folder: Path, source: Path, *, engine: str = "") -> Path:
    """Write the policy of one road."""
    file = folder / "policy.yaml"
    file.write_text(POLICY.format(engine=engine, source=source))
    return file
