"""MultiBand Diffusion equals AudioCraft's own, for the same noise."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.multiband_diffusion import convert, load_multiband_diffusion
from serve_app.models.multiband_diffusion import MultiBandDiffusion
from tests.architectures import MONO, write_audiocraft
from tests.diffusion import NUM_BANDS, write_diffusion
from tests.oracles import AudioCraftOracle
from tests.untraced import untraced

SEED = 2**40 + 7


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory, hub_cache: Path) -> Path:
    return write_audiocraft(MONO, tmp_path_factory.mktemp("export"), hub_cache)


@pytest.fixture(scope="module")
def checkpoint(export: Path) -> Checkpoint:
    return load_checkpoint(str(export))


@pytest.fixture(scope="module")
def published(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = checkpoint.codec.config
    file = tmp_path_factory.mktemp("published") / "mbd.th"
    return write_diffusion(file, config.sample_rate, config.codebook_dim)


@pytest.fixture(scope="module")
def diffusion(checkpoint: Checkpoint, published: Path) -> MultiBandDiffusion:
    folder = published.parent / "converted"
    convert(published, folder)
    loaded = load_multiband_diffusion(str(folder), checkpoint.codec)
    assert loaded is not None
    return loaded


@untraced
def audiocrafts(codec: Any, file: Path, codes: Tensor) -> Tensor:
    """AudioCraft's decoding, from its own loaders on. codes [B, K, n]"""
    from audiocraft.models.loaders import load_diffusion_models
    from audiocraft.models.multibanddiffusion import DiffusionProcess, MultiBandDiffusion
    from audiocraft.modules.diffusion_schedule import NoiseSchedule

    load = torch.load
    with mock.patch("torch.load", lambda *args, **more: load(*args, **more, weights_only=False)):
        models, processors, cfgs = load_diffusion_models(file)
    processes = [
        DiffusionProcess(
            model.eval(), NoiseSchedule(**cfg.schedule, sample_processor=processor, device="cpu")
        )
        for model, processor, cfg in zip(models, processors, cfgs, strict=True)
    ]
    torch.manual_seed(SEED)
    with torch.no_grad():
        return MultiBandDiffusion(processes, codec).tokens_to_wav(codes)  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch", [1, 2])
def test_audio_equals_audiocrafts_for_the_same_noise(
    batch: int, export: Path, published: Path, diffusion: MultiBandDiffusion
) -> None:
    codec = AudioCraftOracle(MONO, export).codec
    codes = torch.randint(0, MONO.codebook_size, (batch, 4, 70))
    expected = audiocrafts(codec, published, codes)
    evaluations: list[None] = []
    state = torch.get_rng_state()
    made = diffusion.decode(codes, SEED, lambda: evaluations.append(None))
    assert torch.equal(torch.get_rng_state(), state), "the generator of the process is not touched"
    assert made.shape == expected.shape == (batch, 1, 70 * 24)
    assert made.isfinite().all()
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert len(evaluations) == diffusion.evaluations == 20 * NUM_BANDS
    other = diffusion.decode(codes, SEED + 1, lambda: None)
    assert (other - made).abs().max() > 0.01 * made.abs().max(), "the seed is that of the noise"
    plain = codec.decode(codes, None)
    assert (plain - made).abs().max() > 0.01 * made.abs().max(), "it is not EnCodec's decoding"
