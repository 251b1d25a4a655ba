"""Files of tensors, read without running code: safetensors, their shards, and pickles of plain data."""

import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.tensor_store import SAVE_AGAIN, TensorStore
from serve_app.checkpoints.torch_format import is_archive
from serve_app.checkpoints.training_files import export_advice
from serve_app.checkpoints.weight_files import INDEX, SINGLE, read_index, weight_files
from serve_app.errors import CheckpointError

_AGAIN = "Save or download the checkpoint again."


def read_safetensors(folder: Path, cure: str = SAVE_AGAIN) -> TensorStore:
    """Read `model.safetensors` of a folder, or all shards that its index names.

    cure: advice where a tensor is missing.

    Raises CheckpointError naming the file that is missing, unreadable, or at odds with the index.
    """
    index = folder / INDEX
    files = weight_files(folder)
    listed = set(read_index(index).values()) if index.exists() else set()
    indexed = listed == {file.name for file in files}
    tensors = _read_indexed(index, files) if indexed else read_tensors(files[0])
    origin = files[0] if files == [folder / SINGLE] else index
    return TensorStore(str(origin), tensors, cure)


def _read_indexed(index: Path, files: Iterable[Path]) -> dict[str, Tensor]:
    listed = read_index(index)
    tensors: dict[str, Tensor] = {}
    for file in files:
        for tensor, value in read_tensors(file).items():
            if listed.get(tensor) != file.name:
                other = listed.get(tensor, "no file")
                raise CheckpointError(
                    f"{file}: has tensor '{tensor}', which the index {index.name} places in "
                    f"{other}. The files are of different checkpoints: {_AGAIN.lower()}"
                )
            tensors[tensor] = value
    return tensors


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read one safetensors file. Raises CheckpointError naming it."""
    if not file.exists():
        raise CheckpointError(f"{file}: the file is missing. {_hint(file.parent)}")
    try:
        tensors = load_file(file)
        _refuse_doubles(file)
        return tensors
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: not a readable safetensors file ({error}). {_AGAIN}"
        ) from error


def _refuse_doubles(file: Path) -> None:
    """Raise CheckpointError if the header of a safetensors file names a tensor twice."""
    with file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        names = json.loads(content.read(size), object_pairs_hook=_names)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CheckpointError(f"{file}: holds two tensors of the name '{name}'. {_AGAIN}")
        seen.add(name)


def _names(pairs: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in pairs]


def _hint(folder: Path) -> str:
    if (folder / "pytorch_model.bin").exists():
        return (
            "Pickled weights (pytorch_model.bin) are not read: save the model again as safetensors."
        )
    return "Copy it into the folder, or download the checkpoint again."


def read_pickle(file: Path) -> dict[str, Any]:
    """Read a dict saved by `torch.save`: tensors and plain values only. No code in the file is run.

    Raises CheckpointError if the file is missing, unreadable or holds anything else.
    """
    if not file.exists():
        raise CheckpointError(f"{file}: the file is missing. {_AGAIN}")
    # A damaged pickle raises almost anything.
    with faults_named(file, "not a readable PyTorch file", _AGAIN):
        package = _load_plain(file)
    if not isinstance(package, dict):
        raise CheckpointError(
            f"{file}: holds a {type(package).__name__}, not the dict of an AudioCraft export. "
            "Export the model with audiocraft.utils.export."
        )
    return package


def _load_plain(file: Path) -> Any:
    mmap = is_archive(file)  # torch maps no file of the older format
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise CheckpointError(f"{file}: its data ends early. {_AGAIN}") from error
        raise CheckpointError(
            f"{file}: refused, because this pickle holds more than tensors and plain values and "
            f"loading it could run code. {export_advice(file)}"
        ) from error
