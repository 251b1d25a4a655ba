"""Layer normalization against PyTorch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from serve_app.kernels.cpu.norm import layer_norm


@pytest.mark.parametrize("step", [1, 2])
def test_every_nth_row_is_normalized(step: int) -> None:
    x = torch.randn(6, 48) * 3 + 1
    weight = torch.randn(48)
    bias = torch.randn(48)
    out = np.empty((6 // step, 48), np.float32)
    layer_norm(x.numpy(), step, weight.numpy(), bias.numpy(), 1e-5, out)
    expected = F.layer_norm(x[::step], (48,), weight, bias, 1e-5)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
