"""Prompts: encoded once, never cut."""

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.conditioner import Conditioner
from serve_app.errors import PromptTooLong


@pytest.fixture
def conditioner(nano: Checkpoint) -> Conditioner:
    return Conditioner(nano.text_encoder, nano.musicgen, max_tokens=8, cache_size=2)


def test_shape_follows_the_prompt(nano: Checkpoint, conditioner: Conditioner) -> None:
    tokens = conditioner.tokenize("calm piano")
    transformer = nano.musicgen.config.transformer
    shape = (transformer.num_layers, transformer.num_heads, len(tokens), transformer.head_dim)
    conditions = conditioner.condition(conditioner.encode_here(tokens))
    assert conditions.prefix is None
    assert conditions.cross_attention is not None
    assert [tuple(part.shape) for part in conditions.cross_attention] == [shape, shape]


def test_no_prompt_has_the_keys_and_values_of_zeros(conditioner: Conditioner) -> None:
    conditions = conditioner.condition(conditioner.encode_here([]))
    assert conditions.cross_attention is not None
    keys, values = conditions.cross_attention
    assert keys.shape[2] == values.shape[2] == 1
    assert not keys.any()
    assert not values.any()


def test_a_prompt_is_encoded_once_while_it_is_cached(
    nano: Checkpoint, conditioner: Conditioner
) -> None:
    runs: list[object] = []
    hook = nano.text_encoder.t5.register_forward_hook(lambda *_: runs.append(None))
    for prompt in ("piano", "drums", "piano", "bass", "piano", "drums"):
        conditioner.encode_here(conditioner.tokenize(prompt))
    hook.remove()
    assert len(runs) == 4, "piano, drums, bass, and drums again, which left the cache"


def test_caching_can_be_off(nano: Checkpoint) -> None:
    conditioner = Conditioner(nano.text_encoder, nano.musicgen, max_tokens=8, cache_size=0)
    first, second = (
        conditioner.encode_here(conditioner.tokenize("piano")).take() for _ in range(2)
    )
    assert first is not second
    assert torch.equal(first, second)


def test_a_prompt_that_is_too_long_is_refused(conditioner: Conditioner) -> None:
    with pytest.raises(PromptTooLong, match="tokens long, but this model takes 8"):
        conditioner.tokenize("calm piano " * 8)
