"""Stages of the embedded model's training that this repository keeps, so that nobody trains them anew.

    python -m tools.nano.resume FOLDER

Writes the codec, the text encoder and the language model of FOLDER, as far as it is trained, into
tools/nano/weights, in fp16. `restore` puts them into the folder of a training.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tools.nano import language_model

WEIGHTS = Path(__file__).parent / "weights"
ENCODERS = ("encodec", "text_encoder")
MODEL = "model.safetensors"
LANGUAGE_MODEL = "language_model.safetensors"
_TRAINED = ("decoder.", "enc_to_dec_proj.")  # prefixes of the language model's tensors


def restore(folder: Path, weights: Path = WEIGHTS) -> None:
    """Copy the stages kept in `weights` into FOLDER, unless it has them or goes on from its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ENCODERS:
        if (weights / name).exists() and not (folder / name).exists():
            shutil.copytree(weights / name, folder / name)
    state = folder / "lm.pt"
    if (weights / LANGUAGE_MODEL).exists() and not state.exists():
        _restore_language_model(folder, weights / LANGUAGE_MODEL, state)


def _restore_language_model(folder: Path, weights: Path, state: Path) -> None:
    """Write a training's state with these weights and step, and an optimizer without moments."""
    model, _ = language_model.build(folder)
    with safe_open(weights, "pt") as file:
        step = int(file.metadata()["step"])
    given = {name: tensor.float() for name, tensor in load_file(weights).items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    if unexpected or any(name.startswith(_TRAINED) for name in missing):
        raise SystemExit(f"{weights} is of another model than tools.nano.language_model builds")
    optimizer = language_model.optimizer_of(model, language_model.LEARNING_RATE)
    fresh = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(fresh | {"history": [], "step": step}, state)
    print(f"lm: goes on from {weights}, step {step}", flush=True)


def keep(folder: Path, weights: Path = WEIGHTS) -> None:
    """Write the stages of FOLDER into `weights`."""
    for name in ENCODERS:
        if (folder / name).exists():
            shutil.copytree(folder / name, weights / name, dirs_exist_ok=True)
            _save(load_file(folder / name / MODEL), weights / name / MODEL)
    if (folder / "lm.pt").exists():
        saved: dict[str, Any] = torch.load(folder / "lm.pt", "cpu", weights_only=True)
        tensors = {k: v for k, v in saved["model"].items() if k.startswith(_TRAINED)}
        _save(tensors, weights / LANGUAGE_MODEL, step=str(saved["step"]))


def _save(tensors: dict[str, Tensor], file: Path, **metadata: str) -> None:
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in tensors.items()
    }
    save_file(half, file, {"format": "pt"} | metadata)
    file.chmod(0o644)  # save_file creates files readable by their owner alone


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.resume",
        description="Keep a training's stages in the repository.",
    )
    parser.add_argument("folder", type=Path, help="of the training")
    keep(parser.parse_args().folder)


if __name__ == "__main__":
    main()
