"""Kernels where nothing can be written."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from anonymize.privacy import compiled as compiling


def doubled(values: np.ndarray) -> np.ndarray:
    return values * 2


def test_a_kernel_compiles_where_no_cache_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(*, cache: bool = False, nogil: bool = False) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(nogil=nogil)

    monkeypatch.setattr(compiling, "njit", njit)
    assert compiling.compiled(doubled)(np.array([1, 2])).tolist() == [2, 4]
