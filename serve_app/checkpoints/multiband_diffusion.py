"""MultiBand Diffusion's weights: conversion of the published pickles, and loading of converted ones.

A published file is a pickle with configurations of OmegaConf, which a replica does not read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from serve_app.checkpoints.building import build
from serve_app.checkpoints.diffusion_file import (
    CONVERT,
    FACTS,
    WEIGHTS,
    BandFacts,
    DiffusionFacts,
    ProcessorFacts,
    parse_facts,
    read_facts,
)
from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.inert_pickle import plain, read_inert
from serve_app.errors import CheckpointError, ConfigError
from serve_app.models.encodec.model import Encodec
from serve_app.models.multiband_diffusion import Band, MultiBandDiffusion

_MOST_BYTES = 2**35  # unpacked: the published files have below 5 GB
_INSTALL = (
    "Install the extra: `uv sync --extra audiocraft` (pip refuses it, because AudioCraft's metadata pins "
    "PyTorch 2.1), or remove engine_kwargs.multiband_diffusion_source."
)


def convert(source: Path, folder: Path) -> DiffusionFacts:
    """Write the weights of a published file (`.th`) as safetensors and JSON, without running its code.

    Raises CheckpointError naming what is missing, not supported or not finite, and OSError for a
    folder that cannot be made.
    """
    package = read_inert(source, _MOST_BYTES)
    bands = [_band(source, package, number) for number in range(_num_bands(source, package))]
    content = {
        "sample_rate": package.get("sample_rate"),
        "bands": [plain(source, band["cfg"]) for band in bands],
    }
    facts = parse_facts(source, content)
    tensors: dict[str, Tensor] = {}
    for number, band in enumerate(bands):
        tensors |= _tensors(source, f"{number}.unet", band["model_state"])
        tensors |= _tensors(source, f"{number}.processor", band["processor_state"])
    folder.mkdir(parents=True, exist_ok=True)
    _save(source, tensors, folder / WEIGHTS)
    (folder / FACTS).write_text(facts.model_dump_json(indent=2) + "\n")
    return facts


def _save(source: Path, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write the tensors. Raises CheckpointError for a full disk, and for names of one memory."""
    try:
        save_file(dict(tensors), file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: cannot be written ({error}). Check the disk.") from error
    except RuntimeError as error:
        raise CheckpointError(
            f"{source}: has several names for the memory of one tensor, which no published file has. "
            "Download the file again."
        ) from error


def load_multiband_diffusion(source: str | None, codec: Encodec) -> MultiBandDiffusion | None:
    """Load a converted folder onto the device of `codec`; None if there is no source.

    Raises CheckpointError for its files, and ConfigError for a codec that it does not fit, or where
    AudioCraft is not installed.
    """
    if source is None:
        return None
    weights, facts = read_facts(source)
    _check_codec(facts, codec)
    device = codec.codebooks.device
    try:
        bands = [
            _load_band(weights, number, band, facts.sample_rate, device)
            for number, band in enumerate(facts.bands)
        ]
    except ImportError as error:
        raise ConfigError(
            f"multiband_diffusion_source needs AudioCraft, which cannot be imported ({error}). "
            f"{_INSTALL}"
        ) from error
    return MultiBandDiffusion(codec, bands)


def _check_codec(facts: DiffusionFacts, codec: Encodec) -> None:
    config = codec.config
    found = (config.sample_rate, config.codebook_dim, config.channels)
    if found != (facts.sample_rate, facts.codec_dim, 1):
        raise ConfigError(
            "multiband_diffusion_source does not fit the model's codec: it decodes latents of width "
            f"{facts.codec_dim} to mono at {facts.sample_rate} Hz, and the codec has width "
            f"{config.codebook_dim}, {config.channels} channel(s) and {config.sample_rate} Hz. "
            "Remove it from engine_kwargs, or name the diffusion that was trained with this codec."
        )


def _load_band(
    weights: Path, number: int, facts: BandFacts, sample_rate: int, device: torch.device
) -> Band:
    from audiocraft.models.unet import DiffusionUnet
    from audiocraft.modules.diffusion_schedule import NoiseSchedule

    schedule = facts.schedule.model_dump()
    unet_options = facts.diffusion_unet.model_dump()
    unet = build(
        weights,
        lambda: DiffusionUnet(
            chin=facts.channels, num_steps=facts.schedule.num_steps, **unet_options
        ),
    )
    processor = _processor(facts.processor, sample_rate)
    _fill(weights, unet, f"{number}.unet.", device, assign=True)
    _fill(weights, processor, f"{number}.processor.", device, assign=False)
    return Band(unet, NoiseSchedule(**schedule, sample_processor=processor, device=device))


def _processor(facts: ProcessorFacts, sample_rate: int) -> nn.Module:
    """Build the processor as AudioCraft's `get_processor`."""
    from audiocraft.modules.diffusion_schedule import MultiBandProcessor, SampleProcessor

    if not facts.use or facts.name != "multi_band_processor":
        return SampleProcessor()  # type: ignore[no-any-return]
    options = facts.model_dump(exclude={"use", "name"})
    return MultiBandProcessor(sample_rate=sample_rate, **options)  # type: ignore[no-any-return]


def _fill(
    weights: Path, module: nn.Module, prefix: str, device: torch.device, assign: bool
) -> None:
    """Load a module's tensors in fp32. assign: replace those of the module, which has no memory yet."""
    with faults_named(weights, f"its tensors '{prefix}*' do not fit {FACTS}", CONVERT):
        with safe_open(weights, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            state = {
                name.removeprefix(prefix): file.get_tensor(name).to(device, torch.float32)
                for name in names
            }
        module.load_state_dict(state, assign=assign)
    module.to(device).eval().requires_grad_(False)


def _num_bands(source: Path, package: Mapping[str, Any]) -> int:
    count = package.get("n_bands")
    if not isinstance(count, int) or not 1 <= count <= len(package):
        raise CheckpointError(
            f"{source}: n_bands is {count!r}, so this is no file of MultiBand Diffusion. Name one of "
            "its published files, such as mbd_musicgen_32khz.th."
        )
    return count


def _band(source: Path, package: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    band = package.get(str(number))
    parts = ("cfg", "model_state", "processor_state")
    if not isinstance(band, dict) or any(part not in band for part in parts):
        raise CheckpointError(
            f"{source}: band {number} lacks one of {', '.join(parts)}. Name one of the published files "
            "of MultiBand Diffusion, such as mbd_musicgen_32khz.th."
        )
    return band


def _tensors(source: Path, prefix: str, state: Any) -> dict[str, Tensor]:
    """Collect named tensors. Raises CheckpointError for anything else."""
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise CheckpointError(
            f"{source}: '{prefix}' holds more than named tensors. Download the file again."
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"{source}: tensor '{name}' of '{prefix}' is not finite. Download the file again."
            )
    return {f"{prefix}.{name}": tensor.contiguous() for name, tensor in state.items()}
