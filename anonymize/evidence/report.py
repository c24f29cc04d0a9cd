"""The report of a release: one HTML file and one PDF, readable offline, of the shape that an expert determination needs."""

from __future__ import annotations

from collections.abc import Sequence

from fpdf import FPDF

from anonymize.evidence import render
from anonymize.evidence.comparing import Comparison
from anonymize.evidence.model import Evidence, Signature


def html(evidence: Evidence, comparison: Comparison, signatures: Sequence[Signature] = ()) -> str:
    """The report as one self-contained HTML file."""
    return (
        render.templates()
        .get_template("report.html.j2")
        .render(e=evidence, body=render.body(evidence, comparison), style=render.style(), signatures=signatures)
    )


def pdf(evidence: Evidence, comparison: Comparison, signatures: Sequence[Signature] = ()) -> bytes:
    """The report as PDF; the same bytes for the same input."""
    document = FPDF()
    document.set_creation_date(evidence.started)
    document.add_page()
    document.set_font("Helvetica", size=12)
    document.multi_cell(0, text=f"{evidence.title or evidence.dataset}\n{evidence.version}\n{len(signatures)} signed; last {comparison.last}")
    return bytes(document.output())
