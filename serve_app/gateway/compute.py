"""Seconds of music that a request is charged for: its duration, and extra compute of its windows."""

import math

from serve_app.types import GenerationRequest

WINDOW_S = 30.0  # of the published models
_STRIDE_S = 0.6 * WINDOW_S  # AudioCraft's, which a request without a stride gets
_RECOMPUTED_COST = 0.04  # of a second in a window's prefix, in seconds made step by step


def charged_s(request: GenerationRequest) -> float:
    """Compute the charge. A stride of AudioCraft's length or more costs nothing beyond the duration.

    Each later window computes its prefix again, all positions at once. On a CPU this took 0.03 to
    0.05 of the time of as many steps (`extend_stride_s: 1` and 120 s of music).
    """
    stride_s = request.extend_stride_s
    if stride_s is None or stride_s >= _STRIDE_S:
        return request.duration_s
    extra_s = _recomputed_s(request.duration_s, stride_s) - _recomputed_s(
        request.duration_s, _STRIDE_S
    )
    return request.duration_s + _RECOMPUTED_COST * max(0.0, extra_s)


def _recomputed_s(duration_s: float, stride_s: float) -> float:
    """Seconds of all prefixes of a track's windows."""
    later_windows = math.ceil(max(0.0, duration_s - WINDOW_S) / stride_s)
    return later_windows * (WINDOW_S - stride_s)
