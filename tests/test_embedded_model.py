"""Tests of the embedded model against AudioCraft and transformers."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.hub import resolve
from tests.architectures import MONO
from tests.conftest import EMBEDDED
from tests.engine.test_engine import audio, request, running
from tests.oracles import PROMPT, AudioCraftOracle, Oracle, TransformersOracle
from tools.nano.audiocraft import write

FRAMES = 60


def by_audiocraft(nano: Checkpoint, folder: Path) -> Oracle:
    """Export the model to AudioCraft's format, from which this package loads equal weights."""
    from audiocraft.modules.conditioners import T5Conditioner

    name = str(write(EMBEDDED, folder))
    again = load_checkpoint(str(folder))
    for ours, exported in zip(nano.musicgen.parameters(), again.musicgen.parameters(), strict=True):
        assert torch.equal(ours, exported)
    for ours, exported in zip(nano.codec.parameters(), again.codec.parameters(), strict=True):
        assert torch.equal(ours, exported)
    known = mock.patch.object(T5Conditioner, "MODELS", [name])
    width = mock.patch.dict(T5Conditioner.MODELS_DIMS, {name: nano.text_encoder.hidden_size})
    with known, width:
        return AudioCraftOracle(MONO, folder)


def by_transformers(_: Checkpoint, __: Path) -> Oracle:
    return TransformersOracle(MONO, resolve(EMBEDDED))


@pytest.mark.parametrize("read", [by_audiocraft, by_transformers])
async def test_greedy_audio_is_equal(read: object, nano: Checkpoint, tmp_path: Path) -> None:
    oracle = read(nano, tmp_path)  # type: ignore[operator]
    seconds = int(FRAMES / nano.frame_rate)
    length = nano.musicgen.config.length_prompt.replace("{seconds}", str(seconds))
    expected = oracle.decode(oracle.generate(PROMPT + length, FRAMES))
    with running(nano) as engine:
        samples = await audio(engine, request(PROMPT, FRAMES / nano.frame_rate, temperature=0.0))
    torch.testing.assert_close(torch.from_numpy(samples), expected, rtol=0, atol=1e-4)
