"""Small random models of MultiBand Diffusion, written by AudioCraft's own classes."""

from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.checkpoints.multiband_diffusion import convert, load_multiband_diffusion
from serve_app.models.multiband_diffusion import MultiBandDiffusion
from tests.architectures import randomize
from tests.untraced import untraced

NUM_BANDS = 2


def diffusion_config(codec_dim: int, n_bands: int) -> dict[str, Any]:
    """Build AudioCraft's configuration of one band, with sections that generation makes no use of."""
    return {
        "solver": "diffusion",
        "sample_rate": "${dset.rate}",
        "dset": {"rate": 8000, "valid": None},
        "channels": 1,
        "optim": {"lr": 2e-4, "adam": {"betas": [0.9, 0.999]}},
        "diffusion_unet": {
            "hidden": 8, "depth": 2, "res_blocks": 1, "norm_groups": 4, "kernel": 8, "stride": 4,
            "growth": 2.0, "max_channels": 10_000, "dropout": 0.0, "emb_all_layers": True, "bilstm": False,
            "codec_dim": codec_dim, "transformer": False, "cross_attention": False,
        },
        "processor": {
            "name": "multi_band_processor", "use": True, "n_bands": n_bands, "num_samples": 10_000,
            "power_std": 1.0,
        },
        "schedule": {
            "repartition": "power", "variable_step_batch": True, "beta_t0": 1e-5, "beta_t1": 2.9e-2,
            "beta_exp": 7.5, "num_steps": 1000, "variance": "beta", "clip": 5.0, "rescale": 1.0,
            "n_bands": None, "noise_scale": 1.0,
        },
    }  # fmt: skip


@untraced
def diffusion_package(sample_rate: int, codec_dim: int) -> dict[Any, Any]:
    """Build the content of a published file."""
    from audiocraft.models import builders
    from omegaconf import OmegaConf

    torch.manual_seed(3)
    package: dict[Any, Any] = {"sample_rate": sample_rate, "n_bands": NUM_BANDS}
    for number in range(NUM_BANDS):
        cfg = OmegaConf.create(diffusion_config(codec_dim, 4 + number))
        model = builders.get_diffusion_model(cfg)
        randomize(model)
        processor = builders.get_processor(cfg.processor, sample_rate)
        for name in ("counts", "sum_x2", "sum_target_x2"):
            getattr(processor, name).fill_(10.0).mul_(0.5 + torch.rand(1))
        package[number] = {
            "cfg": cfg,
            "model_state": model.state_dict(),
            "processor_state": processor.state_dict(),
        }
    return package


def write_diffusion(file: Path, sample_rate: int, codec_dim: int) -> Path:
    """Write a file of the published form (`mbd_musicgen_32khz.th`)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(diffusion_package(sample_rate, codec_dim), file)
    return file


def write_converted(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a converted folder that fits the codec of `checkpoint`."""
    config = checkpoint.codec.config
    convert(write_diffusion(folder / "mbd.th", config.sample_rate, config.codebook_dim), folder)
    return folder


def load_converted(folder: Path, checkpoint: Checkpoint) -> MultiBandDiffusion:
    """Load a small random model for the codec of `checkpoint`."""
    loaded = load_multiband_diffusion(str(write_converted(folder, checkpoint)), checkpoint.codec)
    assert loaded is not None
    return loaded
