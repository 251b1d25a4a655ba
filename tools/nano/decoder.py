"""Training of the codec's decoder alone: lower peaks, and bands that keep their energy.

A language model's codes are less likely ones than those of music. The decoder overshoots on them: attacks of drums go
beyond full scale, where they clip. And where it is uncertain, the nearest sound is too quiet a one: bells lose their
partials. So it goes on by itself, after encoder and codebooks are trained: the codes of all music stay what they are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.nano.spectral_loss import SpectralLoss
from tools.nano.training import Training, learning_rate_factor

STEPS = 2000
LEARNING_RATE = 3e-4
WARM_UP = 50  # steps
GAIN = 1.05  # of the targets: what a language model writes is quieter than music
CEILING = 0.66  # of the targets' soft clipper
KNEE = 6  # its exponent
PEAK = 0.68  # beyond which a sample is penalized
PEAK_WEIGHT = 0.3
BALANCE_WEIGHT = 1.5
UNLIKELY = 0.3  # share of codes taken from another crop, half of the time, to find peaks


def limited(x: Tensor) -> Tensor:
    """Louder music whose peaks are bent below CEILING."""
    y = GAIN * x
    return y / (1 + (y.abs() / CEILING) ** KNEE) ** (1 / KNEE)


def overshoot(y: Tensor) -> Tensor:
    """Sum of what is beyond PEAK, the mean of the batch: [B, 1, n] -> []"""
    return (y.abs() - PEAK).relu().sum((1, 2)).mean()


def train(model: Any, file: Path, draw: Callable[[int], Tensor], steps: int) -> None:
    """Train the decoder of `model`, with the state in `file`. draw: step -> crops [B, 1, n]"""
    model.eval()
    decoder = model.decoder
    device = next(decoder.parameters()).device
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.0, fused=True
    )
    training = Training(file, decoder, optimizer, ("loss", "overshoot"))
    distance = SpectralLoss().to(device)

    def update(step: int) -> tuple[Tensor, Tensor]:
        x = draw(step)
        latents = _latents(model, x)
        decoder.train()
        y = decoder(latents)[..., : x.shape[-1]]
        beyond = overshoot(y)
        target = limited(x)
        total = distance(y[: len(x)], target) + BALANCE_WEIGHT * distance.balance(
            y[: len(x)], target
        )
        total = total + PEAK_WEIGHT * beyond
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        return total.detach(), beyond.detach()

    training.run(
        steps, lambda step: LEARNING_RATE * learning_rate_factor(step, steps, WARM_UP), update
    )
    decoder.eval()


@torch.no_grad()
def _latents(model: Any, x: Tensor) -> Tensor:
    """What the decoder gets for x [B, 1, n], and for UNLIKELY codes: [2 B, D, T]"""
    codes = model.quantizer.encode(model.encoder(x))
    is_other = torch.rand(codes.shape, device=codes.device) < UNLIKELY
    unlikely = torch.where(is_other, codes.roll(1, dims=1), codes)
    latents: Tensor = model.quantizer.decode(torch.cat([codes, unlikely], dim=1))
    return latents
