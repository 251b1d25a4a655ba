"""AudioSeal's generator: the watermark of audio for a message (arXiv:2401.17264).

SEANet's encoder, the message's embedding added to each latent, and SEANet's decoder.
"""

from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.audioseal.chain import Chain
from serve_app.models.audioseal.config import (
    FRAME_RATE,
    LATENT_SIZE,
    MESSAGE_BITS,
    SAMPLE_RATE,
    seanet_config,
)
from serve_app.models.audioseal.resample import Resample
from serve_app.models.encodec.lstm import SkipLSTM
from serve_app.models.encodec.seanet import seanet_decoder, seanet_encoder
from serve_app.models.encodec.streaming import Stage, decoder_stages, encoder_stages


class AddVector(nn.Module):
    """Adds one vector [C] to every frame."""

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        self.register_buffer("vector", vector[:, None], persistent=False)
        self.vector: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, n] -> [B, C, n]"""
        return x + self.vector


class Generator(nn.Module):
    """The generator's weights. causal: of the variant that was trained for streams."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        config = seanet_config(causal=causal)
        self.encoder = seanet_encoder(config)
        self.decoder = seanet_decoder(config)
        self.message = nn.Embedding(2 * MESSAGE_BITS, LATENT_SIZE)

    def chain(self, message: int, sample_rate: int = SAMPLE_RATE) -> Chain:
        """Build the computation of the watermark of audio [B, 1, n] at `sample_rate`.

        At another rate than AudioSeal's, the audio is resampled for it, and the watermark back.
        message: MESSAGE_BITS bits, the highest first. The sample rate must be a multiple of
        FRAME_RATE (50 Hz). Raises ValueError.
        """
        if sample_rate % FRAME_RATE:
            raise ValueError(f"the sample rate {sample_rate} is no multiple of {FRAME_RATE} Hz")
        down = _resampling(sample_rate, SAMPLE_RATE, self)
        up = _resampling(SAMPLE_RATE, sample_rate, self)
        return Chain([*down, *self._encoding(), *self._decoding(message), *up])

    def embed(self, message: int) -> Tensor:
        """Embed a message: the sum [LATENT_SIZE] of one vector for each bit's position and value."""
        bits = bits_of(message).to(self.message.weight.device)
        rows = 2 * torch.arange(MESSAGE_BITS, device=bits.device) + bits
        return self.message.weight[rows].sum(dim=0)

    def _encoding(self) -> list[Stage | SkipLSTM]:
        return encoder_parts(self.encoder)

    def _decoding(self, message: int) -> list[Stage | SkipLSTM]:
        _, *upsamplings = decoder_stages(self.decoder)
        first = Stage([AddVector(self.embed(message).detach()), self.decoder[0]])
        return [first, cast(SkipLSTM, self.decoder[1]), *upsamplings]


def encoder_parts(encoder: nn.ModuleList) -> list[Stage | SkipLSTM]:
    """Order a SEANet encoder's stages, and its LSTM before the last of them."""
    *downsamplings, last = encoder_stages(encoder)
    lstm = next(layer for layer in encoder if isinstance(layer, SkipLSTM))
    return [*downsamplings, lstm, last]


def bits_of(message: int) -> Tensor:
    """message -> its bits [MESSAGE_BITS], 0 or 1, the highest first"""
    return torch.tensor([message >> place & 1 for place in reversed(range(MESSAGE_BITS))])


def _resampling(rate_in: int, rate_out: int, network: Generator) -> list[Stage]:
    if rate_in == rate_out:
        return []
    return [Stage([Resample(rate_in, rate_out).to(network.message.weight.device)])]
