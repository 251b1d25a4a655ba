"""Thread counts of the numba kernels."""

import numba
import torch


def use_threads() -> None:
    """Give numba as many threads as PyTorch has in the calling thread."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
