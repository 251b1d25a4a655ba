"""Chunks on their way from a replica to the ingress: 16 bits a sample where the file keeps no more."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.types import AudioChunk, GenerationRequest, StreamItem

_SCALE = np.float32(2**15)
_LOWEST = np.float32(-(2**15))
_HIGHEST = np.float32(2**15 - 1)


@dataclass(frozen=True, slots=True)
class PackedChunk:
    """An AudioChunk between two processes. samples: int16 [channels, n]; rest: its other fields."""

    samples: NDArray[np.int16]
    rest: tuple[Any, ...]


def pack(item: StreamItem, request: GenerationRequest) -> StreamItem | PackedChunk:
    """Pack a chunk of a request that asks for 16 bits; all else passes as it is.

    Samples are rounded to the nearest even and clipped, without dither, as FFmpeg does it
    (libswresample's conversion of float to s16). So 16-bit files are the same bytes either way.
    """
    if request.sample_bits != 16 or not isinstance(item, AudioChunk):
        return item
    scaled = np.rint(item.samples * _SCALE)
    samples = np.clip(scaled, _LOWEST, _HIGHEST, out=scaled).astype(np.int16)
    rest = (item.sample_rate, item.finish_reason, item.timings, item.track_samples)
    return PackedChunk(samples, rest)


def unpack(item: StreamItem | PackedChunk) -> StreamItem:
    """Undo `pack`. Samples are exact: float32 holds every int16."""
    if not isinstance(item, PackedChunk):
        return item
    return AudioChunk(item.samples.astype(np.float32) / _SCALE, *item.rest)
