"""Audio prompts and tracks beyond the window equal AudioCraft's, code for code, and stream."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.engine import Engine
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.types import Audio, AudioChunk, GenerationRequest, SamplingParams
from tests.architectures import BIASES, STEREO, Architecture
from tests.oracles import PROMPT, AudioCraftOracle, load_pair

# 20 frames a second; as many codes as the codec has
SLOW = [
    replace(architecture, sample_rate=480, codebook_size=128) for architecture in (BIASES, STEREO)
]


@pytest.fixture(scope="module", params=SLOW, ids=lambda architecture: architecture.name)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> tuple[Checkpoint, AudioCraftOracle]:
    architecture: Architecture = request.param
    checkpoint, oracle = load_pair(
        "audiocraft", architecture, tmp_path_factory.mktemp("checkpoint"), hub_cache
    )
    assert isinstance(oracle, AudioCraftOracle)
    return checkpoint, oracle


@contextlib.contextmanager
def running(checkpoint: Checkpoint, *, pin_batch_shape: bool = False) -> Iterator[Engine]:
    config = EngineConfig(
        max_slots=2,
        num_threads=1,
        max_duration_s=100.0,
        chunk_s=2.0,
        pin_batch_shape=pin_batch_shape,
    )
    engine = Engine(checkpoint, config)
    try:
        yield engine
    finally:
        engine.shutdown()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The codes that go into the codec, chunk by chunk."""
    seen: list[Tensor] = []
    decode = StreamingDecoder.decode

    def record(self: StreamingDecoder, codes: Tensor, final: bool) -> object:
        seen.append(codes.clone())
        return decode(self, codes, final)

    monkeypatch.setattr(StreamingDecoder, "decode", record)
    return seen


def sound(checkpoint: Checkpoint, duration_s: float) -> Audio:
    shape = (checkpoint.audio_channels, round(duration_s * checkpoint.sample_rate))
    return Audio(
        np.random.default_rng(3).uniform(-0.8, 0.8, shape).astype(np.float32),
        checkpoint.sample_rate,
    )


def greedy(prompt: str, duration_s: float, audio_prompt: Audio | None) -> GenerationRequest:
    return GenerationRequest(
        request_id="test",
        model="nano",
        prompt=prompt,
        duration_s=duration_s,
        audio_prompt=audio_prompt,
        sampling=SamplingParams(temperature=0.0),
    )


async def collect(engine: Engine, request: GenerationRequest) -> list[AudioChunk]:
    return [item async for item in engine.generate(request) if isinstance(item, AudioChunk)]


@pytest.mark.parametrize(
    ("prompt", "duration_s", "audio_s"),
    [
        (PROMPT, 4.0, 1.0),
        ("", 4.0, 1.0),
        pytest.param(PROMPT, 45.0, 0.0, marks=pytest.mark.long),
        (PROMPT, 45.0, 2.5),
    ],
    ids=str,
)
async def test_codes_equal_audiocrafts(
    pair: tuple[Checkpoint, AudioCraftOracle],
    decoded: list[Tensor],
    prompt: str,
    duration_s: float,
    audio_s: float,
) -> None:
    checkpoint, oracle = pair
    audio_prompt = sound(checkpoint, audio_s) if audio_s else None
    expected = oracle.continue_audio(prompt or None, audio_prompt, duration_s)
    with running(checkpoint) as engine:
        chunks = await collect(engine, greedy(prompt, duration_s, audio_prompt))
    assert torch.equal(torch.cat(decoded, dim=-1), expected)
    assert len(chunks) > duration_s / 2, "the track is sent while it is generated"
    samples = torch.from_numpy(np.concatenate([chunk.samples for chunk in chunks], axis=1))
    torch.testing.assert_close(samples, oracle.decode(expected), rtol=0, atol=1e-4)


@pytest.mark.long
async def test_a_sliding_window_changes_no_other_track(
    pair: tuple[Checkpoint, AudioCraftOracle],
) -> None:
    checkpoint, _ = pair
    steady = GenerationRequest(
        request_id="test",
        model="nano",
        prompt=PROMPT,
        duration_s=20.0,
        sampling=SamplingParams(seed=5),
    )
    long = greedy("loud drums", 40.0, sound(checkpoint, 3.0))
    with running(checkpoint, pin_batch_shape=True) as engine:
        alone = [await collect(engine, one) for one in (steady, long)]
        together = await asyncio.gather(collect(engine, long), collect(engine, steady))
    for one, other in zip(alone, reversed(together), strict=True):
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(one, other, strict=True))


async def test_the_next_window_has_other_noise(
    pair: tuple[Checkpoint, AudioCraftOracle], decoded: list[Tensor]
) -> None:
    """Codes are about equally likely at a high temperature: equal noise would give equal codes."""
    checkpoint, _ = pair
    sampling = SamplingParams(seed=1, temperature=10.0, top_k=0, cfg_coef=0.0)
    with running(checkpoint) as engine:
        request = GenerationRequest(
            request_id="test", model="nano", prompt=PROMPT, duration_s=48.0, sampling=sampling
        )
        await collect(engine, request)
    codes = torch.cat(decoded, dim=-1)
    first = codes[:, 240:600]
    second = codes[:, 600:960]
    assert (first == second).float().mean() < 0.1
