"""Tally of quasi-identifiers -> search for the best generalization -> risk figures. Pure: knows no file, no database."""

from anonymize.privacy.between import PartsSolution, search_parts
from anonymize.privacy.events import EventSolution, search_events
from anonymize.privacy.judge import Progress, SearchSettings
from anonymize.privacy.local import LocalSolution, recode_locally
from anonymize.privacy.search import search
from anonymize.privacy.solution import Solution

__all__ = [
    "EventSolution",
    "LocalSolution",
    "PartsSolution",
    "Progress",
    "SearchSettings",
    "Solution",
    "recode_locally",
    "search",
    "search_events",
    "search_parts",
]
