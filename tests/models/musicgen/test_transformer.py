"""The decoder's parts: positions, masks, and a layer with and without cross-attention."""

import pytest
import torch

from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    DecoderLayer,
    TransformerConfig,
    causal_masks,
    pad_rows,
    sinusoidal_positions,
)

CPU = torch.device("cpu")
SLOTS, ROWS, LENGTH, TOKENS = 2, 2, 4, 3


def test_positions_are_audiocrafts() -> None:
    from audiocraft.modules.transformer import create_sin_embedding

    expected = create_sin_embedding(torch.arange(50)[None, :, None], 32)[0]
    torch.testing.assert_close(sinusoidal_positions(50, 32, CPU), expected)


def test_a_mask_ends_at_its_position() -> None:
    masks = causal_masks(3, torch.float32, CPU)
    assert masks.isfinite().tolist() == [[True, False, False], [True, True, False], [True] * 3]


def test_padding_is_zeros() -> None:
    padded = pad_rows(torch.ones(2, 3), 5)
    assert padded.sum(dim=1).tolist() == [3, 3, 0, 0, 0]


def run(layer: DecoderLayer, x: torch.Tensor, cross: CrossAttentionInputs | None) -> torch.Tensor:
    config = TransformerConfig(32, 1, 4, 64)
    cache = FloatKVCache(config, SLOTS, ROWS, LENGTH, torch.float32, CPU)
    at = torch.arange(SLOTS), torch.zeros(SLOTS, dtype=torch.int64)
    mask = causal_masks(LENGTH, torch.float32, CPU)[at[1]][:, None, None]
    [memory] = cache.narrow(slice(0, SLOTS), ROWS, LENGTH)
    result: torch.Tensor = layer(x, memory, at, mask, cross)
    return result.view(SLOTS, ROWS, 32)


@pytest.mark.parametrize("biases", [False, True])
@torch.inference_mode()
def test_the_text_reaches_conditional_rows_alone(biases: bool) -> None:
    layer = DecoderLayer(TransformerConfig(32, 1, 4, 64, biases, biases))
    x = torch.randn(SLOTS * ROWS, 32)
    texts = [torch.randn(2, SLOTS, 4, TOKENS, 8) for _ in range(2)]
    mask = torch.zeros(SLOTS, 1, 1, TOKENS)
    one, other = (run(layer, x, CrossAttentionInputs(text[0], text[1], mask)) for text in texts)
    assert not torch.equal(one[:, 0], other[:, 0])
    assert torch.equal(one[:, 1], other[:, 1])


@torch.inference_mode()
def test_a_layer_without_cross_attention_has_none_of_its_weights() -> None:
    layer = DecoderLayer(TransformerConfig(32, 1, 4, 64), cross_attention=False)
    assert not [name for name in layer.state_dict() if "cross" in name]
    x = torch.randn(SLOTS * ROWS, 32)
    assert not torch.equal(run(layer, x, None).flatten(0, 1), x)


@torch.inference_mode()
def test_a_layer_with_cross_attention_needs_a_text() -> None:
    layer = DecoderLayer(TransformerConfig(32, 1, 4, 64))
    with pytest.raises(ValueError, match="run without a text: pass the slots' CrossAttentionInput"):
        run(layer, torch.randn(SLOTS * ROWS, 32), None)
