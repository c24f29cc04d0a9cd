"""The page of one release: an HTML fragment and its style. Everything is drawn here; no script, nothing from a network."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from anonymize.evidence import charts, views
from anonymize.evidence.comparing import Comparison
from anonymize.evidence.model import Evidence
from anonymize.evidence.noting import notes
from anonymize.evidence.wording import number, percent

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
    return templates().get_template("body.html.j2").render(context(evidence, comparison))


def style() -> str:
    """CSS for `body`: light and dark by the reader's setting, wide and narrow; all of it under `.evidence`."""
    return (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")


def context(e: Evidence, c: Comparison) -> dict[str, Any]:
    """What the templates speak of."""
    found = notes(e, c)
    finding_head, finding_rows = views.findings(e)
    return {
        "e": e,
        "c": c,
        "sections": SECTIONS,
        "notes": found,
        "looks": sum(note.weight == "look" for note in found),
        "tiles": views.tiles(e, c),
        "tables_out": views.tables_out(e),
        "columns_out": views.columns_out(e),
        "fates": charts.fates(e.held_back.by_table, {table.name: table.rows for table in e.tables}),
        "rows_held": views.rows_held(e),
        "columns_held": views.columns_held(e),
        "risk_views": [views.risk_view(one, e.privacy.k) for one in e.risk],
        "joined": views.joined(e),
        "utility_views": [views.utility_view(table, e.utility[table]) for table in views.utility_order(e)],
        "utility_rows": views.utility_rows(e),
        "findings": charts.findings(e),
        "finding_head": finding_head,
        "finding_rows": finding_rows,
        "interval": charts.interval(e.text.audit) if e.text.audit else None,
        "expectation_rows": views.expectation_rows,
        "expectation_lines": views.expectation_lines,
        "expectation_verdicts": views.expectation_verdicts(e.expectations),
        "changed_rows": views.changed_rows,
        "figure_rows": views.figure_rows,
        "sizes_rows": views.sizes_rows(c),
        "figure_tables": views.figure_tables(c),
        "provenance": views.provenance(e),
        "file_rows": views.file_rows(e),
        "timing_rows": [[timing.step, timing.table, views.moment(timing.at)] for timing in e.timings],
        "policy_rows": [list(item) for item in e.policy.items()],
    }


@cache
def templates() -> Environment:
    """The templates of this room; every value in them is escaped."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "percent": percent, "day": views.day, "moment": views.moment}
    return environment
