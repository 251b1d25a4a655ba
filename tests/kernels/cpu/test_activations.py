"""GELU against PyTorch's exact one."""

import numba
import numpy as np
import torch
import torch.nn.functional as F

from serve_app.kernels.cpu.activations import gelu
from serve_app.kernels.cpu.compilation import Floats


@numba.njit  # type: ignore[untyped-decorator]
def apply(x: Floats) -> None:
    for i in range(len(x)):
        x[i] = gelu(x[i])


def test_gelu_equals_the_exact_one() -> None:
    x = 3 * torch.randn(300)
    y = x.numpy().copy()
    apply(y)
    np.testing.assert_allclose(y, F.gelu(x), rtol=0, atol=2e-6)
