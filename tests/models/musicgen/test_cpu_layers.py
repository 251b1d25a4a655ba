"""The CPU's linear layers compute the same as PyTorch's, and every row by itself."""

import pytest
import torch

from serve_app.models.musicgen.cpu_layers import MANY_ROWS, CpuLinear
from serve_app.models.musicgen.transformer import Linear

ERRORS = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 5e-3, "int8": 2e-2}  # relative, of a product


@pytest.mark.parametrize("rows", [1, 4, MANY_ROWS, MANY_ROWS + 1])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("precision", ERRORS)
def test_a_product_is_near_the_exact_one(precision: str, bias: bool, rows: int) -> None:
    exact = Linear(256, 96, bias=bias).requires_grad_(False)
    x = torch.randn(rows, 256) * torch.logspace(-3, 2, rows)[:, None]
    x[-1] = 0
    expected = exact(x)
    error = (CpuLinear(exact, precision)(x) - expected).norm(dim=1)
    assert (error <= ERRORS[precision] * expected.norm(dim=1)).all()


@pytest.mark.parametrize("precision", ERRORS)
def test_a_row_does_not_depend_on_the_others(precision: str) -> None:
    layer = CpuLinear(Linear(256, 96, bias=False).requires_grad_(False), precision)
    x = torch.randn(7, 256) * torch.logspace(-3, 3, 7)[:, None]
    together = layer(x)
    for row in range(7):
        assert torch.equal(layer(x[row : row + 1])[0], together[row])
        assert torch.equal(layer(x[row:])[0], together[row])


@pytest.mark.parametrize("precision", ERRORS)
def test_a_row_with_nan_stays_nan(precision: str) -> None:
    layer = CpuLinear(Linear(16, 8, bias=False).requires_grad_(False), precision)
    x = torch.ones(2, 16)
    x[0, 3] = torch.nan
    assert layer(x)[0].isnan().all()
    assert layer(x)[1].isfinite().all()


def test_a_layer_that_is_not_made_of_whole_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6 outputs \(24 inputs\)"):
        CpuLinear(Linear(24, 6), "fp32")
