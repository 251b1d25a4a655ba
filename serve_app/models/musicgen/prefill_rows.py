"""Rows of a block of a prefill."""

import torch

PREFILL_ROWS = 512  # on a GPU: 256 positions of a slot with two rows
CPU_PREFILL_ROWS = 128  # on a CPU: a layer over them takes less than a step


def prefill_rows(device: torch.device) -> int:
    """Return the rows of a block of a prefill on a device."""
    return PREFILL_ROWS if device.type == "cuda" else CPU_PREFILL_ROWS
