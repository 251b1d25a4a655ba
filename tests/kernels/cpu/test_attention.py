"""Attention over a float and an int8 cache, and to a text, against PyTorch's."""

from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from serve_app.kernels.cpu.attention import attend, cross_attend_together
from serve_app.kernels.cpu.compilation import Floats, Indices
from serve_app.kernels.cpu.team import gather, join

HEADS, SLOTS, LENGTH, TOKENS = 4, 3, 40, 6
HEAD_DIMS = [16, 64]  # 64 has loops of its own
THREADS = 2
FIRST = np.zeros(1, np.int64)


def random(*shape: int) -> Floats:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def caches(rows: int, head_dim: int, int8: bool) -> tuple[NDArray[Any], Floats]:
    shape = (2, SLOTS, rows * HEADS, LENGTH, head_dim)
    if int8:
        return np.full(shape, 99, np.int8), np.full(shape[:-1], np.nan, np.float32)
    return np.full(shape, np.nan, np.float32), np.zeros((0, 0, 0, 0), np.float32)


def exact(qkv: Floats) -> Floats:
    """Causal attention of one slot's positions from 0 on: qkv [n, R, 3, H, Dh] -> [n, R, H, Dh]."""
    q, k, v = torch.from_numpy(qkv).permute(2, 1, 3, 0, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.permute(2, 0, 1, 3).numpy()


@pytest.mark.parametrize(("int8", "tolerance"), [(False, 1e-5), (True, 0.05)])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("rows", [1, 2])
def test_positions_attend_up_to_themselves(
    rows: int, head_dim: int, int8: bool, tolerance: float
) -> None:
    cache, scales = caches(rows, head_dim, int8)
    qkv = random(LENGTH, rows, 3, HEADS, head_dim)
    out = np.empty((LENGTH, rows, HEADS, head_dim), np.float32)
    known = 25  # at once, then one by one; what follows in the cache is NaN
    for first, last in pairwise([0, *range(known, LENGTH + 1)]):
        new = slice(first, last)
        slots = np.zeros(last - first, np.int64)
        positions = np.arange(first, last)
        attend(THREADS, qkv[new], slots, positions, cache, scales, 1, out[new])
    np.testing.assert_allclose(out, exact(qkv), rtol=0, atol=tolerance)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_a_slot_does_not_depend_on_its_neighbours(head_dim: int, int8: bool) -> None:
    qkv = random(2, 1, 3, HEADS, head_dim)
    alone = np.empty((1, 1, HEADS, head_dim), np.float32)
    attend(THREADS, qkv[:1], FIRST, FIRST, *caches(1, head_dim, int8), 0, alone)
    together = np.empty((2, 1, HEADS, head_dim), np.float32)
    slots = np.array([2, 0])
    attend(THREADS, qkv, slots, 0 * slots, *caches(1, head_dim, int8), 0, together)
    assert np.array_equal(together[0], alone[0])


@numba.njit  # type: ignore[untyped-decorator]
def cross_attend(
    query: Floats, keys: Floats, values: Floats, last_tokens: Indices, out: Floats
) -> None:
    """Attend as a team of one."""
    cross_attend_together(join(gather(1)), query, keys, values, last_tokens, out)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_a_text_is_attended_to_up_to_its_end(head_dim: int) -> None:
    query = random(4, HEADS, head_dim)  # two positions of each of two slots
    keys = random(2, HEADS, TOKENS, head_dim)
    values = random(2, HEADS, TOKENS, head_dim)
    last_tokens = np.array([TOKENS - 1, 2])
    mask = np.zeros((2, 1, 1, TOKENS), np.float32)
    mask[1, ..., 3:] = -np.inf
    q = torch.from_numpy(query).view(2, 2, HEADS, head_dim).transpose(1, 2)
    k, v, m = (torch.from_numpy(array.copy()) for array in (keys, values, mask))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=m).transpose(1, 2)
    keys[1, :, 3:] = np.nan
    values[1, :, 3:] = np.nan
    out = np.empty_like(query)
    cross_attend(query, keys, values, last_tokens, out)
    np.testing.assert_allclose(out, expected.reshape(out.shape), rtol=0, atol=1e-5)
