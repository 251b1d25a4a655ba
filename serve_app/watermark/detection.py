"""Detection in one file of samples, in this process. It imports PyTorch when it is used."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serve_app.provenance_report import WatermarkReport

if TYPE_CHECKING:
    from serve_app.models.audioseal.detector import Detector

RATE = 16_000  # Hz, of the detector
MOST_S = 120.0  # examined of one file
_BLOCK = RATE  # samples at a time


@dataclass(frozen=True, slots=True)
class Samples:
    """A file of interleaved float32 samples at RATE."""

    path: Path
    channels: int


def load(file: Path) -> "Detector":
    """Load a converted detector. Raises CheckpointError."""
    import torch

    from serve_app.checkpoints.audioseal import load_detector

    return load_detector(file, torch.device("cpu"))


def detect(detector: "Detector", samples: Samples, threshold: float) -> WatermarkReport:
    """Look for the watermark in the first MOST_S seconds.

    threshold: part of the samples from which it counts as detected.
    """
    import torch

    from serve_app.models.audioseal.detector import DetectionStream

    stream = DetectionStream(detector)
    length = min(samples.path.stat().st_size // (4 * samples.channels), round(MOST_S * RATE))
    with samples.path.open("rb") as file:
        for start in range(0, length, _BLOCK):
            count = min(_BLOCK, length - start) * samples.channels
            block = np.frombuffer(file.read(4 * count), "<f4").reshape(-1, samples.channels)
            stream.add(torch.from_numpy(block.T.copy()))
    found = stream.finish()
    detected = found.score >= threshold
    return WatermarkReport(
        detected=detected,
        score=round(found.score, 4),
        message=found.message if detected else None,
        examined_s=length / RATE,
    )
