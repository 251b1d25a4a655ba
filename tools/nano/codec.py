"""Trains the embedded model's codec: an EnCodec of MusicGen's kind, on pieces made as it goes.

    python -m tools.nano.codec FOLDER [--steps N]

It resumes from FOLDER/codec.pt, saves there as it goes, draws FOLDER/codec.png, its loss curve, and at the end writes
FOLDER/encodec, the codec in the Hugging Face format. AudioCraft's modules are trained.
"""

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from tools.nano.composer import render
from tools.nano.curves import draw
from tools.nano.export import huggingface_encodec
from tools.nano.prompts import random_piece
from tools.nano.synthesizer import SAMPLE_RATE

CONFIG: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE, "channels": 1, "device": "cpu", "compression_model": "encodec",
    "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": SAMPLE_RATE, "channels": 1,
                "causal": False, "renormalize": False},
    "seanet": {"dimension": 64, "channels": 1, "causal": False, "n_filters": 16, "n_residual_layers": 1,
               "ratios": [8, 5, 4, 4], "activation": "ELU", "activation_params": {"alpha": 1.0}, "norm": "weight_norm",
               "norm_params": {}, "kernel_size": 7, "residual_kernel_size": 3, "last_kernel_size": 7,
               "dilation_base": 2, "pad_mode": "constant", "true_skip": True, "compress": 2, "lstm": 1,
               "disable_norm_outer_blocks": 0,
               "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
               "encoder": {}},
    "rvq": {"n_q": 4, "q_dropout": False, "bins": 1024, "decay": 0.99, "kmeans_init": True, "kmeans_iters": 20,
            "threshold_ema_dead_code": 2, "orthogonal_reg_weight": 0.0, "orthogonal_reg_active_codes_only": False},
}  # fmt: skip
PIECE_S, CROP_S, CROPS_PER_PIECE, BATCH = 12.0, 1.0, 4, 8
LOG_EVERY, SAVE_EVERY = 50, 250  # steps
WINDOWS = (2048, 1024, 512, 256, 128)


class Crops(IterableDataset[Tensor]):
    """Endless crops [1, CROP_S * SAMPLE_RATE] of pieces, several from each."""

    def __init__(self, first_seed: int) -> None:
        self._first_seed = first_seed

    def __iter__(self) -> Iterator[Tensor]:
        length = int(CROP_S * SAMPLE_RATE)
        for seed in itertools.count(self._first_seed):
            samples = render(random_piece(seed)[0], PIECE_S)
            rng = np.random.default_rng([seed, 4])
            for start in rng.integers(0, len(samples) - length, CROPS_PER_PIECE):
                yield torch.from_numpy(samples[start : start + length])[None]


def spectral_distance(a: Tensor, b: Tensor) -> Tensor:
    """Multi-resolution STFT distance of waveforms [B, 1, n]: magnitudes and their logarithms, over several windows."""
    total = torch.zeros((), device=a.device)
    for size in WINDOWS:
        window = torch.hann_window(size, device=a.device)
        spectra = [
            torch.stft(x[:, 0], size, size // 4, window=window, return_complex=True).abs().clamp(min=1e-4)
            for x in (a, b)
        ]
        total = total + (spectra[0] - spectra[1]).abs().mean() * 10 / size**0.5
        total = total + 0.3 * (spectra[0].log() - spectra[1].log()).abs().mean()
    return total / len(WINDOWS)


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508) of waveforms [B, 1, n] -> [B]"""
    scale = (estimate * target).sum(-1, keepdim=True) / target.pow(2).sum(-1, keepdim=True).clamp(min=1e-8)
    projection = scale * target
    noise = estimate - projection
    return (10 * torch.log10(projection.pow(2).sum(-1) / noise.pow(2).sum(-1).clamp(min=1e-8)))[:, 0]


def build() -> Any:
    """AudioCraft's codec, untrained."""
    from audiocraft.models.builders import get_compression_model
    from omegaconf import OmegaConf

    return get_compression_model(OmegaConf.create(CONFIG))


def train(folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.8, 0.99), weight_decay=0.0)
    history: list[tuple[int, float, float]] = []
    first = 0
    file = folder / "codec.pt"
    if file.exists():
        saved = torch.load(file, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        history, first = saved["history"], saved["step"]
    batches = DataLoader(Crops(first * BATCH // CROPS_PER_PIECE), batch_size=BATCH, num_workers=1)
    progress = tqdm(zip(range(first, steps), batches, strict=False), initial=first, total=steps, desc="codec")
    recent: list[tuple[float, float]] = []
    for step, batch in progress:
        for group in optimizer.param_groups:
            group["lr"] = 6e-4 * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        recent.append(update(model, optimizer, batch.to(device)))
        if (step + 1) % LOG_EVERY == 0:
            loss, quality = (float(np.mean(column)) for column in zip(*recent, strict=True))
            recent.clear()
            history.append((step + 1, loss, quality))
            progress.set_postfix(loss=f"{loss:.3f}", si_sdr=f"{quality:.1f} dB")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
            torch.save(state | {"step": step + 1}, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
            if history:
                draw(history, ("loss", "SI-SDR (dB)"), "musicgen-nano: codec", folder / "codec.png")
    huggingface_encodec(CONFIG, model.cpu().state_dict()).save_pretrained(folder / "encodec")


def update(model: Any, optimizer: torch.optim.Optimizer, x: Tensor) -> tuple[float, float]:
    """One update on x [B, 1, n]; returns the loss and the SI-SDR."""
    model.train()
    result = model(x)
    y = result.x
    loss = 3 * (y - x).abs().mean() / x.abs().mean() + spectral_distance(y, x)
    if result.penalty is not None:
        loss = loss + result.penalty
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach()), float(si_sdr(y.detach(), x).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.nano.codec", description="Train the embedded model's codec.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    train(arguments.folder, arguments.steps)
