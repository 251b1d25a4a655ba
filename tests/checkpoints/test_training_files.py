"""Checkpoints of a training with AudioCraft are told from exports, and the call that exports is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.inventory import check_folder
from serve_app.errors import CheckpointError

EXPORT_LM = r"audiocraft.utils.export.export_lm\('checkpoint.th', 'state_dict.bin'\)"
FINE_TUNER = "of Replicate's fine-tuner. If you trust its origin.*'best_state': package"
STATE = {"emb.0.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize("name", ["checkpoint.th", "checkpoint_12.th"])
def test_a_training_s_folder_is_refused(tmp_path: Path, name: str) -> None:
    torch.save({"best_state": {"model": STATE}}, tmp_path / name)
    said = rf"{name}: is a checkpoint of a training with AudioCraft, not an export.*{EXPORT_LM}"
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(str(tmp_path))
    with pytest.raises(CheckpointError, match=said):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ({"best_state": {"model": STATE}, "xp.cfg": OmegaConf.create({"a": 1})}, EXPORT_LM),
        ({"model": STATE, "xp.cfg": OmegaConf.create({"a": 1})}, FINE_TUNER),
        ({"model": STATE, "xp.cfg": "a: 1"}, FINE_TUNER),
        ({"best_state": {"model": STATE}, "xp.cfg": "a: 1"}, EXPORT_LM),
        ({}, EXPORT_LM),
    ],
    ids=["training", "fine-tuner", "fine-tuner's plain", "training's plain", "empty"],
)
def test_a_renamed_checkpoint_is_refused_with_the_call(
    tmp_path: Path, package: dict[str, Any], said: str
) -> None:
    torch.save(package, tmp_path / "state_dict.bin")
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(str(tmp_path))


def test_an_older_pickle_with_objects_in_it_is_refused_with_the_call(tmp_path: Path) -> None:
    package = {"xp.cfg": OmegaConf.create({"a": 1})}
    torch.save(package, tmp_path / "state_dict.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=f"refused, .* {EXPORT_LM}"):
        load_checkpoint(str(tmp_path))
