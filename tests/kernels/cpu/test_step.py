"""A step of two layers in one call against the same layers written out in PyTorch."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from serve_app.kernels.cpu.step import decoder_step

SIZE, HEADS, FFN, ROWS, TOKENS, LENGTH = 32, 4, 64, 2, 3, 8
SHAPES = [(3 * SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (FFN, SIZE), (SIZE, FFN)]
EPS = 1e-5
LAYERS, OUTPUTS = 2, 16


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


def random_norm() -> Tensor:
    return torch.stack([1 + torch.randn(SIZE) / 4, torch.randn(SIZE) / 4])


def by_product(parts: list[list[Tensor]], heads: Tensor) -> tuple[NDArray[np.float32], ...]:
    """Stack each product's tensors over the layers, with those of the heads as the last one."""
    stacks = [torch.stack(of_layers) for of_layers in zip(*parts, strict=True)]
    return tuple(stack.numpy() for stack in [*stacks, heads[None]])


@pytest.mark.parametrize("constant", [False, True])
def test_a_step_equals_the_layers_in_pytorch(constant: bool) -> None:
    """Three positions of a slot, in two calls; the second attends to the cache of the first."""
    norms = [[part for _ in range(3) for part in random_norm()] for _ in range(LAYERS)]
    weights = [[torch.randn(shape) / shape[1] ** 0.5 for shape in SHAPES] for _ in range(LAYERS)]
    biases = [[torch.randn(shape[0]) / 4 for shape in SHAPES] for _ in range(LAYERS)]
    out_norm = random_norm()
    heads = torch.randn(OUTPUTS, SIZE)
    heads_bias = torch.randn(OUTPUTS)
    texts = torch.randn(2, LAYERS, 1, HEADS, TOKENS, SIZE // HEADS)
    without_text = torch.randn(LAYERS, SIZE) if constant else torch.zeros(LAYERS, 0)
    x = torch.randn(ROWS, 3, SIZE)
    y = x
    for layer in range(LAYERS):
        text = texts[0, layer], texts[1, layer]
        added = without_text[layer] if constant else torch.zeros(SIZE)
        y = expected_layer(y, norms[layer], weights[layer], biases[layer], text, added)
    normed = F.layer_norm(y, (SIZE,), out_norm[0], out_norm[1], EPS)
    expected = F.linear(normed, heads, heads_bias)

    shape = (LAYERS, 2, 2, ROWS * HEADS, LENGTH, SIZE // HEADS)
    cache = np.full(shape, np.nan, np.float32)
    stacked_biases = by_product(biases, heads_bias)
    keys, values = np.broadcast_to(texts.numpy()[..., None], (*texts.shape, 2))  # as in the service
    found = []
    for first, last in pairwise((0, 2, 3)):
        new = last - first
        logits = np.empty((new * ROWS, OUTPUTS), np.float32)
        decoder_step(
            2,
            x[:, first:last].transpose(0, 1).reshape(new * ROWS, SIZE).numpy().copy(),
            ROWS,
            HEADS,
            FFN,
            EPS,
            torch.stack([torch.stack(parts) for parts in norms]).numpy(),
            out_norm.numpy(),
            by_product(weights, heads),
            tuple(stack[:, :0] for stack in stacked_biases),
            stacked_biases,
            np.zeros(new, np.int64),
            np.arange(first, last),
            cache,
            np.zeros((LAYERS, 0, 0, 0, 0), np.float32),
            1,
            keys,
            values,
            np.array([TOKENS - 1]),
            without_text.numpy(),
            logits,
        )
        found.append(logits.reshape(new, ROWS, OUTPUTS).swapaxes(0, 1))
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=0, atol=5e-5)
    assert np.isnan(cache[:, :, 0]).all(), "the other slot is not touched"
    assert np.isnan(cache[:, :, 1, :, 3:]).all(), "nor are later positions"
