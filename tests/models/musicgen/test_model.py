"""The language model around its layers: embeddings, heads, conditions and padding."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from serve_app.models.chroma import MelodyConfig
from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    TransformerConfig,
    causal_masks,
    sinusoidal_positions,
)
from tests.architectures import randomize

TRANSFORMER = TransformerConfig(hidden_size=32, num_layers=2, num_heads=4, ffn_dim=64)
K, V, SLOTS, LENGTH, TEXT_SIZE = 4, 16, 3, 8, 24
CONFIG = MusicGenConfig(TRANSFORMER, K, V, (0, 1, 2, 3), 1, TEXT_SIZE)
CPU = torch.device("cpu")


def new_model(conditioning: ConditioningSpec | None = None) -> MusicGen:
    config = replace(CONFIG, conditioning=conditioning or ConditioningSpec())
    model = MusicGen(config).requires_grad_(False)
    randomize(model)
    return model


def test_an_embedding_is_the_sum_of_the_codebooks_own() -> None:
    model = new_model()
    tokens = torch.tensor([[0, 3, 5, CONFIG.special_token], [1, 1, 1, 1]])
    tables = model.embedding.weight.view(K, V + 1, -1)
    expected = sum(tables[k, tokens[:, k]] for k in range(K))
    embedded = model.embed(tokens + model.embedding_offsets())
    torch.testing.assert_close(embedded[:, 0], expected)


def test_each_codebook_has_its_own_head() -> None:
    model = new_model()
    hidden_states = torch.randn(5, 32)
    logits = model.logits(hidden_states)
    assert logits.shape == (5, K, V)
    heads = model.heads.weight.view(K, V, -1)
    torch.testing.assert_close(logits[:, 2], model.out_norm(hidden_states) @ heads[2].T)


def test_a_cross_attended_text_is_projected_for_every_layer() -> None:
    conditions = new_model().conditions(torch.randn(5, TEXT_SIZE))
    assert conditions.prefix is None
    assert conditions.cross_attention is not None
    assert conditions.cross_attention.keys.shape == (2, 4, 5, 8)
    assert not torch.equal(*conditions.cross_attention.keys)


@pytest.mark.parametrize("branches", [1, 2])
def test_a_text_by_prefix_is_zeros_in_the_unconditional_branch(branches: int) -> None:
    model = new_model(ConditioningSpec(text="prefix", branches=branches))
    text = torch.randn(5, TEXT_SIZE)
    conditions = model.conditions(text)
    assert conditions.cross_attention is None
    assert conditions.prefix is not None
    assert conditions.prefix.shape == (branches, 5, 32)
    assert torch.equal(conditions.prefix[0], model.text_proj(text))
    assert not conditions.prefix[1:].any()
    empty = model.conditions(None).prefix
    assert empty is not None
    assert torch.equal(empty, torch.zeros(branches, 1, 32))


def test_further_conditions_precede_the_text_and_have_their_length() -> None:
    model = new_model(ConditioningSpec(text="prefix", prefix_positions=3))
    leading = torch.randn(2, 3, 32)
    prefix = model.conditions(torch.randn(5, TEXT_SIZE), leading).prefix
    assert prefix is not None
    assert torch.equal(prefix[:, :3], leading)
    assert prefix.shape == (2, 8, 32)
    with pytest.raises(ValueError, match=r"0 positions .* but this model takes 3: pass `leading`"):
        model.conditions(None)


MELODY = MelodyConfig(chroma_length=3)


def melody_model(melody: MelodyConfig = MELODY, hidden_size: int = 32) -> MusicGen:
    spec = ConditioningSpec(text="prefix", prefix_positions=melody.chroma_length)
    transformer = replace(TRANSFORMER, hidden_size=hidden_size)
    config = replace(
        new_model(spec).config, transformer=transformer, conditioning=spec, melody=melody
    )
    model = MusicGen(config).requires_grad_(False)
    randomize(model)
    return model


def test_a_melody_leads_and_the_unconditional_row_has_silence() -> None:
    model = melody_model()
    projection = model.melody_proj
    assert isinstance(projection, nn.Linear)
    columns = projection.weight.T
    leading = model.leading(torch.tensor([4, 0, 11]))
    assert torch.equal(leading[0], columns[[4, 0, 11]] + projection.bias)
    assert torch.equal(leading[1], columns[[0, 0, 0]] + projection.bias)
    assert torch.equal(model.leading(None), leading[1].expand(2, -1, -1))
    prefix = model.conditions(torch.randn(5, TEXT_SIZE), leading).prefix
    assert prefix is not None
    assert prefix.shape == (2, 8, 32)
    assert torch.equal(prefix[:, :3], leading)


def test_a_melody_as_wide_as_the_model_is_not_projected() -> None:
    model = melody_model(MelodyConfig(chroma_length=2, projected=False), hidden_size=12)
    expected = torch.zeros(2, 2, 12)
    expected[0, [0, 1], [7, 3]] = 1
    expected[1, :, 0] = 1
    assert torch.equal(model.leading(torch.tensor([7, 3])), expected)


def test_melodies_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has \(4,\) frames of chroma, but the model takes 3"):
        melody_model().leading(torch.tensor([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="no melody conditioning"):
        new_model().leading(None)
    with pytest.raises(ValueError, match="prefix_positions is 0, but the melody has 3 frames"):
        replace(new_model(ConditioningSpec(text="prefix")).config, melody=MELODY)


@pytest.mark.parametrize("rows", [1, 2])
@torch.inference_mode()
def test_padding_changes_no_result(rows: int) -> None:
    """Products get more rows; the hidden states of the slots stay, and padding follows them."""
    model = new_model()
    text = torch.randn(2, 2, SLOTS, 4, 5, 8)
    cross = CrossAttentionInputs(text[0], text[1], torch.zeros(SLOTS, 1, 1, 5))
    positions = torch.zeros(SLOTS, dtype=torch.int64)
    x = torch.randn(SLOTS, 1, 32)

    def run(padded_slots: int) -> Tensor:
        cache = FloatKVCache(TRANSFORMER, SLOTS, 2, LENGTH, torch.float32, CPU)
        hidden_states: Tensor = model(
            x,
            sinusoidal_positions(LENGTH, 32, CPU)[positions],
            (torch.arange(SLOTS), positions),
            cache.narrow(slice(0, SLOTS), rows, LENGTH),
            causal_masks(LENGTH, torch.float32, CPU)[positions][:, None, None],
            cross,
            padded_slots,
        )
        return hidden_states

    plain = run(0)
    padded = run(SLOTS + 4)
    assert plain.shape == (SLOTS * rows, 32)
    assert padded.shape == ((SLOTS + 4) * rows, 32)
    torch.testing.assert_close(padded[: SLOTS * rows], plain)
