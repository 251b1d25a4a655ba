"""Attention over a float and an int8 cache, and to a text, against PyTorch's."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from serve_app.kernels.cpu.attention import attend, cross_attend
from serve_app.kernels.cpu.compilation import Floats

HEADS, HEAD_DIM, SLOTS, LENGTH, TOKENS = 4, 16, 3, 40, 6


def random(*shape: int) -> Floats:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def caches(rows: int, int8: bool) -> tuple[NDArray[Any], Floats]:
    shape = (2, SLOTS, rows * HEADS, LENGTH, HEAD_DIM)
    if int8:
        return np.full(shape, 99, np.int8), np.full(shape[:-1], np.nan, np.float32)
    return np.full(shape, np.nan, np.float32), np.zeros((0, 0, 0, 0), np.float32)


def exact(qkv: Floats) -> Floats:
    """Causal attention of one slot's positions from 0 on: qkv [n, R, 3, H, Dh] -> [n, R, H, Dh]."""
    q, k, v = torch.from_numpy(qkv).permute(2, 1, 3, 0, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.permute(2, 0, 1, 3).numpy()


@pytest.mark.parametrize(("int8", "tolerance"), [(False, 1e-5), (True, 0.05)])
@pytest.mark.parametrize("rows", [1, 2])
def test_positions_attend_up_to_themselves(rows: int, int8: bool, tolerance: float) -> None:
    cache, scales = caches(rows, int8)
    qkv = random(LENGTH, rows, 3, HEADS, HEAD_DIM)
    out = np.empty((LENGTH, rows, HEADS, HEAD_DIM), np.float32)
    known = 25  # at once, then one by one; what follows in the cache is NaN
    attend(qkv[:known], np.zeros(known, np.int64), np.arange(known), cache, scales, 1, out[:known])
    for p in range(known, LENGTH):
        one = slice(p, p + 1)
        attend(qkv[one], np.zeros(1, np.int64), np.array([p]), cache, scales, 1, out[one])
    np.testing.assert_allclose(out, exact(qkv), rtol=0, atol=tolerance)


@pytest.mark.parametrize("int8", [False, True])
def test_a_slot_does_not_depend_on_its_neighbours(int8: bool) -> None:
    qkv = random(2, 1, 3, HEADS, HEAD_DIM)
    alone = np.empty((1, 1, HEADS, HEAD_DIM), np.float32)
    attend(qkv[:1], np.array([0]), np.array([0]), *caches(1, int8), 0, alone)
    together = np.empty((2, 1, HEADS, HEAD_DIM), np.float32)
    attend(qkv, np.array([2, 0]), np.array([0, 0]), *caches(1, int8), 0, together)
    assert np.array_equal(together[0], alone[0])


def test_a_text_is_attended_to_up_to_its_end() -> None:
    query = random(4, HEADS, HEAD_DIM)  # two positions of each of two slots
    keys = random(2, HEADS, TOKENS, HEAD_DIM)
    values = random(HEADS, 2, TOKENS, HEAD_DIM)
    values = np.ascontiguousarray(values.swapaxes(0, 1))
    mask = np.zeros((2, 1, 1, TOKENS), np.float32)
    mask[1, ..., 3:] = -np.inf
    q = torch.from_numpy(query).view(2, 2, HEADS, HEAD_DIM).transpose(1, 2)
    k, v, m = (torch.from_numpy(array.copy()) for array in (keys, values, mask))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=m).transpose(1, 2)
    keys[1, :, 3:] = np.nan
    values[1, :, 3:] = np.nan
    out = np.empty_like(query)
    cross_attend(query, keys, values, mask, out)
    np.testing.assert_allclose(out, expected.reshape(out.shape), rtol=0, atol=1e-5)
