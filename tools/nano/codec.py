"""Trains the embedded model's codec: an EnCodec of MusicGen's kind, on pieces made as it goes.

    python -m tools.nano.codec FOLDER [--steps N]

It resumes from FOLDER/codec.pt, saves there as it goes, draws FOLDER/codec.png, its loss curve, and at the end writes
FOLDER/encodec, the codec in the Hugging Face format. AudioCraft's modules are trained.
"""

import argparse
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
from tools.nano.prompts import random_piece
from tools.nano.synthesizer import FRAME, SAMPLE_RATE
from tools.nano.training import Training, cosine

CONFIG: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE, "channels": 1, "device": "cpu", "compression_model": "encodec",
    "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": SAMPLE_RATE, "channels": 1,
                "causal": False, "renormalize": False},
    "seanet": {"dimension": 64, "channels": 1, "causal": False, "n_filters": 16, "n_residual_layers": 1,
               "ratios": [4, 4, 5, 8], "activation": "ELU", "activation_params": {"alpha": 1.0}, "norm": "weight_norm",
               "norm_params": {}, "kernel_size": 7, "residual_kernel_size": 3, "last_kernel_size": 7,
               "dilation_base": 2, "pad_mode": "constant", "true_skip": True, "compress": 2, "lstm": 1,
               "disable_norm_outer_blocks": 0,
               "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
               "encoder": {}},
    "rvq": {"n_q": 4, "q_dropout": False, "bins": 512, "decay": 0.99, "kmeans_init": True, "kmeans_iters": 20,
            "threshold_ema_dead_code": 0.1, "orthogonal_reg_weight": 0.0, "orthogonal_reg_active_codes_only": False},
}  # fmt: skip
PIECE_S, CROP_S, CROPS_PER_PIECE, BATCH = 12.0, 1.0, 4, 8
UNQUANTIZED = 200  # first steps that train encoder and decoder alone: the codebooks then begin as clusters of something
LEARNING_RATE, WARM_UP = 1e-3, 100  # steps
WINDOWS = (2048, 512, 128)  # samples


class Crops(IterableDataset[Tensor]):
    """Endless crops [1, CROP_S * SAMPLE_RATE] of pieces, several from each, that begin where a frame does."""

    def __init__(self, first_seed: int) -> None:
        self._first_seed = first_seed

    def __iter__(self) -> Iterator[Tensor]:
        length = int(CROP_S * SAMPLE_RATE)
        for seed in itertools.count(self._first_seed):
            samples = render(random_piece(seed)[0], PIECE_S)
            rng = np.random.default_rng([seed, 4])
            for start in rng.integers(0, (len(samples) - length) // FRAME, CROPS_PER_PIECE) * FRAME:
                yield torch.from_numpy(samples[start : start + length])[None]


def spectral_distance(a: Tensor, b: Tensor) -> Tensor:
    """Multi-resolution STFT distance of waveforms [B, 1, n]: magnitudes and their logarithms, over several windows."""
    total = torch.zeros((), device=a.device)
    for size in WINDOWS:
        window = torch.hann_window(size, device=a.device)
        spectra = [
            torch.stft(x[:, 0], size, size // 4, window=window, return_complex=True)
            .abs()
            .clamp(min=1e-4)
            for x in (a, b)
        ]
        total = total + (spectra[0] - spectra[1]).abs().mean() * 10 / size**0.5
        total = total + 0.3 * (spectra[0].log() - spectra[1].log()).abs().mean()
    return total / len(WINDOWS)


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508) of waveforms [B, 1, n] -> [B]"""
    scale = (estimate * target).sum(-1, keepdim=True) / target.pow(2).sum(-1, keepdim=True).clamp(
        min=1e-8
    )
    projection = scale * target
    noise = estimate - projection
    return (10 * torch.log10(projection.pow(2).sum(-1) / noise.pow(2).sum(-1).clamp(min=1e-8)))[
        :, 0
    ]


def build() -> Any:
    """AudioCraft's codec, untrained."""
    from audiocraft.models.builders import get_compression_model
    from omegaconf import OmegaConf

    return get_compression_model(OmegaConf.create(CONFIG))


def train(folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build().to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.0
    )
    training = Training(folder / "codec.pt", model, optimizer, ("loss", "SI-SDR (dB)"))
    crops = DataLoader(
        Crops(training.first_step * BATCH // CROPS_PER_PIECE), batch_size=BATCH, num_workers=1
    )
    batches = iter(crops)

    def learning_rate(step: int) -> float:
        return LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * cosine(step / steps)

    def step_of(step: int) -> tuple[float, float]:
        return update(model, optimizer, next(batches).to(device), quantized=step >= UNQUANTIZED)

    training.run(steps, learning_rate, step_of)
    huggingface_encodec(CONFIG, model.cpu().state_dict()).save_pretrained(folder / "encodec")


def update(
    model: Any, optimizer: torch.optim.Optimizer, x: Tensor, *, quantized: bool
) -> tuple[float, float]:
    """One update on x [B, 1, n], through the codebooks or past them; returns the loss and the SI-SDR."""
    model.train()
    penalty: Tensor | float = 0.0
    if quantized:
        result = model(x)
        y, penalty = result.x, result.penalty
    else:
        y = model.decoder(model.encoder(x))
    y = y[..., : x.shape[-1]]  # whole frames come out
    error, scale = (y - x).abs().mean((1, 2)), x.abs().mean((1, 2)).clamp(min=0.01)
    # Relative to how loud each is: pieces are soft, and plain L1 too weak to learn from.
    loss = 5 * (error / scale).mean() + spectral_distance(y, x) + penalty
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach()), float(si_sdr(y.detach(), x).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.codec", description="Train the embedded model's codec."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000, help="(default: 3000)")
    arguments = parser.parse_args()
    train(arguments.folder, arguments.steps)
