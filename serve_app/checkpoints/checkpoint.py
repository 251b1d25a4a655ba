"""Checkpoints in either of two formats to modules with their weights.

`huggingface.py` and `audiocraft.py` give the architecture and the names of the tensors; one strict
assembly serves both formats. Safetensors are preferred; pickles are read as plain data only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from serve_app.checkpoints import audiocraft, audiocraft_conditioning, huggingface
from serve_app.checkpoints.adapter import Adapter, Merge, read_adapter
from serve_app.checkpoints.building import build
from serve_app.checkpoints.codec import audiocraft_codec, huggingface_codec
from serve_app.checkpoints.experiment_config import read_export
from serve_app.checkpoints.faults import unreadable_named
from serve_app.checkpoints.hub import resolve
from serve_app.checkpoints.tensor_files import read_safetensors
from serve_app.checkpoints.text_encoder import build_text_encoder, load_text_encoder
from serve_app.checkpoints.training_files import refuse_training
from serve_app.checkpoints.weight_files import EXPORT, has_safetensors, is_export, require_form
from serve_app.config.adapter import AdapterSource
from serve_app.config.model_loading import CheckpointForm
from serve_app.errors import CheckpointError
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.t5 import TextEncoder

_INCOMPLETE = (
    "save or download the checkpoint again. Some published safetensors are incomplete: if the "
    f"repository also holds an AudioCraft export ({EXPORT}), set "
    "model_loading_config.checkpoint_form to audiocraft"
)


@dataclass(frozen=True)
class Checkpoint:
    """The modules that make audio of text: language model, codec and text encoder."""

    musicgen: MusicGen
    codec: Encodec
    text_encoder: TextEncoder

    @property
    def sample_rate(self) -> int:
        """Samples a second of the audio."""
        return self.codec.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames of codes a second of the audio."""
        return self.codec.config.frame_rate

    @property
    def audio_channels(self) -> int:
        return self.musicgen.config.audio_channels

    @property
    def stereo_codebooks(self) -> bool:
        """Whether the codebooks of a mono codec alternate between left and right."""
        return self.audio_channels == 2 and self.codec.config.channels == 1


def load_checkpoint(
    source: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    text_encoder_source: str | None = None,
    codec_source: str | None = None,
    adapters: Sequence[AdapterSource] = (),
    form: CheckpointForm = "auto",
) -> Checkpoint:
    """Load a model: a folder, a hub id, or `embedded:NAME` for a model inside this package.

    dtype: of the language model's weights; text encoder and codec stay in fp32.
    text_encoder_source, codec_source:
    replace the repositories that an AudioCraft export only names.
    form: of the checkpoint, where the source holds two.
    adapters: merged into the language model's weights in fp32, before the cast to `dtype`.

    Raises CheckpointError naming the file and the tensor.
    """
    device = torch.device(device)
    folder = resolve(source, form)
    merged = [read_adapter(adapter) for adapter in adapters]
    with unreadable_named(folder):
        check_not_empty(folder, form)
        if is_export(folder, form):
            checkpoint = _load_audiocraft(
                folder, dtype, device, text_encoder_source, codec_source, merged
            )
        else:
            checkpoint = _load_huggingface(folder, dtype, device, merged)
    _check_consistency(folder, checkpoint)
    for module in (checkpoint.musicgen, checkpoint.codec, checkpoint.text_encoder):
        module.eval().requires_grad_(False)
    return checkpoint


def _load_huggingface(
    folder: Path, dtype: torch.dtype, device: torch.device, adapters: Sequence[Adapter]
) -> Checkpoint:
    config, t5_section, codec_section = huggingface.musicgen_config(folder)
    store = read_safetensors(folder, _INCOMPLETE)
    musicgen = build(folder / "config.json", lambda: MusicGen(config))
    sources = huggingface.musicgen_sources(config)
    store.fill(musicgen, sources, dtype, device, merge(adapters, musicgen))
    codec = huggingface_codec(folder, "audio_encoder", codec_section, store, device)
    text_encoder = build_text_encoder(folder, "text_encoder", t5_section, store, device)
    store.check_all_taken(ignored=huggingface.IGNORED)
    return Checkpoint(musicgen, codec, text_encoder)


def _load_audiocraft(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    text_encoder_source: str | None,
    codec_source: str | None,
    adapters: Sequence[Adapter],
) -> Checkpoint:
    file = folder / EXPORT
    cfg, store = read_export(file)
    audiocraft.check_language_model(cfg)
    t5_source = text_encoder_source or cfg.fields("conditioners.description.t5").text("name")
    text_encoder = load_text_encoder(resolve(t5_source), device)
    config = audiocraft.musicgen_config(cfg, text_encoder.hidden_size)
    musicgen = build(file, lambda: MusicGen(config))
    sources = audiocraft.musicgen_sources(config, store)
    store.fill(musicgen, sources, dtype, device, merge(adapters, musicgen))
    store.check_all_taken(ignored=audiocraft_conditioning.IGNORED)
    return Checkpoint(musicgen, audiocraft_codec(folder, codec_source, device), text_encoder)


def merge(
    adapters: Sequence[Adapter], musicgen: MusicGen
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Return the change that adapters make; they have transformers' names, whatever the base's format."""
    names = huggingface.musicgen_sources(musicgen.config)
    return Merge(adapters, names, musicgen.state_dict()).apply


def check_not_empty(folder: Path, form: CheckpointForm) -> None:
    """Raise CheckpointError for a folder that holds no model of that form."""
    refuse_training(folder, form)
    require_form(folder, form)
    known = any((folder / name).exists() for name in ("config.json", EXPORT))
    if not known and not has_safetensors(folder):
        raise CheckpointError(
            f"{folder}: holds neither config.json (of a Hugging Face model) nor state_dict.bin (of "
            "an AudioCraft export). Name the folder with the model's files."
        )


def _check_consistency(folder: Path, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if the codec cannot decode what the language model produces."""
    lm = checkpoint.musicgen.config
    codec = checkpoint.codec.config
    if codec.channels > lm.audio_channels or lm.num_codebooks % lm.audio_channels:
        raise CheckpointError(
            f"{folder}: the language model has {lm.num_codebooks} codebooks and {lm.audio_channels}"
            f" audio channel(s), but the codec has {codec.channels}. Use the codec that the model "
            "was trained with (codec_source of an AudioCraft export)."
        )
    if lm.transformer.hidden_size % 2:
        raise CheckpointError(
            f"{folder}: the width {lm.transformer.hidden_size} of the language model is odd, but "
            "positions are pairs of sine and cosine. Use a published architecture."
        )
    if lm.melody is not None and lm.melody.sample_rate != codec.sample_rate:
        raise CheckpointError(
            f"{folder}: the melody is taken at {lm.melody.sample_rate} Hz, but the codec has "
            f"{codec.sample_rate} Hz. Use the codec and the preprocessor_config.json that the model "
            "was trained with."
        )
    per_channel = lm.num_codebooks // (2 if checkpoint.stereo_codebooks else 1)
    if per_channel > codec.num_quantizers or lm.codebook_size > codec.codebook_size:
        raise CheckpointError(
            f"{folder}: the language model has {per_channel} codebooks of {lm.codebook_size} for "
            f"each channel, but the codec has {codec.num_quantizers} of {codec.codebook_size}. "
            "Use the codec that the model was trained with (codec_source of an AudioCraft export)."
        )
