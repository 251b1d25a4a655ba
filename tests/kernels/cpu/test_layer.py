"""A decoder layer in one call against the same layer written out in PyTorch."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.kernels.cpu.layer import layer_step

SIZE, HEADS, FFN, ROWS, TOKENS, LENGTH = 32, 4, 64, 2, 3, 8
SHAPES = [(3 * SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (FFN, SIZE), (SIZE, FFN)]
EPS = 1e-5


def heads_of(x: Tensor) -> Tensor:
    """[rows, n, SIZE] -> [rows, HEADS, n, SIZE / HEADS]"""
    return x.view(*x.shape[:-1], HEADS, -1).transpose(1, 2)


def expected_layer(
    x: Tensor,
    norms: list[Tensor],
    weights: list[Tensor],
    biases: list[Tensor],
    text: tuple[Tensor, Tensor],
    without_text: Tensor,
) -> Tensor:
    """Compute the layer for one slot's positions x [rows, n, SIZE], all at once."""

    def norm(part: int, x: Tensor) -> Tensor:
        return F.layer_norm(x, (SIZE,), norms[2 * part], norms[2 * part + 1], EPS)

    def linear(part: int, x: Tensor) -> Tensor:
        return F.linear(x, weights[part], biases[part])

    q, k, v = (heads_of(part) for part in linear(0, norm(0, x)).chunk(3, dim=-1))
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + linear(1, attended.transpose(1, 2).flatten(2))
    query = heads_of(linear(2, norm(1, x[:1])))
    to_text = F.scaled_dot_product_attention(query, *text)
    conditional = x[:1] + linear(3, to_text.transpose(1, 2).flatten(2))
    x = torch.cat([conditional, x[1:] + without_text])
    return x + linear(5, F.gelu(linear(4, norm(2, x))))


@pytest.mark.parametrize("constant", [False, True])
def test_a_step_equals_the_layer_in_pytorch(constant: bool) -> None:
    """Three positions of a slot, in two calls; the second attends to the cache of the first."""
    norms = [1 + torch.randn(SIZE) / 4 for _ in range(6)]
    weights = [torch.randn(shape) / shape[1] ** 0.5 for shape in SHAPES]
    biases = [torch.randn(shape[0]) / 4 for shape in SHAPES]
    keys = torch.randn(1, HEADS, TOKENS, SIZE // HEADS)
    values = torch.randn(1, HEADS, TOKENS, SIZE // HEADS)
    without_text = torch.randn(SIZE) if constant else torch.zeros(SIZE)
    x = torch.randn(ROWS, 3, SIZE)
    expected = expected_layer(x, norms, weights, biases, (keys, values), without_text)

    cache = np.full((2, 2, ROWS * HEADS, LENGTH, SIZE // HEADS), np.nan, np.float32)
    found = []
    for first, last in pairwise((0, 2, 3)):
        new = last - first
        by_position = x[:, first:last].transpose(0, 1).reshape(new * ROWS, SIZE).numpy().copy()
        layer_step(
            by_position,
            ROWS,
            HEADS,
            FFN,
            tuple(part.numpy() for part in norms),
            EPS,
            tuple(weight.numpy() for weight in weights),
            tuple(bias.numpy() for bias in biases),
            np.zeros(new, np.int64),
            np.arange(first, last),
            cache,
            np.zeros((0, 0, 0, 0), np.float32),
            1,
            keys.numpy(),
            values.numpy(),
            np.zeros((1, 1, 1, TOKENS), np.float32),
            without_text.numpy() if constant else np.empty(0, np.float32),
        )
        found.append(by_position.reshape(new, ROWS, SIZE).swapaxes(0, 1))
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=0, atol=2e-5)
    assert np.isnan(cache[:, 0]).all(), "the other slot is not touched"
    assert np.isnan(cache[:, 1, :, 3:]).all(), "nor are later positions"
