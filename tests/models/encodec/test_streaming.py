"""Chunked decoding: buffers, receptive fields and look-ahead have exactly the needed size."""

import pytest
import torch
from torch import Tensor

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.streaming import DecoderState, StageBuffer, decoder_stages

FRAMES = 40


@pytest.fixture(params=[False, True], ids=["not causal", "causal"])
def codec(request: pytest.FixtureRequest) -> Encodec:
    config = EncodecConfig(8000, 1, 4, 16, 8, 4, 1, (3, 2), causal=request.param)
    codec = Encodec(config).requires_grad_(False)
    torch.nn.init.normal_(codec.codebooks)
    return codec


def whole(codec: Encodec, codes: Tensor) -> Tensor:
    """The decoder run once over all frames."""
    return codec.decode_chunk(codes, DecoderState(), final=True)


@pytest.mark.parametrize("size", [1, 7, FRAMES - 1])
def test_chunks_join_to_the_whole(codec: Encodec, size: int) -> None:
    codes = torch.randint(16, (2, 4, FRAMES))
    state = DecoderState()
    chunks = [
        codec.decode_chunk(part, state, final=False) for part in torch.split(codes, size, dim=-1)
    ]
    chunks.append(codec.decode_chunk(codes[..., :0], state, final=True))
    torch.testing.assert_close(torch.cat(chunks, dim=-1), whole(codec, codes), rtol=0, atol=1e-5)
    assert state.buffers[0].done == FRAMES


def test_buffers_hold_the_receptive_field_alone(codec: Encodec) -> None:
    state = DecoderState()
    for part in torch.split(torch.randint(16, (1, 4, FRAMES)), 1, dim=-1):
        codec.decode_chunk(part, state, final=False)
    for number, stage in enumerate(decoder_stages(codec.decoder)):
        buffer = state.buffers[number]
        assert buffer.frames is not None
        held = buffer.frames.shape[-1]
        assert buffer.start + held == buffer.end
        assert held == stage.left_context + stage.right_context


def test_audio_is_held_back_for_the_lookahead_alone(codec: Encodec) -> None:
    known = 30
    codes = torch.randint(16, (1, 4, known))
    state = DecoderState()
    parts = torch.split(codes, 10, dim=-1)
    audio = torch.cat([codec.decode_chunk(part, state, final=False) for part in parts], dim=-1)
    complete = audio.shape[-1]
    assert complete >= (known - codec.lookahead_frames) * codec.config.hop_length
    for _ in range(2):
        following = torch.cat([codes, torch.randint(16, (1, 4, 10))], dim=-1)
        torch.testing.assert_close(
            whole(codec, following)[..., :complete], audio, rtol=0, atol=1e-5
        )


def test_dropping_never_moves_a_buffer_back() -> None:
    buffer = StageBuffer()
    buffer.append(None)
    assert buffer.frames is None
    buffer.append(torch.arange(5.0).view(1, 1, 5))
    buffer.drop_until(-2)
    buffer.drop_until(3)
    assert (buffer.start, buffer.end) == (3, 5)
    assert buffer.frames is not None
    assert buffer.frames.flatten().tolist() == [3, 4]
