"""Train the codec of the embedded model: a small EnCodec, on tracks rendered during training.

    python -m tools.nano.codec FOLDER [--steps N]

Training resumes from FOLDER/codec.pt and saves its state there. FOLDER/codec.png plots the loss.
At the end FOLDER/encodec holds the codec in the Hugging Face format. The trained modules are
AudioCraft's (EnCodec, arXiv:2210.13438).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from tools.nano.composer import render
from tools.nano.huggingface import huggingface_encodec
from tools.nano.prompts import random_example
from tools.nano.synthesizer import FRAME, SAMPLE_RATE
from tools.nano.training import (
    Training,
    learning_rate_factor,
    training_device,
    training_parser,
)

CONFIG: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE, "channels": 1, "device": "cpu", "compression_model": "encodec",
    "encodec": {
        "autoencoder": "seanet", "quantizer": "rvq", "sample_rate": SAMPLE_RATE, "channels": 1,
        "causal": False, "renormalize": False,
    },
    "seanet": {
        "dimension": 64, "channels": 1, "causal": False, "n_filters": 16, "n_residual_layers": 1,
        "ratios": [4, 4, 5, 8], "activation": "ELU", "activation_params": {"alpha": 1.0},
        "norm": "weight_norm", "norm_params": {}, "kernel_size": 7, "residual_kernel_size": 3,
        "last_kernel_size": 7, "dilation_base": 2, "pad_mode": "constant", "true_skip": True,
        "compress": 2, "lstm": 1, "disable_norm_outer_blocks": 0,
        "decoder": {
            "trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None,
        },
        "encoder": {},
    },
    "rvq": {
        "n_q": 4, "q_dropout": False, "bins": 512, "decay": 0.99, "kmeans_init": True,
        "kmeans_iters": 20, "threshold_ema_dead_code": 0.1, "orthogonal_reg_weight": 0.0,
        "orthogonal_reg_active_codes_only": False,
    },
}  # fmt: skip
TRACK_S = 12.0
CROP_S = 1.0
CROPS_PER_TRACK = 4
BATCH = 8  # crops
UNQUANTIZED = 200  # first steps, without codebooks, so that k-means starts from trained latents
LEARNING_RATE = 1e-3
WARM_UP = 100  # steps
STFT_SIZES = (2048, 512, 128)  # samples


class Crops(IterableDataset[Tensor]):
    """Endless crops [1, CROP_S * SAMPLE_RATE], CROPS_PER_TRACK a track, aligned to codec frames."""

    def __init__(self, first_seed: int) -> None:
        self._first_seed = first_seed

    def __iter__(self) -> Iterator[Tensor]:
        length = int(CROP_S * SAMPLE_RATE)
        for seed in itertools.count(self._first_seed):
            samples = render(random_example(seed)[0], TRACK_S)
            rng = np.random.default_rng([seed, 4])
            frames = rng.integers(0, (len(samples) - length) // FRAME, CROPS_PER_TRACK)
            for start in frames * FRAME:
                yield torch.from_numpy(samples[start : start + length])[None]


def spectral_distance(a: Tensor, b: Tensor) -> Tensor:
    """Multi-resolution STFT distance of waveforms [B, 1, n]: L1 of magnitudes and of logarithms."""
    total = torch.zeros((), device=a.device)
    for size in STFT_SIZES:
        first = _magnitudes(a, size)
        second = _magnitudes(b, size)
        total = total + (first - second).abs().mean() * 10 / size**0.5
        total = total + 0.3 * (first.log() - second.log()).abs().mean()
    return total / len(STFT_SIZES)


def _magnitudes(x: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, device=x.device)
    spectrum = torch.stft(x[:, 0], size, size // 4, window=window, return_complex=True)
    return spectrum.abs().clamp(min=1e-4)


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508): [B, 1, n] -> [B]"""
    energy = target.pow(2).sum(-1, keepdim=True).clamp(min=1e-8)
    projection = (estimate * target).sum(-1, keepdim=True) / energy * target
    noise = estimate - projection
    ratio = projection.pow(2).sum(-1) / noise.pow(2).sum(-1).clamp(min=1e-8)
    return 10 * torch.log10(ratio)[:, 0]


def build() -> Any:
    """Build AudioCraft's codec, untrained."""
    from audiocraft.models.builders import get_compression_model
    from omegaconf import OmegaConf

    return get_compression_model(OmegaConf.create(CONFIG))


def train(folder: Path, steps: int) -> None:
    """Train up to `steps` steps in all, then write FOLDER/encodec."""
    torch.manual_seed(0)
    device = training_device()
    model = build().to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.0
    )
    training = Training(folder / "codec.pt", model, optimizer, ("loss", "SI-SDR (dB)"))
    crops = Crops(training.first_step * BATCH // CROPS_PER_TRACK)
    batches = iter(DataLoader(crops, batch_size=BATCH, num_workers=1))

    def learning_rate(step: int) -> float:
        return LEARNING_RATE * learning_rate_factor(step, steps, WARM_UP)

    def step_of(step: int) -> tuple[float, float]:
        return update(model, optimizer, next(batches).to(device), quantized=step >= UNQUANTIZED)

    training.run(steps, learning_rate, step_of)
    huggingface_encodec(CONFIG, model.cpu().state_dict()).save_pretrained(folder / "encodec")


def update(
    model: Any, optimizer: torch.optim.Optimizer, x: Tensor, *, quantized: bool
) -> tuple[float, float]:
    """Update on x [B, 1, n], through the codebooks or bypassing them; return loss and SI-SDR."""
    model.train()
    y, penalty = _reconstruct(model, x, quantized=quantized)
    error = (y - x).abs().mean((1, 2))
    scale = x.abs().mean((1, 2)).clamp(min=0.01)
    # Relative to each crop's loudness: tracks are quiet, and plain L1 is too weak a signal.
    loss = 5 * (error / scale).mean() + spectral_distance(y, x) + penalty
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach()), float(si_sdr(y.detach(), x).mean())


def _reconstruct(model: Any, x: Tensor, *, quantized: bool) -> tuple[Tensor, Tensor | float]:
    """x [B, 1, n] -> its reconstruction [B, 1, n] and the quantizer's penalty."""
    if not quantized:
        return model.decoder(model.encoder(x))[..., : x.shape[-1]], 0.0
    result = model(x)
    return result.x[..., : x.shape[-1]], result.penalty


def main() -> None:
    description = "Train the codec of the embedded model."
    arguments = training_parser("codec", description, steps=3000).parse_args()
    train(arguments.folder, arguments.steps)


if __name__ == "__main__":
    main()
