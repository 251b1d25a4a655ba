"""Products with weights of every stored form: near the exact ones, and each row by itself."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import Floats
from serve_app.kernels.cpu.packing import MAX_INT8, pack_int8
from serve_app.kernels.cpu.products import Weight, product

N, K = 96, 260  # K is no multiple of STRIDE
NO_BIAS = np.empty(0, np.float32)
RELATIVE_ERRORS = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 5e-3, "int8": 2e-2}


def stored(weight: Floats, precision: str) -> Weight:
    if precision == "fp32":
        return weight
    if precision == "fp16":
        return weight.astype(np.float16).view(np.uint16)
    if precision == "bf16":
        return torch.from_numpy(weight).bfloat16().view(torch.int16).numpy()
    scales = np.abs(weight).max(axis=1) / np.float32(MAX_INT8)
    return pack_int8(np.rint(weight / scales[:, None]).astype(np.int8)), scales


def random(*shape: int) -> Floats:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def multiply(x: Floats, weight: Weight, bias: Floats = NO_BIAS) -> Floats:
    out = np.full((len(x), N), np.nan, np.float32)
    product(x, weight, bias, out, 1, False)
    return out


def norms(x: NDArray[np.float64]) -> list[float]:
    return [float(np.linalg.norm(row)) for row in x]


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("precision", RELATIVE_ERRORS)
def test_a_product_is_near_the_exact_one(precision: str, rows: int) -> None:
    x = random(rows, K) * np.logspace(-3, 2, rows, dtype=np.float32)[:, None]
    x[-1] = 0
    weight = random(N, K)
    bias = random(N)
    expected = x.astype(np.float64) @ weight.T + bias
    errors = norms(multiply(x, stored(weight, precision), bias) - expected)
    for error, norm in zip(errors, norms(expected), strict=True):
        assert error <= RELATIVE_ERRORS[precision] * norm


@pytest.mark.parametrize("precision", RELATIVE_ERRORS)
def test_a_row_does_not_depend_on_the_others(precision: str) -> None:
    weight = stored(random(N, K), precision)
    x = random(7, K) * np.logspace(-3, 3, 7, dtype=np.float32)[:, None]
    together = multiply(x, weight)
    for row in range(7):
        assert np.array_equal(multiply(x[row : row + 1], weight)[0], together[row])
        assert np.array_equal(multiply(x[row:], weight)[0], together[row])


@pytest.mark.parametrize("precision", RELATIVE_ERRORS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_stays_so_and_alone(precision: str, value: float) -> None:
    x = np.ones((2, K), np.float32)
    x[0, 3] = value
    y = multiply(x, stored(np.abs(random(N, K)) + 1, precision))
    assert not np.isfinite(y[0]).any()
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("precision", RELATIVE_ERRORS)
def test_outputs_are_added_to_every_second_row(precision: str) -> None:
    weight = stored(random(N, K), precision)
    x = random(3, K)
    before = random(6, N)
    out = before.copy()
    product(x, weight, NO_BIAS, out, 2, True)
    assert np.array_equal(out[1::2], before[1::2])
    np.testing.assert_allclose(out[::2], before[::2] + multiply(x, weight), rtol=1e-5, atol=1e-5)
