"""The page on which a steward labels. `page.html` is its text, `page.css` its look, `page.js` what it does; the sample stands in it as JSON.

Written as one file it asks nothing of a network; a desk serves the same page with its style and script as files of their own.
"""

from __future__ import annotations

import json
import os
import random
from importlib.resources import files
from pathlib import Path
from typing import Any

from anonymize.auditing.sample import Sample
from anonymize.policy.model import Kind, Text

_ALONE = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
"""


def data_of(sample: Sample, settings: Text) -> dict[str, Any]:
    """What the page shows. The notes stand in an order of chance, by the sample's seed, so that whoever stops half-way has still read a
    sample."""
    notes = list(sample.notes)
    random.Random(sample.seed).shuffle(notes)
    return {
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


def part(name: str) -> str:
    """`page.html`, `page.css` or `page.js`."""
    return (files("anonymize.auditing") / name).read_text(encoding="utf-8")


def document(data: dict[str, Any], *, head: str, script: str, top: str = "") -> str:
    """The page, with the elements that bring its style and its script, and what stands before all else."""
    # No `<` stands in the JSON, so that no note can end the element that it stands in; it comes last, so that nothing in a note is replaced.
    filled = part("page.html").replace("@HEAD@", head, 1).replace("@SCRIPT@", script, 1).replace("@TOP@", top, 1)
    return filled.replace("@DATA@", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"), 1)


def write_page(sample: Sample, settings: Text, out: Path) -> Path:
    """Write the page of a sample as one file, for its owner's eyes alone (0600), in one step."""
    head = f"{_ALONE}<style>\n{part('page.css')}</style>"
    private(out, document(data_of(sample, settings), head=head, script=f"<script>\n{part('page.js')}</script>"))
    return out


def private(file: Path, text: str) -> None:
    """Write a text for its owner's eyes alone (0600), in one step."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(file)
