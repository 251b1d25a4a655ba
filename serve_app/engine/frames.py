"""Frames of music: one code of each codebook."""

import math


def num_frames(duration_s: float, frame_rate: float) -> int:
    """Count the frames of `duration_s` seconds, at least one."""
    return max(1, math.ceil(round(duration_s * frame_rate, 6)))  # rounded: 0.1 * 3 * 50 is not 16
