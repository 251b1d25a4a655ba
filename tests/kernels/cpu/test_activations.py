"""GELU against PyTorch's exact one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from serve_app.kernels.cpu.activations import gelu


@pytest.mark.parametrize("size", [1, 15, 16, 300])
def test_gelu_equals_the_exact_one(size: int) -> None:
    x = 3 * torch.randn(3, size)
    y = x.numpy().copy()
    gelu(y)
    np.testing.assert_allclose(y, F.gelu(x), rtol=0, atol=2e-6)
