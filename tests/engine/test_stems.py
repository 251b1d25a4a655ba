"""Stems of a melody in the engine: separated once, before the chroma, and otherwise as any melody."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.checkpoints.stems import load_separator
from serve_app.config.app import EngineConfig
from serve_app.engine.engine import Engine
from serve_app.engine.melody_encoder import MelodyEncoder
from serve_app.engine.window import Window
from serve_app.models.chroma import MelodyConfig, chroma, fit
from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.models.stems import StemSeparator
from serve_app.types import Audio, AudioChunk, GenerationRequest, SamplingParams
from tests.architectures import randomize
from tests.demucs_files import write_htdemucs

RATE = 32_000
CHROMA = MelodyConfig(chroma_length=59, sample_rate=RATE, fft_size=4096)


@pytest.fixture(scope="module")
def checkpoint(nano: Checkpoint) -> Checkpoint:
    """A small random melody model with the codec and the text encoder of nano."""
    torch.manual_seed(4)
    config = replace(
        nano.musicgen.config,
        transformer=TransformerConfig(32, 2, 4, ffn_dim=64),
        conditioning=ConditioningSpec(text="prefix", prefix_positions=CHROMA.chroma_length),
        melody=CHROMA,
        project_text=True,
    )
    model = MusicGen(config)
    randomize(model)
    return replace(nano, musicgen=model.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def stems(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> StemSeparator:
    file = write_htdemucs(tmp_path_factory.mktemp("demucs") / "0a1b2c3d.safetensors")
    loaded = load_separator("demucs", str(file), checkpoint)
    assert loaded is not None
    return loaded


class Counted:
    """A separator that counts its melodies."""

    def __init__(self, stems: StemSeparator) -> None:
        self.device = stems.device
        self.count = 0
        self._stems = stems

    def separate(self, samples: Tensor, sample_rate: int) -> Tensor:
        self.count += 1
        return self._stems.separate(samples, sample_rate)


@pytest.fixture
def melody() -> Audio:
    """Six notes of a quarter of a second on both channels, with noise on one of them."""
    time = np.arange(RATE // 4) / RATE
    notes = [np.sin(2 * np.pi * 220 * 2 ** (step / 12) * time) for step in (0, 3, 7, 12, 7, 3)]
    tune = np.concatenate(notes)
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, tune.shape)
    return Audio(np.stack([tune, noise]).astype(np.float32), RATE)


@pytest.mark.parametrize("starts", [(0,), (0, 30 * 50, 60 * 50)])
def test_a_melody_is_separated_once_for_all_windows(
    checkpoint: Checkpoint, stems: StemSeparator, melody: Audio, starts: tuple[int, ...]
) -> None:
    config = checkpoint.musicgen.config.melody
    assert config is not None
    counted = Counted(stems)
    encoder = MelodyEncoder(config, 30.0, 50.0, lambda _: None, cast(StemSeparator, counted))
    windows = [Window(start, start + 100, 0) for start in starts]
    made = encoder.encode_here(melody, windows)
    encoder.shutdown()
    assert counted.count == 1
    separated = stems.separate(torch.from_numpy(melody.samples), RATE)
    parts = [separated]
    if len(starts) > 1:
        reached = [torch.arange(start // 50 * RATE, (start // 50 + 30) * RATE) for start in starts]
        parts = [separated[positions % len(separated)] for positions in reached]
    for part, frames in zip(parts, made, strict=True):
        assert torch.equal(frames, fit(chroma(part, config), config.chroma_length))


async def test_a_track_follows_the_stems(
    checkpoint: Checkpoint, stems: StemSeparator, melody: Audio
) -> None:
    config = EngineConfig(max_slots=1, num_threads=1)

    async def made(engine: Engine, heard: Audio) -> Any:
        request = GenerationRequest(
            request_id="1",
            model="m",
            prompt="piano",
            duration_s=0.2,
            sampling=SamplingParams(temperature=0.0),
            melody=heard,
        )
        items = [item async for item in engine.generate(request)]
        return np.concatenate([one.samples for one in items if isinstance(one, AudioChunk)], axis=1)

    separating = Engine(checkpoint, config, stems=stems)
    plain = Engine(checkpoint, config)
    try:
        track = await made(separating, melody)
        separated = stems.separate(torch.from_numpy(melody.samples), RATE)
        heard = Audio(separated[None].numpy(), RATE)
        np.testing.assert_array_equal(await made(plain, heard), track)
        assert np.abs(await made(plain, melody) - track).max() > 0, "the mix has another chroma"
    finally:
        separating.shutdown()
        plain.shutdown()
