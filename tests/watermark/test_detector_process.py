"""The detector runs in a process of its own; a file that it cannot load is an error, not an answer."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from serve_app.config.watermark import WatermarkConfig
from serve_app.errors import ConfigError, ServeAppError
from serve_app.watermark.detection import Samples
from serve_app.watermark.detector_process import DetectorProcess
from tests.audioseal import MESSAGE, write_generator


def config(file: Path) -> WatermarkConfig:
    return WatermarkConfig(detector_file=str(file))


def test_without_a_file_there_is_no_detector() -> None:
    assert DetectorProcess.of(WatermarkConfig()) is None


async def test_a_process_beside_this_one_detects(detector_file: Path, samples: Samples) -> None:
    detector = DetectorProcess.of(config(detector_file))
    assert detector is not None
    found = await detector.detect(samples, 0.1)
    assert (found.detected, found.message) == (True, MESSAGE)
    again = await detector.detect(samples, 0.1)
    assert again == found
    wanted = f"serve_app.watermark.worker 19 {detector_file}"
    assert sum(wanted in command for command in commands()) == 1


def commands() -> Iterator[str]:
    """Commands of the processes beside this one. Those of other tests may end meanwhile."""
    for child in psutil.Process(os.getpid()).children():
        with suppress(psutil.NoSuchProcess):
            yield " ".join(child.cmdline())


def test_a_file_of_another_kind_ends_the_start(tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "g.safetensors")
    for file, match in ((generator, "its detector is needed"), (tmp_path / "no", "no such file")):
        with pytest.raises(ConfigError, match=rf"watermark\.detector_file: .*{match}"):
            DetectorProcess.of(config(file))


@pytest.fixture
def cut_off(tmp_path: Path, detector_file: Path) -> Path:
    file = tmp_path / "cut.safetensors"
    file.write_bytes(detector_file.read_bytes()[:-1000])
    return file


async def test_weights_that_cannot_be_loaded_are_an_error(cut_off: Path, samples: Samples) -> None:
    detector = DetectorProcess.of(config(cut_off))
    assert detector is not None
    with pytest.raises(ServeAppError, match="cannot be loaded; the log has the reason"):
        await detector.detect(samples, 0.1)
