"""Products of a step: PyTorch's results, by parts of the inputs, and with int8 weights."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from triton.runtime.interpreter import InterpreterBuilder

from serve_app.kernels.cuda.norm import Norm
from serve_app.kernels.cuda.products import (
    MOST_SPLITS,
    Weights,
    Workspace,
    multiply,
    splits_of,
)

ERRORS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
SHAPES = [(2, 256, 48), (6, 300, 70), (32, 600, 70), (34, 256, 64)]  # rows, inputs, outputs
EPS = 1e-5
PROCESSORS = 11  # the narrow products here have 3 to 5 tiles of outputs
each_dtype = pytest.mark.parametrize("dtype", ERRORS)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype)


def new_weights(outputs: int, inputs: int, dtype: torch.dtype, bias: bool = True) -> Weights:
    weight = (torch.randn(outputs, inputs) * inputs**-0.5).to(dtype)
    return Weights(weight, None, random(outputs, dtype=dtype) if bias else None)


def new_norm(inputs: int, dtype: torch.dtype) -> Norm:
    return Norm((1 + 0.2 * torch.randn(inputs)).to(dtype), random(inputs, dtype=dtype) / 10, EPS)


def quantized(weights: Weights) -> Weights:
    scales = weights.weight.float().abs().amax(1) / 127
    weight = torch.round(weights.weight.float() / scales[:, None]).to(torch.int8)
    return Weights(weight, scales, weights.bias)


def workspace(rows: int, outputs: int, inputs: int) -> Workspace:
    return Workspace(rows, [(outputs, inputs)], PROCESSORS, torch.device("cpu"))


def layer_norm(x: Tensor, norm: Norm) -> Tensor:
    return F.layer_norm(x, x.shape[1:], norm.gains, norm.shifts, norm.eps)


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Compare row by row, by the error that the dtype allows."""
    error = (found.float() - expected.float()).norm(dim=1)
    assert (error <= ERRORS[found.dtype] * expected.float().norm(dim=1)).all(), error


@each_dtype
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_norm_product_bias_and_gelu(
    rows: int, inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    x = (3 * torch.randn(rows, inputs) + 1).to(dtype)
    weights = new_weights(outputs, inputs, dtype)
    norm = new_norm(inputs, dtype)
    out = torch.full((rows, outputs), torch.nan, dtype=dtype)
    multiply(x, weights, out, workspace(rows, outputs, inputs), norm, gelu=True)
    assert_near(out, F.gelu(F.linear(layer_norm(x, norm), weights.weight, weights.bias)))


@each_dtype
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_a_product_with_split_inputs_is_added_to_the_residual(
    rows: int, inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    inputs *= 4
    assert splits_of(outputs, inputs, PROCESSORS) > 1
    x = random(rows, inputs, dtype=dtype)
    weights = new_weights(outputs, inputs, dtype, bias=False)
    out = random(rows, outputs, dtype=dtype)
    expected = out + F.linear(x, weights.weight)
    space = workspace(rows, outputs, inputs)
    space.parts.fill_(torch.nan)
    multiply(x, weights, out, space, residual=True)
    assert_near(out, expected)
    assert not space.arrived.any(), "the counters are ready for the next product"


@each_dtype
def test_int8_weights_are_exact_up_to_their_own_rounding(dtype: torch.dtype) -> None:
    rows, inputs, outputs = 6, 520, 70
    x = random(rows, inputs, dtype=dtype)
    weights = quantized(new_weights(outputs, inputs, torch.float32))
    assert weights.scales is not None
    norm = new_norm(inputs, dtype)
    out = torch.empty(rows, outputs, dtype=dtype)
    multiply(x, weights, out, workspace(rows, outputs, inputs), norm)
    exact = weights.weight.float() * weights.scales[:, None]
    expected = F.linear(layer_norm(x, norm).float(), exact, weights.bias)
    assert_near(out, expected)


def test_every_other_row_is_read_and_written() -> None:
    """Cross-attention: the conditional rows get the product, the others the constant."""
    x = random(6, 80)
    out = random(6, 48)
    constant = random(48)
    weights = new_weights(48, 80, torch.float32)
    expected = out.clone()
    expected[::2] += F.linear(x[::2], weights.weight, weights.bias)
    expected[1::2] += constant
    space = workspace(6, 48, 80)
    multiply(x[::2], weights, out[::2], space, residual=True, constant=constant)
    assert_near(out, expected)


def test_a_norm_of_a_large_mean_is_exact() -> None:
    x = random(3, 700) + 1000
    norm = new_norm(700, torch.float32)
    identity = Weights(torch.eye(64, 700))
    out = torch.empty(3, 64)
    multiply(x, identity, out, workspace(3, 64, 700), norm)
    expected = layer_norm(x.double(), Norm(norm.gains.double(), norm.shifts.double(), EPS))[:, :64]
    assert (out - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("together", [6, 24, 40])
def test_a_row_does_not_depend_on_the_others(precision: str, together: int) -> None:
    inputs, outputs = 1024, 48
    x = random(together, inputs, dtype=torch.float16)
    weights = new_weights(outputs, inputs, torch.float16)
    weights = quantized(weights) if precision == "int8" else weights
    norm = new_norm(inputs, torch.float16)
    x[1] = torch.nan
    out = torch.empty(together, outputs, dtype=torch.float16)
    multiply(x, weights, out, workspace(together, outputs, inputs), norm)
    alone = torch.empty(1, outputs, dtype=torch.float16)
    multiply(x[:1], weights, alone, workspace(1, outputs, inputs), norm)
    assert out[1].isnan().all()
    assert_near(out[:1], alone)


@pytest.mark.parametrize(
    ("outputs", "inputs", "processors", "expected"),
    [
        (1024, 1024, 132, 4),  # small on an H100: the attention's output
        (1024, 4096, 132, 8),  # small's second half of the feed-forward
        (3072, 1024, 132, 2),
        (2048, 8192, 132, 4),
        (1024, 1024, 58, 2),  # on an L4
        (64, 512, 132, 2),  # no part is shorter than 256 inputs
        (16, 65536, 132, MOST_SPLITS),
    ],
)
def test_inputs_are_split_to_keep_all_processors_reading(
    outputs: int, inputs: int, processors: int, expected: int
) -> None:
    assert splits_of(outputs, inputs, processors) == expected


def test_parts_are_added_in_their_order_whichever_comes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, inputs, outputs = 2, 1024, 48
    x = random(rows, inputs)
    weights = new_weights(outputs, inputs, torch.float32)
    splits = splits_of(outputs, inputs, PROCESSORS)
    assert splits == 4
    in_order = torch.empty(rows, outputs)
    multiply(x, weights, in_order, workspace(rows, outputs, inputs))
    run_program: Callable[..., None] = InterpreterBuilder.set_grid_idx

    def backwards(builder: InterpreterBuilder, rows: int, tile: int, part: int) -> None:
        run_program(builder, rows, tile, splits - 1 - part)

    monkeypatch.setattr(InterpreterBuilder, "set_grid_idx", backwards)
    found = torch.empty(rows, outputs)
    multiply(x, weights, found, workspace(rows, outputs, inputs))
    assert torch.equal(found, in_order)


def test_a_workspace_too_small_is_refused() -> None:
    x = random(4, 1024)
    out = torch.empty(4, 48)
    small = workspace(3, 48, 1024)
    with pytest.raises(ValueError, match="4 rows with 48 outputs in 4 parts"):
        multiply(x, new_weights(48, 1024, torch.float32), out, small)
