"""The page on which a steward labels: one file, that asks nothing of a network. `page.html` is its text; the sample stands in it as JSON."""

from __future__ import annotations

import json
import os
import random
from importlib.resources import files
from pathlib import Path
from typing import Any

from anonymize.auditing.sample import Sample
from anonymize.policy.model import Kind, Text


def write_page(sample: Sample, settings: Text, out: Path) -> Path:
    """Write the page of a sample for its owner's eyes alone (0600), in one step. The notes stand in an order of chance, by the sample's seed, so
    that whoever stops half-way has still read a sample."""
    notes = list(sample.notes)
    random.Random(sample.seed).shuffle(notes)
    data: dict[str, Any] = {
        "run": sample.run,
        "dataset": sample.dataset,
        "seed": sample.seed,
        "traced": sample.traced,
        "sizes": sample.sizes,
        "language": settings.language,
        "detectors": settings.detectors,
        "kinds": [kind.value for kind in Kind],
        "notes": [
            {
                "id": note.id,
                "stratum": note.stratum,
                "text": note.text,
                "replaced": note.replaced,
                "marks": [(mark.start, mark.end, mark.why) for mark in note.marks],
            }
            for note in notes
        ],
    }
    template = (files("anonymize.auditing") / "page.html").read_text(encoding="utf-8")
    # No `<` stands in the JSON, so that no note can end the element that it stands in.
    written = template.replace("@DATA@", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))
    fresh = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(written)
    fresh.replace(out)
    return out
