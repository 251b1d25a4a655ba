"""The named tensors of a checkpoint, with a record of those used."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Never

import torch
from torch import Tensor, nn

from serve_app.cpus import usable_cpus
from serve_app.errors import CheckpointError


class Third(NamedTuple):
    """Thirds `start` to `stop` of the rows of a tensor that packs query, key and value."""

    name: str
    start: int
    stop: int


Source = str | Third


def _unchanged(_: str, weight: Tensor) -> Tensor:
    return weight


_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
SAVE_AGAIN = "save or download the checkpoint again"
_NAMED = 3  # tensors in an error
_ARCHITECTURE_CURE = "Use the configuration that was saved with these weights."


class TensorStore:
    """Tensors of one checkpoint by their foreign names.

    Weight normalization is folded into plain weights. cure: advice where a tensor is missing.
    """

    def __init__(self, origin: str, tensors: Mapping[str, Tensor], cure: str = SAVE_AGAIN) -> None:
        self.origin = origin
        self._cure = cure
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
            joinable = len(parts) == 1 or part.ndim > 0
            if not joinable or part.shape[1:] != parts[0].shape[1:]:
                raise CheckpointError(
                    f"{self.origin}: tensor '{_name(source)}' has shape {tuple(part.shape)}, "
                    f"which cannot be joined to {tuple(parts[0].shape)} of "
                    f"'{_name(sources[0])}'. {_ARCHITECTURE_CURE}"
                )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def fill(
        self,
        module: nn.Module,
        sources: Mapping[str, tuple[Source, ...]],
        dtype: torch.dtype,
        device: torch.device,
        change: Callable[[str, Tensor], Tensor] = _unchanged,
    ) -> None:
        """Load every parameter of `module`, which may be on the meta device.

        change: takes a parameter's name and its weight in the file, and returns the weight to load.

        Raises CheckpointError naming the file and the tensor that is missing, has another shape, or
        holds values that are not finite or beyond the range of `dtype`.
        """
        expected = module.state_dict()
        wanted = [source for name in expected for source in sources[name]]
        if missing := [_name(source) for source in wanted if not self._has(source)]:
            self._refuse_missing(missing)

        def load(name: str) -> Tensor:
            weight = change(name, self._shaped(sources[name], expected[name].shape))
            return weight.to(device=device, dtype=dtype)

        with ThreadPoolExecutor(usable_cpus() if device.type == "cpu" else 1) as threads:
            state = dict(zip(expected, threads.map(load, expected), strict=True))
        for name in not_finite(state):
            self._refuse_values(sources[name], dtype, change(name, self.take(sources[name])))
        module.load_state_dict(state, strict=True, assign=True)

    def check_all_taken(self, ignored: str) -> None:
        """Raise CheckpointError if a tensor was neither taken nor is ignored.

        ignored: a regular expression of names.
        """
        left = [n for n in self._tensors if n not in self._taken and not re.fullmatch(ignored, n)]
        if left:
            raise CheckpointError(
                f"{self.origin}: unexpected tensors {_listed(left)}. The "
                "checkpoint's configuration describes another architecture: use the "
                "configuration that was saved with these weights."
            )

    def _refuse_values(
        self, sources: tuple[Source, ...], dtype: torch.dtype, tensor: Tensor
    ) -> None:
        """Raise the CheckpointError for a tensor that is not finite after the cast to `dtype`."""
        place = f"{self.origin}: tensor '{_names(sources)}'"
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{place} has values that are not finite (NaN or infinity). The file is damaged or "
                "its training diverged: save or download the checkpoint again."
            )
        raise CheckpointError(
            f"{place} has values up to {float(tensor.abs().max()):.4g}, beyond the range of "
            f"{dtype} ({torch.finfo(dtype).max:.4g}). Set engine_kwargs.precision to bf16 or fp32."
        )

    def _shaped(self, sources: tuple[Source, ...], shape: torch.Size) -> Tensor:
        """Take the sources. Raises CheckpointError if they are not of this shape."""
        tensor = self.take(sources)
        if tensor.shape != shape:
            raise CheckpointError(
                f"{self.origin}: tensor '{_names(sources)}' has shape {tuple(tensor.shape)}, but "
                "the architecture in the checkpoint's configuration needs "
                f"{tuple(shape)}. {_ARCHITECTURE_CURE}"
            )
        return tensor

    def _part(self, source: Source) -> Tensor:
        if isinstance(source, str):
            return self._one(source)
        tensor = self._one(source.name)
        if tensor.ndim == 0 or len(tensor) % 3:
            raise CheckpointError(
                f"{self.origin}: tensor '{source.name}' has shape {tuple(tensor.shape)}, whose rows "
                f"are not query, key and value in three equal parts. {_ARCHITECTURE_CURE}"
            )
        rows = len(tensor) // 3
        return tensor[source.start * rows : source.stop * rows]

    def _one(self, name: str) -> Tensor:
        if name in self._tensors:
            return self._plain(name)
        if (parts := self._normalized(name)) is None:
            self._refuse_missing([name])
        return self._folded(*parts)

    def _has(self, source: Source) -> bool:
        name = _name(source)
        return name in self._tensors or self._normalized(name) is not None

    def _normalized(self, name: str) -> tuple[str, str] | None:
        """Names of the magnitude and the direction of a normalized weight, if they are there."""
        for magnitude, direction in ((f"{name}_g", f"{name}_v"), _parametrized(name)):
            if magnitude in self._tensors and direction in self._tensors:
                return magnitude, direction
        return None

    def _refuse_missing(self, names: list[str]) -> Never:
        one = len(names) == 1
        raise CheckpointError(
            f"{self.origin}: tensor{'' if one else 's'} {_listed(names)} {'is' if one else 'are'} "
            "missing. The file is incomplete, or its configuration describes another architecture: "
            f"{self._cure}."
        )

    def _plain(self, name: str) -> Tensor:
        """A tensor as it is in the file. Raises CheckpointError for one without floats."""
        tensor = self._tensors[name]
        if tensor.is_meta:
            raise CheckpointError(
                f"{self.origin}: tensor '{name}' has no values, only a shape: it was saved from "
                "torch's meta device. Save the checkpoint again, with its weights loaded."
            )
        if tensor.dtype not in _FLOATS or tensor.layout != torch.strided:
            raise CheckpointError(
                f"{self.origin}: tensor '{name}' is of {tensor.dtype} ({tensor.layout}), which is "
                "not supported. Save the weights in float32, float16 or bfloat16."
            )
        self._taken.add(name)
        return tensor

    def _folded(self, magnitude: str, direction: str) -> Tensor:
        """Fold weight normalization (arXiv:1602.07868): plain weights of magnitude and direction.

        The norm is taken over all dimensions but the first.
        """
        g = self._plain(magnitude)
        v = self._plain(direction)
        if g.shape != (*v.shape[:1], *[1] * (v.ndim - 1)) or v.ndim < 2:
            raise CheckpointError(
                f"{self.origin}: tensor '{magnitude}' has shape {tuple(g.shape)}, which is no "
                f"magnitude of '{direction}' {tuple(v.shape)}. {_ARCHITECTURE_CURE}"
            )
        norm = torch.linalg.vector_norm(v.float(), dim=tuple(range(1, v.ndim)), keepdim=True)
        folded: Tensor = v * (g / norm)
        return folded


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with NaN or infinity: one pass at the speed of memory, one transfer."""
    names = [name for name, tensor in tensors.items() if tensor.numel()]
    if not names:
        return []
    extremes = torch.stack([torch.stack(torch.aminmax(tensors[name])).float() for name in names])
    finite = extremes.isfinite().all(dim=-1).tolist()
    return [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _names(sources: tuple[Source, ...]) -> str:
    return " + ".join(map(_name, sources))


def _name(source: Source) -> str:
    return source.name if isinstance(source, Third) else source


def _parametrized(name: str) -> tuple[str, str]:
    """Names of magnitude and direction in torch.nn.utils.parametrizations.weight_norm."""
    owner, _, leaf = name.rpartition(".")
    return (
        f"{owner}.parametrizations.{leaf}.original0",
        f"{owner}.parametrizations.{leaf}.original1",
    )
