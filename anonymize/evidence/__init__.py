"""What a steward reads of one release: its evidence, the difference from the last one, the page (`render`) and the report (`report`)."""

from anonymize.evidence import render, report
from anonymize.evidence.comparing import Comparison, compare
from anonymize.evidence.gathering import DOCUMENT, gather, gather_before, gather_published, keep, of_record, remember, signatures, signatures_of
from anonymize.evidence.model import Evidence, Signature
from anonymize.evidence.report import of_run as documents

__all__ = [
    "DOCUMENT",
    "Comparison",
    "Evidence",
    "Signature",
    "compare",
    "documents",
    "gather",
    "gather_before",
    "gather_published",
    "keep",
    "of_record",
    "remember",
    "render",
    "report",
    "signatures",
    "signatures_of",
]
