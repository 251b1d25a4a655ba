"""Dot products by each of the processor's instructions are exact: they are sums of integers."""

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.kernels.cpu import dot_tile as module
from serve_app.kernels.cpu.dot_tile import dot_tile
from serve_app.kernels.cpu.packing import OFFSET, STRIDE, TILE, pack_int8
from serve_app.kernels.cpu.target import (
    AVX2,
    FEATURES,
    PORTABLE,
    VNNI_256,
    VNNI_512,
    DotProduct,
)

INPUTS = 100  # no multiple of STRIDE
NEEDS = {
    VNNI_512: ["avx512vnni"],
    VNNI_256: ["avx512vnni", "avx512vl"],  # AVX-512's form of AVX-VNNI's instruction
    AVX2: ["avx2"],
    PORTABLE: [],
}


def dots(
    rows: NDArray[Any], count: int, qweight: NDArray[np.uint8], sums: NDArray[np.int32]
) -> None:
    dot_tile(rows, 1, count, qweight, 1, sums, 2)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("instruction", NEEDS, ids=["vnni512", "vnni256", "avx2", "portable"])
def test_sums_are_exact(
    instruction: DotProduct, extreme: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(FEATURES.get(name) for name in NEEDS[instruction]):
        pytest.skip(f"needs {NEEDS[instruction]}")
    monkeypatch.setattr(module, "DOT_PRODUCT", instruction)
    rng = np.random.default_rng(0)
    x = rng.integers(-127, 128, size=(instruction.rows + 1, INPUTS))
    weight = rng.integers(-127, 128, size=(2 * TILE, INPUTS))
    if extreme:
        x = np.where(x < 0, -127, 127)
        weight = np.where(x[-1] < 0, -127, 127) * np.ones_like(weight)
    offset = 128 if instruction.unsigned else 0
    qweight = pack_int8(weight.astype(np.int8)) + np.uint8((offset - OFFSET) % 256)
    rows = np.zeros((len(x), qweight.shape[1] * STRIDE), np.int8)
    rows[:, :INPUTS] = x
    expected = x @ weight[TILE:].T + offset * x.sum(axis=1, keepdims=True)
    compiled = numba.njit(dots)
    for count in {1, 2, instruction.rows}:
        sums = np.full((len(x), TILE + 3), -1, np.int32)
        compiled(rows, count, qweight, sums)
        written = slice(1, 1 + count), slice(2, 2 + TILE)
        assert np.array_equal(sums[written], expected[1 : 1 + count])
        sums[written] = -1
        assert (sums == -1).all(), "nothing else is written"
