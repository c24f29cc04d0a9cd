"""Strips PHI: one small pure function a method, RecordBatch -> RecordBatch."""

from anonymize.transform.methods import accepts, is_searched, needs_subject, output_type

__all__ = ["accepts", "is_searched", "needs_subject", "output_type"]
