"""The delay pattern: at step `s`, codebook `k` carries frame `s - delays[k]`.

See arXiv:2306.05284, section 2.2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def num_steps(num_frames: int, delays: Sequence[int]) -> int:
    """Return the steps that decode `num_frames` frames in full."""
    return num_frames + max(delays)


def frames_complete(steps: int, num_frames: int, delays: Sequence[int]) -> int:
    """Return the frames that have a code in every codebook after `steps` steps."""
    return min(num_frames, max(0, steps - max(delays)))


def delay(codes: Tensor, delays: Sequence[int], special_token: int) -> Tensor:
    """Apply the pattern: codes [K, n] -> tokens by step [K, n + max(delays)].

    The special token stands where no code is.
    """
    tokens = codes.new_full((len(codes), num_steps(codes.shape[1], delays)), special_token)
    for k, steps in enumerate(delays):
        tokens[k, steps : steps + codes.shape[1]] = codes[k]
    return tokens


def undelay(tokens: Tensor, delays: Sequence[int], first: int, last: int) -> Tensor:
    """Return codes [K, last - first] of frames `first` to before `last`: tokens [K, steps]."""
    rows = [tokens[k, first + delay : last + delay] for k, delay in enumerate(delays)]
    return torch.stack(rows)
