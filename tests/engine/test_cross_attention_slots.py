"""Texts of different lengths share a batch; each sees its own tokens only."""

import torch

from serve_app.engine.cross_attention_slots import CrossAttentionSlots
from serve_app.models.musicgen.conditioning import CrossAttentionKV
from serve_app.models.musicgen.transformer import TransformerConfig

CONFIG = TransformerConfig(hidden_size=8, num_layers=3, num_heads=2, ffn_dim=8)


def test_a_text_is_masked_at_its_own_end() -> None:
    slots = CrossAttentionSlots(CONFIG, 3, 6, torch.float32, torch.device("cpu"))
    texts = [CrossAttentionKV(*torch.randn(2, 3, 2, tokens, 4)) for tokens in (5, 2)]
    slots.put(0, texts[0])
    slots.put(2, texts[1])
    cross = slots.narrow(slice(0, 3), 5)
    assert cross.keys.shape == cross.values.shape == (3, 3, 2, 5, 4)
    assert torch.equal(cross.keys[:, 0], texts[0].keys)
    assert torch.equal(cross.values[:, 2, :, :2], texts[1].values)
    assert (cross.mask[:, 0, 0] == 0).sum(dim=1).tolist() == [5, 1, 2]
    assert slots.nbytes == 2 * 4 * 3 * 3 * 2 * 6 * 4


def test_a_shorter_text_leaves_nothing_of_the_longer_before_it() -> None:
    """The mask adds -inf to NaN, which stays NaN."""
    slots = CrossAttentionSlots(CONFIG, 2, 6, torch.float32, torch.device("cpu"))
    slots.put(1, CrossAttentionKV(*torch.full((2, 3, 2, 5, 4), torch.nan)))
    text = CrossAttentionKV(*torch.randn(2, 3, 2, 2, 4))
    slots.put(1, text)
    cross = slots.narrow(slice(1, 2), 6)
    assert torch.equal(cross.keys[:, 0, :, :2], text.keys)
    assert not cross.keys[:, 0, :, 2:].any()
    assert not cross.values[:, 0, :, 2:].any()
