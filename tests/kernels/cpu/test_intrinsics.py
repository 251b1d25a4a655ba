"""Conversions of stored weights, and of bits to floats, against NumPy's and PyTorch's."""

from typing import Any

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serve_app.kernels.cpu.intrinsics import from_bits, widen

VALUES = np.array([0, -0.0, 1, -1.5, 3.1415927, 1e-3, 60_000, np.inf], np.float32)


@numba.njit  # type: ignore[untyped-decorator]
def widened(bits: NDArray[Any]) -> list[float]:
    return [widen(value) for value in bits]


@numba.njit  # type: ignore[untyped-decorator]
def floats_of(bits: NDArray[np.int32]) -> list[float]:
    return [from_bits(value) for value in bits]


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [(torch.float32, np.float32), (torch.float16, np.uint16), (torch.bfloat16, np.int16)],
    ids=str,
)
def test_a_stored_weight_keeps_its_value(dtype: torch.dtype, stored: type[Any]) -> None:
    narrow = torch.from_numpy(VALUES).to(dtype)
    bits = narrow if dtype is torch.float32 else narrow.view(torch.int16)
    assert widened(bits.numpy().view(stored)) == narrow.float().tolist()


def test_bits_become_the_float_that_has_them() -> None:
    assert floats_of(VALUES.view(np.int32)) == VALUES.tolist()
