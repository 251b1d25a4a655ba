"""Tests of installing a trained checkpoint as the package's model."""

import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from serve_app.checkpoints.checkpoint import load_checkpoint, resolve
from tests.conftest import EMBEDDED
from tools.nano import export


def test_export_writes_model_and_samples_and_keeps_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SAMPLE_S", 1.0)
    package = tmp_path / "package"
    package.mkdir()
    (package / "README.md").write_text("the card")
    (tmp_path / "checkpoint").mkdir()
    for file in resolve(EMBEDDED).iterdir():
        if file.is_file() and file.suffix != ".md":
            (tmp_path / "checkpoint" / file.name).write_bytes(file.read_bytes())
    export.export(tmp_path, package)
    assert (package / "README.md").read_text() == "the card"
    assert load_checkpoint(str(package)).sample_rate == 32_000
    samples = sorted((package / "samples").iterdir())
    assert [file.stem for file in samples] == sorted(export.SAMPLES)
    assert {soundfile.info(file).duration for file in samples} == {1.0}


def test_only_the_heads_are_sharpened(tmp_path: Path) -> None:
    weights = resolve(EMBEDDED) / "model.safetensors"
    shutil.copy(weights, tmp_path)
    export.sharpen(tmp_path / weights.name, 0.5)
    before = load_file(weights)
    after = load_file(tmp_path / weights.name)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor * 2 if "lm_heads" in name else tensor), name
