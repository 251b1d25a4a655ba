"""The text encoder: tokens with their end, and transformers' hidden states."""

import torch

from serve_app.models.t5 import TextEncoder
from tests.architectures import MONO, make_t5
from tools.nano.tokenizer import make_tokenizer

PROMPT = "a calm piano melody, 70 bpm"


def test_hidden_states_equal_transformers() -> None:
    t5 = make_t5(MONO)
    tokenizer = make_tokenizer()
    encoder = TextEncoder(t5, tokenizer, MONO.text_size)
    tokens = encoder.tokenize(PROMPT)
    assert tokens[-1] == tokenizer.eos_token_id
    with torch.no_grad():
        hidden_states = encoder(tokens)
        expected = t5(**tokenizer(PROMPT, return_tensors="pt")).last_hidden_state[0]
    assert hidden_states.shape == (len(tokens), MONO.text_size)
    torch.testing.assert_close(hidden_states, expected)
