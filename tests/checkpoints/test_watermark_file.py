"""Facts of converted files are read without torch, and other files are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from serve_app.checkpoints.inventory import check_watermark_files
from serve_app.checkpoints.watermark_file import Network, WatermarkFacts, read_facts
from serve_app.config.watermark import WatermarkConfig
from serve_app.errors import CheckpointError

FACTS = WatermarkFacts(network=Network.DETECTOR, causal=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({"a": torch.zeros(4)}, tmp_path / "d.safetensors", FACTS.to_metadata())
    return tmp_path / "d.safetensors"


def test_facts_are_read(file: Path) -> None:
    assert read_facts(file, Network.DETECTOR) == FACTS
    check_watermark_files(WatermarkConfig(detector_file=str(file)))


def test_the_other_network_is_refused(file: Path) -> None:
    with pytest.raises(CheckpointError, match="holds AudioSeal's detector, but its generator"):
        check_watermark_files(WatermarkConfig(generator_file=str(file)))


def test_a_file_that_is_cut_off_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="its header tells of"):
        check_watermark_files(WatermarkConfig(detector_file=str(file)))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04" + bytes(60), (2**40).to_bytes(8, "little"), b"\x02" + bytes(7) + b"{}"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is no converted file.*convert-watermark"):
        read_facts(tmp_path / "a", Network.DETECTOR)
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_facts(tmp_path / "b", Network.DETECTOR)
