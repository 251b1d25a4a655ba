"""The architecture of an EnCodec."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EncodecConfig:
    """Sizes and options of the codec; defaults are those of the published models."""

    sample_rate: int  # Hz
    channels: int
    num_quantizers: int
    codebook_size: int
    codebook_dim: int
    num_filters: int
    num_residual_layers: int
    upsampling_ratios: tuple[int, ...]
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    compress: int = 2
    num_lstm_layers: int = 2
    conv_shortcut: bool = False
    causal: bool = False
    trim_right_ratio: float = 1.0
    pad_mode: str = "reflect"

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length
