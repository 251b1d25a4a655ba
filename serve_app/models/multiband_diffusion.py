"""MultiBand Diffusion: codes -> audio by one diffusion model for each frequency band.

Follows "From Discrete Tokens to High-Fidelity Audio Using Multi-Band Diffusion" (arXiv:2308.02560)
with AudioCraft's own code, which is imported here alone, and only where a decoder is built: its
import takes about 20 s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.rvq import dequantize

EVALUATIONS = 20  # of each band's U-Net, AudioCraft's default


@dataclass(frozen=True)
class Band:
    """One frequency band. unet: AudioCraft's DiffusionUnet; schedule: its NoiseSchedule."""

    unet: nn.Module
    schedule: Any


class MultiBandDiffusion:
    """Decoder of mono codes of `codec`, with the bands of AudioCraft's models."""

    def __init__(self, codec: Encodec, bands: Sequence[Band]) -> None:
        self._codec = codec
        self._bands = bands

    @property
    def evaluations(self) -> int:
        """U-Net evaluations of one track."""
        return EVALUATIONS * len(self._bands)

    @torch.inference_mode()
    def decode(self, codes: Tensor, seed: int, before_evaluation: Callable[[], None]) -> Tensor:
        """codes [B, K, frames] -> audio [B, 1, frames * hop_length], as AudioCraft's `tokens_to_wav`.

        seed: of all noise, which is the same on a CPU and on a GPU;
        before_evaluation: called before each evaluation of a U-Net; its exception ends the decoding.
        """
        from audiocraft.models.multibanddiffusion import DiffusionProcess
        from audiocraft.models.multibanddiffusion import MultiBandDiffusion as AudioCrafts

        processes = [
            DiffusionProcess(_Announced(band.unet, before_evaluation), band.schedule)
            for band in self._bands
        ]
        with _SeededNoise(seed):
            audio: Tensor = AudioCrafts(processes, _CodecView(self._codec)).tokens_to_wav(codes)
        return audio


class _Announced:
    """A U-Net that tells of each evaluation before it begins."""

    def __init__(self, unet: nn.Module, before: Callable[[], None]) -> None:
        self._unet = unet
        self._before = before

    def __call__(self, sample: Tensor, step: int, condition: Tensor) -> Any:
        self._before()
        return self._unet(sample, step, condition=condition)


class _CodecView:
    """An EnCodec with the names of AudioCraft's CompressionModel."""

    def __init__(self, codec: Encodec) -> None:
        self.sample_rate = codec.config.sample_rate
        self.frame_rate = codec.config.frame_rate
        self.channels = codec.config.channels
        self._codec = codec

    def parameters(self) -> Iterator[nn.Parameter]:
        return self._codec.parameters()

    def decode(self, codes: Tensor) -> Tensor:
        return self._codec.decode(codes)

    def decode_latent(self, codes: Tensor) -> Tensor:
        """codes [B, K, frames] -> quantized latents [B, codebook_dim, frames]"""
        config = self._codec.config
        codebooks = self._codec.codebooks.view(
            config.num_quantizers, config.codebook_size, config.codebook_dim
        )
        return dequantize(codes, codebooks)


class _SeededNoise(TorchFunctionMode):
    """Draws the `torch.randn_like` of the calling thread from one seed, on the CPU.

    PyTorch's own generator is shared by all threads, and a GPU's must not be used while another
    thread captures a CUDA graph.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        function: Any,
        _: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is torch.randn_like:
            like: Tensor = args[0]
            noise = torch.randn(like.shape, dtype=like.dtype, generator=self._generator)
            return noise.to(like.device)
        return function(*args, **(kwargs or {}))
