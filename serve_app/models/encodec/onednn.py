"""The memory format in which oneDNN convolves faster on a CPU."""

import torch
from torch import Tensor


def as_image(x: Tensor) -> Tensor:
    """Reshape x [B, C, n] -> [B, C, 1, n] in channels-last order.

    oneDNN's convolutions are twice as fast in this order.
    """
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
