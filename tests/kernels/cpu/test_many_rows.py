"""Products of many rows with float weights: near the exact ones, and each row by itself."""

import numpy as np
import pytest

from serve_app.kernels.cpu.compilation import Floats
from serve_app.kernels.cpu.many_rows import product_of_many
from serve_app.kernels.cpu.products import Weight, split_weight
from tests.kernels.cpu.test_products import NO_BIAS, norms, random, stored

ERRORS = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 5e-3}
# Outputs and inputs: whole panels and lines; a part of each; inputs of two packed parts.
SHAPES = [(64, 64), (100, 37), (44, 1100)]


def multiply(x: Floats, weight: Weight, outputs: int, bias: Floats = NO_BIAS) -> Floats:
    out = np.full((len(x), outputs), np.nan, np.float32)
    product_of_many(x, split_weight(weight)[0], bias, out)
    return out


@pytest.mark.parametrize("rows", [1, 13, 70])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("precision", ERRORS)
def test_a_product_is_near_the_exact_one(precision: str, shape: tuple[int, int], rows: int) -> None:
    outputs, size = shape
    x = random(rows, size)
    weight = random(outputs, size)
    bias = random(outputs)
    expected = x.astype(np.float64) @ weight.T + bias
    found = multiply(x, stored(weight, precision), outputs, bias)
    for error, norm in zip(norms(found - expected), norms(expected), strict=True):
        assert error <= ERRORS[precision] * norm


@pytest.mark.parametrize("precision", ERRORS)
def test_a_row_depends_neither_on_the_others_nor_on_their_number(precision: str) -> None:
    weight = stored(random(44, 1100), precision)
    x = random(30, 1100)
    together = multiply(x, weight, 44)
    for rows in (slice(0, 1), slice(7, 12), slice(3, 30)):
        assert np.array_equal(multiply(x[rows].copy(), weight, 44), together[rows])


def test_a_row_that_is_not_finite_stays_so_and_alone() -> None:
    x = random(14, 40)
    x[2, 3] = np.nan
    y = multiply(x, random(36, 40), 36)
    assert np.isnan(y[2]).all()
    assert np.isfinite(np.delete(y, 2, axis=0)).all()
