"""Dot products by each of the processor's instructions are exact: they are sums of integers."""

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.kernels.cpu import dot_tile as module
from serve_app.kernels.cpu.dot_tile import ROW_TYPE, dot_tile
from serve_app.kernels.cpu.packing import OFFSET, STRIDE, TILE, pack_int8

INPUTS = 100  # no multiple of STRIDE


def dots(rows: NDArray[Any], qweight: NDArray[np.uint8]) -> tuple[int, ...]:
    return dot_tile(rows, 0, 1, qweight, 0)  # type: ignore[no-any-return]


def check(row_type: type[np.integer[Any]]) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-127, 128, size=(2, INPUTS))
    weight = rng.integers(-127, 128, size=(TILE, INPUTS))
    qweight = pack_int8(weight.astype(np.int8))
    rows = np.zeros((2, qweight.shape[1] * STRIDE), row_type)
    rows[:, :INPUTS] = x
    expected = x @ weight.T + OFFSET * x.sum(axis=1, keepdims=True)
    assert numba.njit(dots)(rows, qweight) == tuple(expected.ravel())


@pytest.mark.parametrize("row_type", sorted({np.int16, ROW_TYPE}, key=str))
def test_sums_are_exact(row_type: type[np.integer[Any]]) -> None:
    check(row_type)


def test_sums_are_exact_without_special_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEATURES", {})
    check(np.int16)
