"""Operands and memory formats by which oneDNN computes faster on a CPU."""

import torch
from torch import Tensor


def as_image(x: Tensor) -> Tensor:
    """x [B, C, n] -> [B, C, 1, n] in channels-last order, in which oneDNN's convolutions are twice as fast."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def as_operand(x: Tensor) -> Tensor:
    """x in oneDNN's layout, in which matrix products are up to three times as fast; x itself without oneDNN."""
    return x.to_mkldnn() if torch.backends.mkldnn.is_available() else x  # type: ignore[no-untyped-call]
