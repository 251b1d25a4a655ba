"""The 8-bit cache in PyTorch: near the float cache, and as independent."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.models.musicgen.int8_kv_cache import Int8KVCache, quantize
from serve_app.models.musicgen.transformer import TransformerConfig, causal_masks

CONFIG = TransformerConfig(hidden_size=64, num_layers=2, num_heads=4, ffn_dim=128)
SLOTS, ROWS, LENGTH = 3, 2, 20
CPU = torch.device("cpu")


def cache() -> Int8KVCache:
    return Int8KVCache(CONFIG, SLOTS, ROWS, LENGTH, CPU)


def attend(cache: Int8KVCache, slot: int, first: int, qkv: Tensor) -> Tensor:
    """The last layer's attention from new positions of one slot."""
    at = torch.zeros(len(qkv), dtype=torch.int64), torch.arange(first, first + len(qkv))
    mask = causal_masks(LENGTH, torch.float32, CPU)[at[1]][None, None].to(qkv.dtype)
    layers = cache.narrow(slice(slot, slot + 1), qkv.shape[1], LENGTH)
    return layers[-1].attend(qkv, at, mask)


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_stepwise_attention_is_near_causal_attention(rows: int, dtype: torch.dtype) -> None:
    qkv = torch.randn(7, rows, 3, CONFIG.num_heads, CONFIG.head_dim)
    q, k, v = (part.permute(1, 2, 0, 3) for part in qkv.unbind(2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3)
    qkv = qkv.to(dtype)
    ours = cache()
    parts = [attend(ours, 1, 0, qkv[:4]), attend(ours, 1, 4, qkv[4:5]), attend(ours, 1, 5, qkv[5:])]
    y = torch.cat(parts)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected.reshape(7 * rows, -1), rtol=0, atol=0.03)


def test_a_number_is_off_by_half_a_step_at_most() -> None:
    x = torch.randn(50, 64) * torch.logspace(-6, 6, 50)[:, None]
    integers, scales = quantize(x)
    assert integers.abs().amax(1).eq(127).all()
    error = (integers * scales[:, None] - x).abs()
    assert (error <= 0.5001 * scales[:, None]).all()


def test_zeros_stay_zeros() -> None:
    integers, scales = quantize(torch.zeros(2, 64))
    assert (integers == 0).all()
    assert (scales > 0).all()


def test_clearing_makes_a_slot_finite_again() -> None:
    ours = cache()
    qkv = torch.randn(5, ROWS, 3, CONFIG.num_heads, CONFIG.head_dim)
    attend(ours, 2, 0, qkv * torch.nan)
    assert attend(ours, 2, 0, qkv[:1]).isnan().any(), "a masked NaN still counts"
    ours.clear(2)
    assert attend(ours, 2, 0, qkv[:1]).isfinite().all()


def test_bytes_are_those_of_numbers_and_scales() -> None:
    vectors = 2 * SLOTS * ROWS * LENGTH * CONFIG.num_heads * CONFIG.num_layers
    assert cache().nbytes == vectors * (CONFIG.head_dim + 4)
