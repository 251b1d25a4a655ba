"""Demucs' weights, from safetensors in Demucs' own form: its class and arguments are in the header.

Demucs itself imports and calls whatever class a file names. Here it is HTDemucs, or the file is refused.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open

from serve_app.checkpoints.building import build
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.hub import WEIGHTS, folder_with
from serve_app.errors import CheckpointError, ConfigError
from serve_app.models.stems import STEMS, StemSeparator

_CLASS = "demucs.htdemucs.HTDemucs"
_CURE = "Name a file of HTDemucs, such as 955717e8.safetensors of adefossez/HTDemucs, or that id."
_INSTALL = (
    "Install the extra `demucs`: `uv sync --extra demucs`, or `pip install 'musicgen-serve[demucs]'`; "
    "or set engine_kwargs.melody_stems to none."
)


def load_separator(
    kind: Literal["none", "demucs"], source: str, checkpoint: Checkpoint
) -> StemSeparator | None:
    """Load what separates melodies for the model of `checkpoint`, onto its device; None for `none`.

    source: a file, a folder with one, or a hub id. Raises CheckpointError for it, and ConfigError
    for a model that takes no melody, or where Demucs is not installed.
    """
    if kind == "none":
        return None
    if checkpoint.musicgen.config.melody is None:
        raise ConfigError(
            f"melody_stems is {kind}, but the model takes no melody. Set engine_kwargs.melody_stems "
            "to none, or serve a melody model."
        )
    try:
        from demucs.htdemucs import HTDemucs
    except ImportError as error:
        raise ConfigError(
            f"melody_stems is demucs, which cannot be imported ({error}). {_INSTALL}"
        ) from error
    return _load(_file_of(source), HTDemucs, checkpoint.codec.codebooks.device)


def _load(file: Path, htdemucs_class: Any, device: torch.device) -> StemSeparator:
    with faults_named(file, "not a readable file of Demucs", _CURE):
        metadata, tensors = _read(file)
        arguments = _arguments(file, metadata)
        htdemucs = build(file, lambda: htdemucs_class(**arguments))
        htdemucs.load_state_dict(
            {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()},
            assign=True,
        )
    _check_stems(file, htdemucs.sources)
    htdemucs.eval().requires_grad_(False)
    return StemSeparator(htdemucs)


def _file_of(source: str) -> Path:
    """Find the one file of a source. Raises CheckpointError."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return path
    folder = folder_with(source, WEIGHTS)
    files = sorted(folder.glob(*WEIGHTS))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise CheckpointError(
            f"{folder}: must hold one file of safetensors, and holds {found}. {_CURE}"
        )
    return files[0]


def _read(file: Path) -> tuple[Mapping[str, str], dict[str, torch.Tensor]]:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata() or {}
        return metadata, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _arguments(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read HTDemucs' arguments. Raises CheckpointError for another class, and for quantized weights."""
    name = metadata.get("klass")
    if name != _CLASS or "structure" in metadata:
        found = "quantized weights" if "structure" in metadata else f"the class {name!r}"
        raise CheckpointError(f"{file}: is of {found}, and only {_CLASS} is supported. {_CURE}")
    arguments = json.loads(metadata["kwargs"], object_hook=_fraction)
    positional = json.loads(metadata["args"], object_hook=_fraction)
    if positional:
        arguments = {"sources": positional[0]} | arguments
    return dict(arguments)


def _fraction(value: dict[str, Any]) -> Any:
    if value.get("_type") == "fraction":
        return Fraction(value["numerator"], value["denominator"])
    return value


def _check_stems(file: Path, sources: list[str]) -> None:
    if missing := [stem for stem in STEMS if stem not in sources]:
        raise CheckpointError(
            f"{file}: separates {', '.join(sources)}, but not {', '.join(missing)}. {_CURE}"
        )
