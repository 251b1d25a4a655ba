"""A network in chunks of any length computes what it computes of the whole."""

import pytest
import torch

from serve_app.models.audioseal.chain import ChainState
from serve_app.models.audioseal.generator import Generator
from tests.audioseal import MESSAGE

HOP = 320


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sample_rate", [16_000, 32_000])
def test_chunks_join_to_the_whole(causal: bool, sample_rate: int) -> None:
    generator = Generator(causal=causal).eval().requires_grad_(False)
    chain = generator.chain(MESSAGE, sample_rate)
    audio = torch.randn(2, 1, 30 * HOP * sample_rate // 16_000)
    whole = chain.advance(audio, ChainState(), True)
    for sizes in (audio.shape[-1] // 4 + 1, [7, 1, audio.shape[-1] - 8]):
        state = ChainState()
        chunks = [chain.advance(part, state, False) for part in torch.split(audio, sizes, dim=-1)]
        chunks.append(chain.advance(audio[..., :0], state, True))
        joined = torch.cat([chunk for chunk in chunks if chunk is not None], dim=-1)
        torch.testing.assert_close(joined, whole, rtol=0, atol=1e-6)


def test_outputs_wait_for_the_lookahead_alone(generator: Generator) -> None:
    chain = generator.chain(MESSAGE)
    known = 20 * HOP
    audio = torch.randn(1, 1, known)
    early = chain.advance(audio, ChainState(), False)
    assert early is not None
    complete = early.shape[-1]
    assert known - chain.lookahead - HOP < complete <= known
    following = torch.cat([audio, torch.randn(1, 1, 10 * HOP)], dim=-1)
    whole = chain.advance(following, ChainState(), True)
    assert whole is not None
    torch.testing.assert_close(whole[..., :complete], early, rtol=0, atol=1e-6)


def test_a_causal_network_waits_for_nothing() -> None:
    generator = Generator(causal=True).eval().requires_grad_(False)
    assert generator.chain(MESSAGE).lookahead == 0
    assert generator.chain(MESSAGE, 32_000).lookahead < 32_000 // 40
