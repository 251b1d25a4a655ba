"""The named tensors of a checkpoint, read without running code, with a record of those used."""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from serve_app.errors import CheckpointError


class Third(NamedTuple):
    """Thirds `start` to `stop` of the rows of a tensor that packs query, key and value."""

    name: str
    start: int
    stop: int


Source = str | Third


class TensorStore:
    """Tensors of one checkpoint by their foreign names.

    Weight normalization is folded into plain weights.
    """

    def __init__(self, origin: str, tensors: Mapping[str, Tensor]) -> None:
        self.origin = origin
        self._tensors = tensors
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def count(self, pattern: str) -> int:
        """Number of tensors whose whole name matches the regular expression `pattern`."""
        return sum(bool(re.fullmatch(pattern, name)) for name in self._tensors)

    def names(self, prefix: str) -> list[str]:
        """Names that begin with `prefix`."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def take(self, sources: tuple[Source, ...]) -> Tensor:
        """Concatenate the sources over their rows.

        Raises CheckpointError naming the tensor that is missing, or whose shape differs beyond the
        rows.
        """
        parts = [self._part(source) for source in sources]
        for source, part in zip(sources, parts, strict=True):
            if part.shape[1:] != parts[0].shape[1:]:
                raise CheckpointError(
                    f"{self.origin}: tensor '{_name(source)}' has shape {tuple(part.shape)}, "
                    f"which cannot be joined to {tuple(parts[0].shape)} of '{_name(sources[0])}'"
                )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def fill(
        self,
        module: nn.Module,
        sources: Mapping[str, tuple[Source, ...]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Load every parameter of `module`, which may be on the meta device.

        Raises CheckpointError naming the file and the tensor that is missing or has another shape.
        """
        state = {}
        for name, parameter in module.state_dict().items():
            tensor = self.take(sources[name])
            if tensor.shape != parameter.shape:
                names = " + ".join(map(_name, sources[name]))
                raise CheckpointError(
                    f"{self.origin}: tensor '{names}' has shape {tuple(tensor.shape)}, "
                    "but the architecture in the checkpoint's configuration needs "
                    f"{tuple(parameter.shape)}"
                )
            state[name] = tensor.to(device=device, dtype=dtype)
        module.load_state_dict(state, strict=True, assign=True)

    def check_all_taken(self, ignored: str) -> None:
        """Raise CheckpointError if a tensor was neither taken nor is ignored.

        ignored: a regular expression of names.
        """
        left = [n for n in self._tensors if n not in self._taken and not re.fullmatch(ignored, n)]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise CheckpointError(
                f"{self.origin}: unexpected tensors {', '.join(map(repr, left[:3]))}{more}. The "
                "checkpoint's configuration describes another architecture: use the "
                "configuration that was saved with these weights."
            )

    def _part(self, source: Source) -> Tensor:
        if isinstance(source, str):
            return self._one(source)
        tensor = self._one(source.name)
        rows = len(tensor) // 3
        return tensor[source.start * rows : source.stop * rows]

    def _one(self, name: str) -> Tensor:
        if name in self._tensors:
            self._taken.add(name)
            return self._tensors[name]
        for magnitude, direction in ((f"{name}_g", f"{name}_v"), _parametrized(name)):
            if magnitude in self._tensors and direction in self._tensors:
                self._taken |= {magnitude, direction}
                return _fold_weight_norm(self._tensors[magnitude], self._tensors[direction])
        raise CheckpointError(
            f"{self.origin}: tensor '{name}' is missing. The file is incomplete, or its "
            "configuration describes another architecture: save or download the checkpoint again."
        )


def _name(source: Source) -> str:
    return source.name if isinstance(source, Third) else source


def _parametrized(name: str) -> tuple[str, str]:
    """Names of magnitude and direction in torch.nn.utils.parametrizations.weight_norm."""
    owner, _, leaf = name.rpartition(".")
    return (
        f"{owner}.parametrizations.{leaf}.original0",
        f"{owner}.parametrizations.{leaf}.original1",
    )


def _fold_weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Fold weight normalization (arXiv:1602.07868).

    The norm is taken over all dimensions but the first.
    """
    norm = torch.linalg.vector_norm(
        direction.float(), dim=tuple(range(1, direction.ndim)), keepdim=True
    )
    folded: Tensor = direction * (magnitude / norm)
    return folded


def read_safetensors(folder: Path) -> TensorStore:
    """Read `model.safetensors` of a folder, or all shards that its index names.

    Raises CheckpointError naming the file that is missing or unreadable.
    """
    single = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    sharded = index.exists() and not single.exists()
    tensors: dict[str, Tensor] = {}
    for file in _shards(index) if sharded else [single]:
        tensors |= _read_file(file)
    return TensorStore(str(index if sharded else single), tensors)


def _shards(index: Path) -> list[Path]:
    names = set(json.loads(index.read_text())["weight_map"].values())
    return [index.parent / Path(name).name for name in sorted(names)]


def _read_file(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        hint = ""
        if (file.parent / "pytorch_model.bin").exists():
            hint = (
                ". Pickled weights (pytorch_model.bin) are not read: save the model again as "
                "safetensors."
            )
        raise CheckpointError(f"{file}: the file is missing{hint}")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error})") from error


def read_pickle(file: Path) -> dict[str, Any]:
    """Read a dict saved by `torch.save`: tensors and plain values only. No code in the file is run.

    Raises CheckpointError if the file is missing, unreadable or holds anything else.
    """
    if not file.exists():
        raise CheckpointError(f"{file}: the file is missing")
    try:
        package = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: refused, because this pickle holds more than tensors and plain values and "
            "loading it could run code. Export the model again with audiocraft.utils.export, or "
            "convert it to safetensors."
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(f"{file}: not a readable PyTorch file") from error
    if not isinstance(package, dict):
        raise CheckpointError(
            f"{file}: holds a {type(package).__name__}, not the dict of an AudioCraft export"
        )
    return package
