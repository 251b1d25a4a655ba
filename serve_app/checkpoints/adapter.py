"""LoRA adapters (arXiv:2106.09685): their changes of weights, as PEFT's `merge_and_unload` adds them.

PEFT is not needed: an adapter is two small matrices for each module that it adapts, under the names
of transformers.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from serve_app.checkpoints.adapter_config import AdapterConfig, read_adapter_config
from serve_app.checkpoints.hub import resolve_adapter
from serve_app.checkpoints.tensor_files import read_tensors
from serve_app.checkpoints.tensor_store import Source, not_finite
from serve_app.checkpoints.weight_files import ADAPTER
from serve_app.config.adapter import AdapterSource
from serve_app.errors import CheckpointError

# A module's name is short, so that a pattern of the configuration takes no time to match.
_NAME = re.compile(
    r"base_model\.model\.(?P<module>.{1,96})\.(lora_(?P<side>[AB])\.weight|lora_embedding_(?P<table>[AB]))"
)
_OTHER_PARTS = ("text_encoder.", "audio_encoder.")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class Factors(NamedTuple):
    """Factors of one module: down [rank, in], up [out, rank]; of an embedding, out is the width."""

    down: Tensor
    up: Tensor
    is_embedding: bool

    def product(self) -> Tensor:
        """The change of the module's weight, before scaling: [rows, columns] as the weight."""
        product = self.up.float() @ self.down.float()
        return product.T if self.is_embedding else product


@dataclass(frozen=True)
class Adapter:
    """An adapter that was read. factors: by the names of transformers' modules."""

    config: AdapterConfig
    weight: float
    factors: Mapping[str, Factors]

    def delta(self, module: str) -> Tensor:
        """The change of a module's weight, in fp32."""
        return self.factors[module].product() * self.config.scaling(module) * self.weight


def read_adapter(named: AdapterSource) -> Adapter:
    """Read an adapter's files.

    Raises CheckpointError naming the file, and the option or tensor that is not supported.
    """
    folder = resolve_adapter(named.source)
    config = read_adapter_config(folder)
    file = folder / ADAPTER
    tensors = read_tensors(file)
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS or tensor.ndim != 2:
            raise CheckpointError(
                f"{file}: tensor '{name}' is {tuple(tensor.shape)} of {tensor.dtype}, not a matrix "
                "of float32, float16 or bfloat16. Save the adapter again with PEFT."
            )
    if broken := not_finite(tensors):
        raise CheckpointError(
            f"{file}: tensor '{broken[0]}' has values that are not finite (NaN or infinity). Its "
            "training diverged, or the file is damaged: use another checkpoint of the training."
        )
    return Adapter(config, named.weight, _factors(config, str(file), tensors))


def _factors(config: AdapterConfig, file: str, tensors: Mapping[str, Tensor]) -> dict[str, Factors]:
    """Pair the matrices of each module. Raises CheckpointError for anything else in the file."""
    modules: dict[str, dict[str, Tensor]] = {}
    embeddings: set[str] = set()
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise CheckpointError(
                f"{file}: tensor '{name}' is not of a plain LoRA adapter (lora_A, lora_B, "
                "lora_embedding_A, lora_embedding_B), and would be ignored. Merge the adapter into "
                "its base with PEFT (`merge_and_unload()`)."
            )
        modules.setdefault(match["module"], {})[match["side"] or match["table"]] = tensor
        if match["table"]:
            embeddings.add(match["module"])
    return {
        module: _paired(config, file, module, pair, module in embeddings)
        for module, pair in modules.items()
    }


def _paired(
    config: AdapterConfig, file: str, module: str, pair: Mapping[str, Tensor], is_embedding: bool
) -> Factors:
    if len(pair) < 2:
        raise CheckpointError(
            f"{file}: module '{module}' has only one of its two matrices. The file is incomplete: "
            "save or download the adapter again."
        )
    rank = config.rank_of(module)
    down = pair["A"]
    up = pair["B"]
    if len(down) != rank or up.shape[1] != rank:
        raise CheckpointError(
            f"{file}: module '{module}' has matrices of {tuple(down.shape)} and {tuple(up.shape)}, "
            f"but its rank in {config.file.name} is {rank}. Use the configuration that was saved "
            "with the adapter."
        )
    return Factors(down, up, is_embedding)


class Place(NamedTuple):
    """Rows of a parameter that one of transformers' modules makes up: `part` of `parts`, from 0."""

    parameter: str
    part: int
    parts: int


class Merge:
    """The changes of all adapters, added to the parameters of a language model as they are loaded.

    names: transformers' tensors of each parameter; expected: the parameters' shapes.

    Raises CheckpointError if an adapter has a module that the model has not, or in another shape.
    """

    def __init__(
        self,
        adapters: Iterable[Adapter],
        names: Mapping[str, tuple[Source, ...]],
        expected: Mapping[str, Tensor],
    ) -> None:
        places = _places(names, expected)
        self._changes: dict[str, list[tuple[Place, Adapter, str]]] = {}
        for adapter in adapters:
            for module in adapter.factors:
                place = _place(adapter, module, places)
                _check_shape(adapter, module, place, expected[place.parameter].shape)
                change = (place, adapter, module)
                self._changes.setdefault(place.parameter, []).append(change)

    def apply(self, parameter: str, weight: Tensor) -> Tensor:
        """Return the weight with its changes, in fp32; one without changes as it is."""
        changes = self._changes.get(parameter)
        if not changes:
            return weight
        merged = weight.to(torch.float32, copy=True)
        for place, adapter, module in changes:
            merged.chunk(place.parts)[place.part].add_(adapter.delta(module))
        return merged


def _places(
    names: Mapping[str, tuple[Source, ...]], expected: Mapping[str, Tensor]
) -> dict[str, Place]:
    """Place of each of transformers' modules with a weight, by its name."""
    return {
        str(source).removesuffix(".weight"): Place(parameter, part, len(sources))
        for parameter, sources in names.items()
        if parameter in expected and parameter.endswith(".weight")
        for part, source in enumerate(sources)
    }


def _place(adapter: Adapter, module: str, places: Mapping[str, Place]) -> Place:
    if module in places:
        return places[module]
    if module.startswith(_OTHER_PARTS):
        reason = "adapters of the text encoder and of the codec are not supported"
    else:
        reason = "the model has no such module"
    raise CheckpointError(
        f"{adapter.config.file}: adapts '{module}', but {reason}. {_cure(adapter)}"
    )


def _check_shape(adapter: Adapter, module: str, place: Place, shape: torch.Size) -> None:
    wanted = (shape[0] // place.parts, *shape[1:])
    factors = adapter.factors[module]
    given = (len(factors.up), factors.down.shape[1])
    given = given[::-1] if factors.is_embedding else given
    if given != wanted:
        raise CheckpointError(
            f"{adapter.config.file}: changes a weight of {given} in '{module}', but the model's is "
            f"{wanted}. {_cure(adapter)}"
        )


def _cure(adapter: Adapter) -> str:
    base = adapter.config.base
    trained = f" It was trained on '{base}'." if base else ""
    return f"Name the model in model_source that the adapter was trained on.{trained}"
