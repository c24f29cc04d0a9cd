"""The page of one release: an HTML fragment and its style. Everything is drawn here; no script, nothing from a network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from anonymize.evidence.comparing import Comparison
from anonymize.evidence.model import Evidence

SECTIONS = {
    "summary": "Summary",
    "goes-out": "What goes out",
    "held-back": "What is held back",
    "risk": "Risk",
    "utility": "Utility",
    "text": "Free text",
    "expectations": "Expectations",
    "differences": "Since the last release",
    "gates": "Gates",
    "files": "Files and provenance",
}
"""The ids of the sections, in their order, with their headings. They do not change: other pages link to them."""


def body(evidence: Evidence, comparison: Comparison) -> str:
    """The page as an HTML fragment (`<article class="evidence">`), to be set into a page that has `style()` in its head."""
    return templates().get_template("body.html.j2").render(e=evidence, c=comparison, sections=SECTIONS)


def style() -> str:
    """CSS for `body`: light and dark by the reader's setting, wide and narrow; all of it under `.evidence`."""
    return (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")


@cache
def templates() -> Environment:
    """The templates of this room; every value in them is escaped."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
