"""The report of a release: one HTML file and one PDF, readable offline, of the shape that an expert determination needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anonymize.evidence import determining, render
from anonymize.evidence.comparing import Comparison, compare
from anonymize.evidence.gathering import gather, gather_before, signatures
from anonymize.evidence.model import Evidence, Signature
from anonymize.run import Run

HTML, PDF, EXPECTATIONS = "report.html", "report.pdf", "expectations.html"
"""The names of the files."""

__all__ = ["EXPECTATIONS", "HTML", "PDF", "documents", "expectations", "html", "of_run", "pdf"]


def html(evidence: Evidence, comparison: Comparison, signed: Sequence[Signature] = ()) -> str:
    """The report as one self-contained HTML file: no script, nothing from a network."""
    return render.templates().get_template("report.html.j2").render(_context(evidence, signed), body=render.body(evidence, comparison))


def pdf(evidence: Evidence, comparison: Comparison, signed: Sequence[Signature] = ()) -> bytes:
    """The report on paper; the same bytes for the same input."""
    from anonymize.evidence import paper  # what writes a PDF takes seconds to import, and few steps do

    return paper.pdf(evidence, comparison, signed)


def expectations(evidence: Evidence) -> str:
    """Every expectation of Great Expectations with its verdict and counts, as one self-contained HTML file without any value.

    Great Expectations' own Data Docs cannot be that: their pages load style and script from seven hosts of the internet
    (`render/view/templates/*.j2` of 1.24), and write out the expectations' arguments, which hold the values that columns may have.
    """
    return render.templates().get_template("expectations.html.j2").render(_context(evidence, ()) | render.context(evidence, Comparison()))


def documents(evidence: Evidence, comparison: Comparison, signed: Sequence[Signature] = ()) -> dict[str, bytes]:
    """All files of a report, by name."""
    return {
        HTML: html(evidence, comparison, signed).encode(),
        PDF: pdf(evidence, comparison, signed),
        EXPECTATIONS: expectations(evidence).encode(),
    }


def of_run(run: Run) -> dict[str, bytes]:
    """The files of a run's report, with whoever has signed until now; without times, so that a publish that is done again writes the same."""
    evidence = gather(run).model_copy(update={"timings": ()})
    return documents(evidence, compare(evidence, gather_before(run)), signatures(run))


def _context(e: Evidence, signed: Sequence[Signature]) -> dict[str, Any]:
    return {
        "e": e,
        "style": render.style(),
        "signatures": signed,
        "unsigned": determining.unsigned(e),
        "what_this_is": determining.WHAT_THIS_IS,
        "about": determining.about(e),
        "principles": determining.principles(e),
        "methods": determining.methods(e),
        "residual": determining.residual(e),
        "limits": determining.limits(e),
    }
