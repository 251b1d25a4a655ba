"""The codec equals AudioCraft's and transformers' on the same weights, whole and in chunks."""

from pathlib import Path

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.models.encodec.streaming import DecoderState
from tests.architectures import AUDIOCRAFT, HUGGINGFACE, WIDE_CODEC
from tests.oracles import AudioCraftOracle, Oracle, load_pair

FRAMES = 40
CASES = [("audiocraft", a) for a in [*AUDIOCRAFT, WIDE_CODEC]]
CASES += [("transformers", a) for a in [*HUGGINGFACE, WIDE_CODEC]]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1].name}")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> tuple[Checkpoint, Oracle]:
    kind, architecture = request.param
    return load_pair(kind, architecture, tmp_path_factory.mktemp("checkpoint"), hub_cache)


def test_audio_equals_the_oracles(pair: tuple[Checkpoint, Oracle]) -> None:
    checkpoint, oracle = pair
    lm = checkpoint.musicgen.config
    codes = torch.randint(0, lm.codebook_size, (lm.num_codebooks, FRAMES))
    batch = torch.stack([codes[0::2], codes[1::2]]) if checkpoint.stereo_codebooks else codes[None]
    audio = checkpoint.codec.decode(batch).flatten(0, 1)
    torch.testing.assert_close(audio, oracle.decode(codes), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "sizes", [[1] * FRAMES, [7, 20, 13], [FRAMES - 1, 1, 0], [FRAMES]], ids=str
)
def test_chunked_audio_equals_whole(pair: tuple[Checkpoint, Oracle], sizes: list[int]) -> None:
    codec = pair[0].codec
    codes = torch.randint(0, codec.config.codebook_size, (2, 4, FRAMES))
    state = DecoderState()
    chunks = []
    for i, part in enumerate(torch.split(codes, sizes, dim=-1)):
        chunks.append(codec.decode_chunk(part, state, final=i == len(sizes) - 1))
    torch.testing.assert_close(torch.cat(chunks, dim=-1), codec.decode(codes), rtol=0, atol=1e-5)
    assert state.buffers[0].done == FRAMES


def test_encoding_equals_the_oracles(pair: tuple[Checkpoint, Oracle]) -> None:
    checkpoint, oracle = pair
    audio = torch.randn(1, 1, 17 * checkpoint.codec.config.hop_length + 3)
    with torch.no_grad():
        if isinstance(oracle, AudioCraftOracle):
            mono = oracle.codec.model if checkpoint.stereo_codebooks else oracle.codec
            expected = mono.encode(audio)[0]
        else:
            expected = oracle.model.audio_encoder.encode(audio).audio_codes[0]
    assert torch.equal(checkpoint.codec.encode(audio), expected)


@pytest.mark.parametrize("chunk", [1, 3, 40])
def test_the_last_chunk_always_has_samples(pair: tuple[Checkpoint, Oracle], chunk: int) -> None:
    """The look-ahead is held back until then, however short the last chunk is."""
    codec = pair[0].codec
    codes = torch.randint(0, codec.config.codebook_size, (1, 4, chunk + 1))
    state = DecoderState()
    codec.decode_chunk(codes[..., :chunk], state, final=False)
    assert codec.decode_chunk(codes[..., chunk:], state, final=True).shape[-1] > 0
