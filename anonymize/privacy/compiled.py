"""Compilation of kernels. Import this inside functions: the compiler takes a second to load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numpy arrays, compiled when it is first called. The work is kept beside the source or in the user's cache; where neither
    can be written (a read-only image, a user without a home) each process compiles anew, which takes some seconds."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba's "no locator available"
        return njit(nogil=True)(function)
