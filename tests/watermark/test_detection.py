"""Detection reports the score, and the message only where the score reaches the threshold."""

from pathlib import Path

import pytest

from serve_app.models.audioseal.detector import Detector
from serve_app.watermark import detection
from serve_app.watermark.detection import Samples, detect, load
from tests.audioseal import MESSAGE, write_detector


@pytest.fixture(scope="module")
def detector(detector_file: Path) -> Detector:
    return load(detector_file)


def test_a_watermark_is_reported_with_its_message(detector: Detector, samples: Samples) -> None:
    found = detect(detector, samples, 0.5)
    assert (found.detected, found.score, found.message) == (True, 1.0, MESSAGE)
    assert found.examined_s == 0.1


def test_no_message_is_read_into_unmarked_audio(tmp_path: Path, samples: Samples) -> None:
    found = detect(load(write_detector(tmp_path / "d", finds=False)), samples, 0.5)
    assert (found.detected, found.score, found.message) == (False, 0.0, None)


def test_long_files_are_examined_in_part(
    detector: Detector, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "MOST_S", 0.05)
    assert detect(detector, samples, 0.5).examined_s == 0.05
