"""Checkpoints of a small model in both formats."""

from pathlib import Path

import pytest

from tests.architectures import MONO, write_audiocraft, write_huggingface


@pytest.fixture
def huggingface(tmp_path: Path) -> Path:
    return write_huggingface(MONO, tmp_path / "huggingface")


@pytest.fixture
def export(tmp_path: Path, hub_cache: Path) -> Path:
    return write_audiocraft(MONO, tmp_path / "export", hub_cache)
