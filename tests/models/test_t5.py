"""The text encoder: tokens with their end, and transformers' hidden states."""

from typing import Any

import pytest
import torch

from serve_app.models.t5 import T5Config, T5Encoder, TextEncoder, distance_buckets
from tests.architectures import MONO, make_t5, randomize
from tools.nano.tokenizer import make_tokenizer

PROMPT = "a calm piano melody, 70 bpm"


def ours(t5: Any) -> T5Encoder:
    """This project's encoder with the weights and the configuration of transformers' own."""
    config = T5Config(**{name: getattr(t5.config, name) for name in T5Config.__annotations__})
    encoder = T5Encoder(config)
    state = t5.state_dict()
    del state["encoder.embed_tokens.weight"]
    encoder.load_state_dict(state, strict=True)
    return encoder


def test_hidden_states_equal_transformers() -> None:
    t5 = make_t5(MONO)
    tokenizer = make_tokenizer()
    encoder = TextEncoder(ours(t5), tokenizer, MONO.text_size)
    tokens = encoder.tokenize(PROMPT)
    assert tokens[-1] == tokenizer.eos_token_id
    with torch.no_grad():
        hidden_states = encoder(tokens)
        expected = t5(**tokenizer(PROMPT, return_tensors="pt")).last_hidden_state[0]
    assert hidden_states.shape == (len(tokens), MONO.text_size)
    torch.testing.assert_close(hidden_states, expected)


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu", "gated-silu", "gelu"])
@pytest.mark.parametrize("tokens", [1, 300])
def test_every_published_kind_equals_transformers(feed_forward: str, tokens: int) -> None:
    """Beyond the longest distance that has a bucket of its own, too: t5, v1.1 and flan-t5."""
    from transformers import T5Config as TransformersConfig
    from transformers import T5EncoderModel

    config = TransformersConfig(
        vocab_size=50, d_model=24, d_kv=8, d_ff=40, num_layers=3, num_heads=4,
        feed_forward_proj=feed_forward,
    )  # fmt: skip
    t5 = T5EncoderModel(config).eval()
    randomize(t5)
    ids = torch.randint(50, (tokens,))
    with torch.no_grad():
        expected = t5(input_ids=ids[None]).last_hidden_state[0]
        torch.testing.assert_close(ours(t5)(ids), expected, rtol=1e-4, atol=1e-5)


def test_distances_have_buckets_of_their_own_up_to_eight() -> None:
    config = T5Config(8, 8, 8, 8, 1, 1, 32, 128, 1e-6, "relu", False)
    distances = torch.tensor([0, 1, 7, 8, 127, 128, 5000, -1, -7, -8, -5000])
    buckets = distance_buckets(distances, config)
    assert buckets.tolist() == [0, 17, 23, 24, 31, 31, 31, 1, 7, 8, 15]
