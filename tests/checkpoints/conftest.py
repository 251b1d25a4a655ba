"""Checkpoints of a small model in both formats: written once, copied for each test."""

import shutil
from pathlib import Path

import pytest

from tests.architectures import MONO, write_audiocraft, write_huggingface


@pytest.fixture(scope="session")
def huggingface_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint that tests only read."""
    return write_huggingface(MONO, tmp_path_factory.mktemp("checkpoints") / "huggingface")


@pytest.fixture(scope="session")
def exported_model(tmp_path_factory: pytest.TempPathFactory, hub_cache: Path) -> Path:
    """Export that tests only read."""
    return write_audiocraft(MONO, tmp_path_factory.mktemp("checkpoints") / "export", hub_cache)


@pytest.fixture
def huggingface(tmp_path: Path, huggingface_model: Path) -> Path:
    return Path(shutil.copytree(huggingface_model, tmp_path / "huggingface"))


@pytest.fixture
def export(tmp_path: Path, exported_model: Path) -> Path:
    return Path(shutil.copytree(exported_model, tmp_path / "export"))
