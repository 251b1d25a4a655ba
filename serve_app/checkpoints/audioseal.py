"""AudioSeal's weights: conversion of the published files, and loading of converted ones.

A published file has the names of AudioSeal 0.1; the package 0.2 renames them while it loads, and the
names that it saves itself have one level more (`inner_conv`). Both are read here; a converted file
has the former, with weight normalization folded into plain weights.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from serve_app.checkpoints.building import build
from serve_app.checkpoints.experiment_config import ExperimentConfig
from serve_app.checkpoints.inert_pickle import read_inert
from serve_app.checkpoints.tensor_files import read_tensors
from serve_app.checkpoints.tensor_store import Source, TensorStore
from serve_app.checkpoints.watermark_file import Network, WatermarkFacts, read_facts
from serve_app.errors import CheckpointError
from serve_app.models.audioseal.config import LATENT_SIZE, MESSAGE_BITS
from serve_app.models.audioseal.detector import Detector
from serve_app.models.audioseal.generator import Generator
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d

_NetworkT = TypeVar("_NetworkT", Generator, Detector)

_MOST_ELEMENTS = 2**24  # of one tensor; AudioSeal's largest has 2**21
_WRAPPERS = {Conv1d: ".conv.conv", ConvTranspose1d: ".convtr.convtr"}
_OWN = {
    "message": "msg_processor.msg_processor",
    "expand": "detector.0.reverse_convolution",
    "head": "detector.1",
}
# The architecture of all published files, but for `seanet.causal`.
_PUBLISHED: dict[str, Any] = {
    "nbits": MESSAGE_BITS,
    "normalizer": False,
    "seanet.activation": "ELU",
    "seanet.activation_params": {"alpha": 1.0},
    "seanet.channels": 1,
    "seanet.compress": 2,
    "seanet.dilation_base": 2,
    "seanet.dimension": LATENT_SIZE,
    "seanet.kernel_size": 7,
    "seanet.last_kernel_size": 7,
    "seanet.lstm": 2,
    "seanet.n_filters": 32,
    "seanet.n_residual_layers": 1,
    "seanet.pad_mode": "constant",
    "seanet.ratios": [8, 5, 4, 2],
    "seanet.residual_kernel_size": 3,
    "seanet.true_skip": True,
}


def convert(source: Path, target: Path, causal: bool | None = None) -> WatermarkFacts:
    """Write the weights of a published file (`.pth`) as safetensors, without running code in it.

    causal: whether the file is of the streaming variant, if it does not tell.
    Raises CheckpointError naming what is missing, not supported or not finite.
    """
    package = read_inert(source)
    store = TensorStore(str(source), _tensors(source, package))
    network = Network.DETECTOR if "detector.1.weight" in store else Network.GENERATOR
    facts = WatermarkFacts(network=network, causal=_is_causal(source, package, causal))
    module = _build(source, facts)
    _fill(module, store, torch.device("cpu"))
    save(module, target, causal=facts.causal)
    return facts


def save(module: Generator | Detector, target: Path, *, causal: bool) -> None:
    """Write the weights as safetensors, in the form that `load_generator`, `load_detector` read."""
    network = Network.DETECTOR if isinstance(module, Detector) else Network.GENERATOR
    names = _sources(module)
    tensors = {names[name]: tensor.contiguous() for name, tensor in module.state_dict().items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, WatermarkFacts(network=network, causal=causal).to_metadata())


def load_generator(file: Path, device: torch.device) -> Generator:
    """Load a converted generator. Raises CheckpointError."""
    return _load(file, Network.GENERATOR, device, Generator)


def load_detector(file: Path, device: torch.device) -> Detector:
    """Load a converted detector. Raises CheckpointError."""
    return _load(file, Network.DETECTOR, device, Detector)


def _load(
    file: Path, network: Network, device: torch.device, kind: Callable[..., _NetworkT]
) -> _NetworkT:
    facts = read_facts(file, network)
    module = build(file, lambda: kind(causal=facts.causal))
    _fill(module, TensorStore(str(file), read_tensors(file)), device)
    return module


def _build(file: Path, facts: WatermarkFacts) -> Generator | Detector:
    kind = Detector if facts.network is Network.DETECTOR else Generator
    return build(file, lambda: kind(causal=facts.causal))


def _fill(module: nn.Module, store: TensorStore, device: torch.device) -> None:
    sources: dict[str, tuple[Source, ...]] = {
        name: (source,) for name, source in _sources(module).items()
    }
    store.fill(module, sources, torch.float32, device)
    store.check_all_taken(ignored="")
    module.eval().requires_grad_(False)


def _sources(module: nn.Module) -> dict[str, str]:
    """Map each parameter to the name of its tensor in a published file."""
    side_prefix = "detector.0.model" if isinstance(module, Detector) else None
    names = {}
    for name in module.state_dict():
        owner, _, leaf = name.rpartition(".")
        side, _, path = owner.partition(".")
        if side in _OWN:
            names[name] = f"{_OWN[side]}.{leaf}"
            continue
        wrapper = _WRAPPERS.get(type(module.get_submodule(owner)), "")
        names[name] = f"{side_prefix or f'{side}.model'}.{path}{wrapper}.{leaf}"
    return names


def _tensors(file: Path, package: dict[str, Any]) -> dict[str, Tensor]:
    """Find the named tensors: under `best_state`, `model`, or the file's own.

    Raises CheckpointError for anything else among them, and for tensors beyond every AudioSeal.
    """
    state = package.get("best_state", package)
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not state or not all(map(_is_weight, state.values())):
        raise CheckpointError(
            f"{file}: has no named tensors under 'model'. Name one of AudioSeal's published files, "
            "such as generator_base.pth."
        )
    for name, tensor in state.items():
        if tensor.numel() > _MOST_ELEMENTS:
            raise CheckpointError(
                f"{file}: tensor '{name}' has shape {tuple(tensor.shape)}, which no AudioSeal has. "
                "Name one of its published files."
            )
    return {str(name).replace(".inner_conv.", "."): tensor for name, tensor in state.items()}


def _is_weight(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_causal(file: Path, package: dict[str, Any], told: bool | None) -> bool:
    """Read the variant from the configuration, which must be of a published architecture."""
    content = package.get("xp.cfg")
    text = content if isinstance(content, str) else json.dumps(content or {})
    cfg = ExperimentConfig(file, text)
    for name, value in _PUBLISHED.items():
        if (found := cfg.get(name, value)) != value:
            raise CheckpointError(
                f"{file}: {name} is {found!r}, which is not supported (only {value!r}). Name one of "
                "AudioSeal's published files."
            )
    causal = cfg.get("seanet.causal", told)
    if not isinstance(causal, bool):
        raise CheckpointError(
            f"{file}: does not tell its variant ('xp.cfg' has no seanet.causal). Give --causal for a "
            "file named *_streaming.pth, --no-causal for one named *_base.pth."
        )
    if told not in (None, causal):
        raise CheckpointError(
            f"{file}: its configuration says causal: {str(causal).lower()}. Leave out --causal and "
            "--no-causal."
        )
    return causal
