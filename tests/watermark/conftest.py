"""Files of samples, and detectors that always answer the same."""

from pathlib import Path

import numpy as np
import pytest

from serve_app.watermark.detection import Samples
from tests.audioseal import write_detector


@pytest.fixture(scope="package")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "d.safetensors")


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """A tenth of a second of noise in two channels."""
    noise = np.random.default_rng(0).standard_normal((1_600, 2))
    (tmp_path / "samples").write_bytes(noise.astype("<f4").tobytes())
    return Samples(tmp_path / "samples", 2)
