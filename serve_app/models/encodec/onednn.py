"""Operands and memory formats by which oneDNN computes faster on a CPU."""

import torch
from torch import Tensor


def as_image(x: Tensor) -> Tensor:
    """Reshape x [B, C, n] -> [B, C, 1, n] in channels-last order.

    oneDNN's convolutions are twice as fast in this order.
    """
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def as_operand(x: Tensor) -> Tensor:
    """Convert x to oneDNN's layout; without oneDNN, return x itself.

    Matrix products are up to three times as fast in this layout.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return x
    return x.to_mkldnn()
