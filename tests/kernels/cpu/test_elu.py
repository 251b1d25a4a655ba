"""ELU of a scalar against PyTorch's, near zero relative to its own size."""

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from serve_app.kernels.cpu.elu import elu


@numba.njit  # type: ignore[untyped-decorator]
def evaluate(x: NDArray[np.float32]) -> list[float]:
    return [elu(value) for value in x]


def test_elu_equals_pytorchs() -> None:
    special = [0, -87, -88, -1e30, 1e30, np.inf, -np.inf]
    x = np.concatenate([np.linspace(-20, 20, 10_001), special]).astype(np.float32)
    expected = F.elu(torch.from_numpy(x).double())
    np.testing.assert_allclose(evaluate(x), expected, rtol=1e-7, atol=1e-7)


def test_a_small_elu_is_exact_relative_to_itself() -> None:
    x = -np.logspace(-20, -3, 1000).astype(np.float32)
    np.testing.assert_allclose(evaluate(x), np.expm1(x.astype(np.float64)), rtol=2e-7, atol=0)
