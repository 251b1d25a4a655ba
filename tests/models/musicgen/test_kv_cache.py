"""The float cache: rows, positions and slots are independent."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.transformer import TransformerConfig, causal_masks

CONFIG = TransformerConfig(hidden_size=64, num_layers=2, num_heads=4, ffn_dim=128)
SLOTS, ROWS, LENGTH = 3, 2, 20
CPU = torch.device("cpu")


def cache() -> FloatKVCache:
    return FloatKVCache(CONFIG, SLOTS, ROWS, LENGTH, torch.float32, CPU)


def attend(cache: FloatKVCache, slot: int, first: int, qkv: Tensor) -> Tensor:
    """The last layer's attention from new positions of one slot."""
    at = torch.zeros(len(qkv), dtype=torch.int64), torch.arange(first, first + len(qkv))
    mask = causal_masks(LENGTH, torch.float32, CPU)[at[1]][None, None]
    layers = cache.narrow(slice(slot, slot + 1), qkv.shape[1], LENGTH)
    return layers[-1].attend(qkv, at, mask)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_stepwise_attention_equals_causal_attention(rows: int) -> None:
    qkv = torch.randn(7, rows, 3, CONFIG.num_heads, CONFIG.head_dim)
    q, k, v = (part.permute(1, 2, 0, 3) for part in qkv.unbind(2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3)
    ours = cache()
    parts = [attend(ours, 1, 0, qkv[:4]), attend(ours, 1, 4, qkv[4:5]), attend(ours, 1, 5, qkv[5:])]
    torch.testing.assert_close(torch.cat(parts), expected.reshape(7 * rows, -1))


def test_clearing_makes_a_slot_finite_again() -> None:
    ours = cache()
    qkv = torch.randn(5, ROWS, 3, CONFIG.num_heads, CONFIG.head_dim)
    attend(ours, 2, 0, qkv * torch.nan)
    assert attend(ours, 2, 0, qkv[:1]).isnan().any(), "a masked NaN still counts"
    ours.clear(2)
    assert attend(ours, 2, 0, qkv[:1]).isfinite().all()


def test_bytes_are_those_of_all_rows() -> None:
    assert cache().nbytes == 4 * 2 * SLOTS * ROWS * LENGTH * CONFIG.hidden_size * CONFIG.num_layers
