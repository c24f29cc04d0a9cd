"""Tally of quasi-identifiers -> search for the best generalization -> risk figures. Pure: knows no file, no database."""

from anonymize.privacy.search import SearchSettings, search
from anonymize.privacy.solution import Solution

__all__ = ["SearchSettings", "Solution", "search"]
