"""AudioSeal's detector: whether each sample of audio has a watermark, and its message."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from serve_app.models.audioseal.chain import Chain, ChainState
from serve_app.models.audioseal.config import (
    HOP_LENGTH,
    LATENT_SIZE,
    MESSAGE_BITS,
    seanet_config,
)
from serve_app.models.audioseal.generator import encoder_parts
from serve_app.models.encodec.seanet import seanet_encoder

_HEAD_SIZE = 32
_MARKED = 0.5  # probability from which a sample counts as marked


@dataclass(frozen=True, slots=True)
class Detection:
    """Result for one file.

    score: part of the samples that the detector takes for marked, from 0 to 1;
    message: the bits, the highest first; random in audio without a watermark.
    """

    score: float
    message: int


class Detector(nn.Module):
    """The detector's weights. causal: of the variant that was trained for streams."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.encoder = seanet_encoder(seanet_config(causal=causal))
        self.expand = nn.ConvTranspose1d(LATENT_SIZE, _HEAD_SIZE, HOP_LENGTH, stride=HOP_LENGTH)
        self.head = nn.Conv1d(_HEAD_SIZE, 2 + MESSAGE_BITS, 1)

    def logits(self, latents: Tensor) -> Tensor:
        """latents [B, LATENT_SIZE, n] -> [B, 2 + MESSAGE_BITS, n * HOP_LENGTH]

        The first two are of a sample without and with a watermark, the others of the bits.
        """
        expanded: Tensor = self.head(self.expand(latents))
        return expanded


@dataclass
class _Totals:
    """Sums over the samples of each channel."""

    samples: int = 0
    marked: Tensor | None = None  # [B]: samples with a watermark
    bits: Tensor | None = None  # [B, MESSAGE_BITS]: sum of the logits


@dataclass
class DetectionStream:
    """Detection in one file at AudioSeal's rate, part by part, in memory that its length does not change."""

    detector: Detector
    state: ChainState = field(default_factory=ChainState)

    def __post_init__(self) -> None:
        self._chain = Chain(encoder_parts(self.detector.encoder))
        self._totals = _Totals()
        self._received = 0

    @torch.inference_mode()
    def add(self, audio: Tensor) -> None:
        """audio [channels, n]"""
        self._received += audio.shape[1]
        self._count(self._chain.advance(audio[:, None], self.state, False))

    @torch.inference_mode()
    def finish(self) -> Detection:
        """Return the detection of the channel with the highest score. Raises ValueError without audio."""
        first = self.state.buffers.get(0)
        if first is None or first.frames is None:
            raise ValueError("no audio was added")
        rest = first.frames.new_zeros(len(first.frames), 1, -self._received % HOP_LENGTH)
        self._count(self._chain.advance(rest, self.state, True))
        marked = self._totals.marked
        bits = self._totals.bits
        if marked is None or bits is None:
            raise ValueError("no audio was added")
        best = int(marked.argmax())
        message = int("".join(str(int(bit > 0)) for bit in bits[best].tolist()), 2)
        return Detection(float(marked[best]) / self._received, message)

    def _count(self, latents: Tensor | None) -> None:
        if latents is None:
            return
        logits = self.detector.logits(latents)[..., : self._received - self._totals.samples]
        marked = (logits[:, :2].softmax(dim=1)[:, 1] > _MARKED).sum(dim=1)
        bits = logits[:, 2:].sum(dim=-1)
        totals = self._totals
        totals.samples += logits.shape[-1]
        totals.marked = marked if totals.marked is None else totals.marked + marked
        totals.bits = bits if totals.bits is None else totals.bits + bits
