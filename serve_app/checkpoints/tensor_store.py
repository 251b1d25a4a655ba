"""The named tensors of a checkpoint file, read safely, with an account of which were used."""

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
    """Rows `start` to `stop`, in thirds, of the tensor `name`: packed query, key and value projections."""

    name: str
    start: int
    stop: int


Source = str | Third


class TensorStore:
    """The tensors of one checkpoint by their foreign names. Weight-normalized ones read as plain weights."""

    def __init__(self, origin: str, tensors: Mapping[str, Tensor]) -> None:
        self.origin, self._tensors = origin, tensors
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def count(self, pattern: str) -> int:
        """How many names match `pattern` in whole."""
        return sum(bool(re.fullmatch(pattern, name)) for name in self._tensors)

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._tensors if name.startswith(prefix)]

    def take(self, sources: tuple[Source, ...]) -> Tensor:
        """The sources one below the other (concatenated over rows)."""
        parts = [
            self._third(source) if isinstance(source, Third) else self._one(source)
            for source in sources
        ]
        for source, part in zip(sources, parts, strict=True):
            if part.shape[1:] != parts[0].shape[1:]:
                raise CheckpointError(
                    f"{self.origin}: tensor '{_name(source)}' has shape {tuple(part.shape)}, "
                    f"which does not go with {tuple(parts[0].shape)} of '{_name(sources[0])}'"
                )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def fill(self, module: nn.Module, sources: Mapping[str, tuple[Source, ...]], dtype: torch.dtype,
             device: torch.device) -> None:  # fmt: skip
        """Give every parameter of `module` (which may be on the meta device) its tensor.

        Raises CheckpointError naming the file and the tensor where one is missing or has another shape.
        """
        state = {}
        for name, parameter in module.state_dict().items():
            tensor = self.take(sources[name])
            if tensor.shape != parameter.shape:
                names = " + ".join(map(_name, sources[name]))
                raise CheckpointError(
                    f"{self.origin}: tensor '{names}' has shape {tuple(tensor.shape)}, "
                    f"but the architecture in the checkpoint's configuration needs {tuple(parameter.shape)}"
                )
            state[name] = tensor.to(device=device, dtype=dtype)
        module.load_state_dict(state, strict=True, assign=True)

    def check_all_taken(self, ignored: str) -> None:
        """Raises CheckpointError when tensors are left that neither were taken nor match the pattern `ignored`."""
        left = [n for n in self._tensors if n not in self._taken and not re.fullmatch(ignored, n)]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise CheckpointError(
                f"{self.origin}: unexpected tensors {', '.join(map(repr, left[:3]))}{more}"
            )

    def _third(self, third: Third) -> Tensor:
        tensor = self._one(third.name)
        rows = len(tensor) // 3
        return tensor[third.start * rows : third.stop * rows]

    def _one(self, name: str) -> Tensor:
        if name in self._tensors:
            self._taken.add(name)
            return self._tensors[name]
        for magnitude, direction in ((f"{name}_g", f"{name}_v"), _parametrized(name)):
            if magnitude in self._tensors and direction in self._tensors:
                self._taken |= {magnitude, direction}
                return _fold_weight_norm(self._tensors[magnitude], self._tensors[direction])
        raise CheckpointError(f"{self.origin}: tensor '{name}' is missing")


def _name(source: Source) -> str:
    return source.name if isinstance(source, Third) else source


def _parametrized(name: str) -> tuple[str, str]:
    owner, _, leaf = name.rpartition(".")
    return (
        f"{owner}.parametrizations.{leaf}.original0",
        f"{owner}.parametrizations.{leaf}.original1",
    )


def _fold_weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Weight normalization (arXiv:1602.07868): the norm is taken over all but dimension 0."""
    norm = torch.linalg.vector_norm(
        direction.float(), dim=tuple(range(1, direction.ndim)), keepdim=True
    )
    folded: Tensor = direction * (magnitude / norm)
    return folded


def read_safetensors(folder: Path) -> TensorStore:
    """`model.safetensors` of a folder, or all the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if not files[0].exists() and index.exists():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        files = [folder / Path(shard).name for shard in shards]
    tensors: dict[str, Tensor] = {}
    for file in files:
        if not file.exists():
            hint = ""
            if (folder / "pytorch_model.bin").exists():
                hint = "; pickled weights (pytorch_model.bin) are not read: save the model again as safetensors"
            raise CheckpointError(f"{file}: the file is missing{hint}")
        try:
            tensors |= load_file(file)
        except SafetensorError as error:
            raise CheckpointError(f"{file}: not a readable safetensors file ({error})") from error
    return TensorStore(str(files[0] if len(files) == 1 else index), tensors)


def read_pickle(file: Path) -> dict[str, Any]:
    """A `torch.save`d dict of tensors and plain values. Anything else in it is refused, and never run."""
    if not file.exists():
        raise CheckpointError(f"{file}: the file is missing")
    try:
        package = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: refused, because this pickle holds more than tensors and plain values and loading it could run "
            "code. Export the model again with audiocraft.utils.export, or convert it to safetensors."
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(f"{file}: not a readable PyTorch file") from error
    if not isinstance(package, dict):
        raise CheckpointError(
            f"{file}: holds a {type(package).__name__}, not the dict of an AudioCraft export"
        )
    return package
