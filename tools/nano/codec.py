"""Train the codec of the embedded model: a small EnCodec, on tracks rendered beforehand.

    python -m tools.nano.codec FOLDER [--steps N] [--device cuda|cpu]

Training resumes from FOLDER/codec.pt and saves its state there. FOLDER/codec.png plots the loss.
At the end FOLDER/encodec holds the codec in the Hugging Face format. The trained modules are
transformers' EncodecModel (EnCodec, arXiv:2210.13438); tools.nano.quantizer trains its codebooks,
and tools.nano.decoder goes on with its decoder alone, from and to FOLDER/decoder.pt.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tools.nano import decoder
from tools.nano.music import FULL_SCALE, PCM, renderer, track
from tools.nano.quantizer import initialize, quantize
from tools.nano.spectral_loss import SpectralLoss
from tools.nano.synthesizer import FRAME, SAMPLE_RATE
from tools.nano.training import (
    Progress,
    Training,
    learning_rate_factor,
    training_device,
    training_parser,
)

NUM_CODEBOOKS = 4
CONFIG: dict[str, Any] = {
    "sampling_rate": SAMPLE_RATE, "audio_channels": 1, "num_filters": 16, "hidden_size": 64,
    "num_residual_layers": 1, "upsampling_ratios": [8, 5, 4, 4], "kernel_size": 7,
    "last_kernel_size": 7, "residual_kernel_size": 3, "dilation_growth_rate": 2,
    "use_causal_conv": False, "pad_mode": "constant", "compress": 2, "num_lstm_layers": 1,
    "codebook_size": 1024, "use_conv_shortcut": False, "normalize": False,
}  # fmt: skip
TRACKS = 1600
TRACK_S = 12
CROP_S = 1.0
BATCH = 8  # crops
UNQUANTIZED = 200  # first steps, without codebooks, so that k-means starts from trained latents
KMEANS_CROPS = 64
KMEANS_SEED = 2**31
LEVEL_CROPS = 64
LEVEL_SEED = KMEANS_SEED + 1
DECODER_SEED = 100_000  # of the first crops for the decoder alone
OUTPUT_GAIN = 1.06  # of a language model's music, which is 0.5 dB too quiet on average
LEARNING_RATE = 1e-3
WARM_UP = 100  # steps


class Crops:
    """Random crops of tracks int16 [tracks, n], aligned to codec frames, on one device."""

    def __init__(self, tracks: PCM, device: torch.device) -> None:
        self._tracks = torch.from_numpy(tracks).to(device)

    def draw(self, count: int, seed: int) -> Tensor:
        """Crops [count, 1, CROP_S * SAMPLE_RATE]"""
        length = int(CROP_S * SAMPLE_RATE)
        rng = np.random.default_rng([seed, 4])
        number, samples = self._tracks.shape
        tracks = rng.integers(number, size=count)
        starts = rng.integers((samples - length) // FRAME + 1, size=count) * FRAME
        crops = [
            self._tracks[track, start : start + length]
            for track, start in zip(tracks.tolist(), starts.tolist(), strict=True)
        ]
        return torch.stack(crops)[:, None].float() / FULL_SCALE


def rendered_tracks(folder: Path) -> PCM:
    """Render TRACKS by all cores into FOLDER/tracks.npy, unless it exists: int16 [TRACKS, n]"""
    file = folder / "tracks.npy"
    if not file.exists():
        tracks = np.empty((TRACKS, int(TRACK_S * SAMPLE_RATE)), np.int16)
        progress = Progress("tracks", 0, TRACKS)
        with renderer(track) as render:
            for number, samples in enumerate(render([(seed, TRACK_S) for seed in range(TRACKS)])):
                tracks[number] = samples
                progress.show(number + 1)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "tracks.tmp.npy"
        np.save(part, tracks)
        part.replace(file)
    return np.asarray(np.load(file, mmap_mode="c"))


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508): [B, 1, n] -> [B]"""
    energy = target.pow(2).sum(-1, keepdim=True).clamp(min=1e-8)
    projection = (estimate * target).sum(-1, keepdim=True) / energy * target
    noise = estimate - projection
    ratio = projection.pow(2).sum(-1) / noise.pow(2).sum(-1).clamp(min=1e-8)
    return 10 * torch.log10(ratio.clamp(min=1e-8))[:, 0]


def build() -> Any:
    """Build the codec, untrained: PyTorch's own initialization of its layers."""
    from transformers import EncodecConfig, EncodecModel

    frame_bits = NUM_CODEBOOKS * (CONFIG["codebook_size"] - 1).bit_length()
    # transformers rounds the number of codebooks down.
    kbits = (frame_bits + 0.01) * SAMPLE_RATE / FRAME / 1000
    model = EncodecModel(EncodecConfig(**CONFIG, target_bandwidths=[kbits]))
    for module in model.modules():
        if isinstance(module, torch.nn.LSTM):
            module.reset_parameters()
        elif isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            _reset(module)
    return model


def _reset(layer: Any) -> None:
    """Initialize a weight-normalized convolution as PyTorch does."""
    weight = torch.empty_like(layer.weight)
    torch.nn.init.kaiming_uniform_(weight, a=5**0.5)
    layer.weight = weight
    fan_in, _ = torch.nn.init._calculate_fan_in_and_fan_out(weight)
    torch.nn.init.uniform_(layer.bias, -(fan_in**-0.5), fan_in**-0.5)


def on_device(model: Any, device: torch.device) -> Any:
    """Move the model, but not the sizes of its convolutions: reading them would wait for the GPU."""
    sizes = {
        module: {name: getattr(module, name) for name in ("stride", "kernel_size", "padding_total")}
        for module in model.modules()
        if isinstance(getattr(module, "padding_total", None), Tensor)
    }
    model.to(device)
    for module, buffers in sizes.items():
        module._buffers.update(buffers)
    return model


def train(folder: Path, steps: int, device: str | None = None) -> None:
    """Train up to `steps` steps in all, then write FOLDER/encodec."""
    torch.manual_seed(0)
    where = training_device(device)
    model = on_device(build(), where)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.0, fused=True
    )
    training = Training(folder / "codec.pt", model, optimizer, ("loss", "SI-SDR (dB)"))
    crops = Crops(rendered_tracks(folder), where)
    loss = SpectralLoss().to(where)

    def learning_rate(step: int) -> float:
        return LEARNING_RATE * learning_rate_factor(step, steps, WARM_UP)

    def step_of(step: int) -> tuple[Tensor, Tensor]:
        if step == UNQUANTIZED:
            start_codebooks(model, crops)
        x = crops.draw(BATCH, step)
        return update(model, optimizer, loss, x, quantized=step >= UNQUANTIZED)

    training.run(steps, learning_rate, step_of)
    match_level(model.eval(), crops)

    def decoder_crops(step: int) -> Tensor:
        return crops.draw(BATCH, DECODER_SEED + step)

    decoder.train(model, folder / "decoder.pt", decoder_crops, decoder.STEPS)
    scale(model, OUTPUT_GAIN)
    model.cpu().save_pretrained(folder / "encodec")


def start_codebooks(model: Any, crops: Crops) -> None:
    """Start the codebooks by k-means of the latents of KMEANS_CROPS."""
    with torch.no_grad():
        latents = model.encoder(crops.draw(KMEANS_CROPS, KMEANS_SEED)).movedim(1, 2).flatten(0, 1)
    initialize(model.quantizer, latents)


@torch.no_grad()
def match_level(model: Any, crops: Crops) -> None:
    """Scale the last layer so that music keeps its level: an uncertain decoder is too quiet."""
    x = crops.draw(LEVEL_CROPS, LEVEL_SEED)
    latents, _ = quantize(model.quantizer, model.encoder(x), learn=False)
    y = model.decoder(latents)[..., : x.shape[-1]]
    gain = (x.pow(2).mean((1, 2)) / y.pow(2).mean((1, 2))).clamp(0.1, 10).log().mean().div(2).exp()
    scale(model, gain.item())
    print(f"codec: level raised by {20 * gain.log10().item():.2f} dB", flush=True)


@torch.no_grad()
def scale(model: Any, gain: float) -> None:
    """Multiply what the decoder makes by `gain`, in its last layer."""
    layer = model.decoder.layers[-1].conv
    layer.parametrizations.weight.original0.mul_(gain)
    layer.bias.mul_(gain)


def update(
    model: Any, optimizer: torch.optim.Optimizer, loss: SpectralLoss, x: Tensor, *, quantized: bool
) -> tuple[Tensor, Tensor]:
    """Update on x [B, 1, n], through the codebooks or bypassing them; return loss and SI-SDR."""
    model.train()
    latents = model.encoder(x)
    commitment: Tensor | float = 0.0
    if quantized:
        latents, commitment = quantize(model.quantizer, latents)
    y = model.decoder(latents)[..., : x.shape[-1]]
    total = loss(y, x) + commitment
    optimizer.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total.detach(), si_sdr(y.detach(), x).mean()


def main() -> None:
    description = "Train the codec of the embedded model."
    arguments = training_parser("codec", description, steps=6000).parse_args()
    train(arguments.folder, arguments.steps, arguments.device)


if __name__ == "__main__":
    main()
