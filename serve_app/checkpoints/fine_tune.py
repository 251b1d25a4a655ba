"""Language models that share another checkpoint's codec and text encoder: fine-tunes of one shape.

Training leaves EnCodec and T5 as they were, so that only the language models differ. A fine-tune is
looked at first, without memory for its weights: a download or a checkpoint that does not fit costs
nobody a place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from serve_app.checkpoints import audiocraft, huggingface
from serve_app.checkpoints.adapter import read_adapter
from serve_app.checkpoints.building import build
from serve_app.checkpoints.checkpoint import Checkpoint, check_not_empty, merge
from serve_app.checkpoints.codec import audiocraft_codec, huggingface_codec
from serve_app.checkpoints.experiment_config import read_export
from serve_app.checkpoints.faults import unreadable_named
from serve_app.checkpoints.hub import resolve
from serve_app.checkpoints.tensor_files import read_safetensors
from serve_app.checkpoints.tensor_store import Source, TensorStore
from serve_app.checkpoints.text_encoder import build_t5
from serve_app.checkpoints.weight_files import EXPORT, is_export
from serve_app.config.adapter import AdapterSource
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.errors import CheckpointError
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.t5 import T5Encoder

_CPU = torch.device("cpu")
_CURE = "Serve it as a model of its own, outside fine_tunes."


@dataclass(frozen=True)
class FineTune:
    """A language model that was found to fit, on the meta device, and the tensors to fill it with."""

    musicgen: MusicGen
    store: TensorStore
    sources: Mapping[str, tuple[Source, ...]]
    adapters: tuple[AdapterSource, ...] = ()

    def load(self, dtype: torch.dtype, device: torch.device) -> MusicGen:
        """Load the weights, with the adapters merged. Call once. Raises CheckpointError."""
        change = merge([read_adapter(one) for one in self.adapters], self.musicgen)
        self.store.fill(self.musicgen, self.sources, dtype, device, change)
        self.musicgen.eval().requires_grad_(False)
        return self.musicgen


def find_fine_tune(
    loading: ModelLoadingConfig, base: Checkpoint, *, same_parts: bool = False
) -> FineTune:
    """Find a fine-tune of the shape of `base`; download it if need be.

    same_parts: whether its codec and text encoder are known to be those of `base`, as they are in
    the base's own files.

    Raises CheckpointError naming the file, and what differs from `base`.
    """
    form = loading.checkpoint_form
    folder = resolve(loading.pinned_source, form)
    with unreadable_named(folder):
        check_not_empty(folder, form)
        find = _find_audiocraft if is_export(folder, form) else _find_huggingface
        found = find(folder, loading, base, same_parts)
    merge([read_adapter(one) for one in loading.adapter_source], found.musicgen)  # may refuse
    return found


def _find_huggingface(
    folder: Path, loading: ModelLoadingConfig, base: Checkpoint, same_parts: bool
) -> FineTune:
    config, t5_section, codec_section = huggingface.musicgen_config(folder)
    musicgen = build(folder / "config.json", lambda: MusicGen(config))
    _check_shape(folder, musicgen, base)
    store = read_safetensors(folder)
    if not same_parts:
        codec = huggingface_codec(folder, "audio_encoder", codec_section, store, _CPU)
        t5 = build_t5(folder, "text_encoder", t5_section, store, _CPU)
        _check_parts(folder, codec, t5, base)
    return FineTune(musicgen, store, huggingface.musicgen_sources(config), loading.adapter_source)


def _find_audiocraft(
    folder: Path, loading: ModelLoadingConfig, base: Checkpoint, same_parts: bool
) -> FineTune:
    cfg, store = read_export(folder / EXPORT)
    audiocraft.check_language_model(cfg)
    config = audiocraft.musicgen_config(cfg, base.text_encoder.hidden_size)
    musicgen = build(folder / EXPORT, lambda: MusicGen(config))
    _check_shape(folder, musicgen, base)
    sources = audiocraft.musicgen_sources(config, store)
    if not same_parts:
        name = cfg.fields("conditioners.description.t5").text("name")
        t5 = _t5_of(resolve(loading.text_encoder_source or name))
        _check_parts(folder, audiocraft_codec(folder, loading.codec_source, _CPU), t5, base)
    return FineTune(musicgen, store, sources, loading.adapter_source)


def _t5_of(folder: Path) -> T5Encoder:
    section = huggingface.read_config_of(folder, "t5", role="a text encoder")
    return build_t5(folder, "", section, read_safetensors(folder), _CPU)


def _check_shape(folder: Path, musicgen: MusicGen, base: Checkpoint) -> None:
    """Raise CheckpointError naming each part of the architecture in which a model differs."""
    given = musicgen.config
    wanted = base.musicgen.config
    names = [one.name for one in fields(wanted)]
    differing = [
        f"{name} ({getattr(given, name)}, not {getattr(wanted, name)})"
        for name in names
        if getattr(given, name) != getattr(wanted, name)
    ]
    if differing:
        raise CheckpointError(
            f"{folder}: differs in shape from the model whose fine-tune it is to be: "
            f"{', '.join(differing)}. {_CURE}"
        )


def _check_parts(folder: Path, codec: Encodec, t5: T5Encoder, base: Checkpoint) -> None:
    """Raise CheckpointError if the codec or the text encoder is another one than the base's."""
    parts: tuple[tuple[str, nn.Module, nn.Module], ...] = (
        ("codec", codec, base.codec),
        ("text encoder", t5, base.text_encoder.t5),
    )
    for role, given, wanted in parts:
        if (name := _first_difference(given.state_dict(), wanted.state_dict())) is not None:
            raise CheckpointError(
                f"{folder}: its {role} is not that of the model whose fine-tune it is to be: "
                f"'{name}' differs. {_CURE}"
            )


def _first_difference(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    if unpaired := sorted(given.keys() ^ wanted.keys()):
        return unpaired[0]
    same = (torch.equal(given[name], wanted[name].to(_CPU)) for name in wanted)
    return next((name for name, is_same in zip(wanted, same, strict=True) if not is_same), None)
