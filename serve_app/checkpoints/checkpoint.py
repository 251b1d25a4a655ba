"""Checkpoints: a local folder or a hub repository, in either of two formats -> modules with their weights.

Foreign formats end here: `huggingface.py` and `audiocraft.py` each tell what the architecture is and what the tensors
are called, and one strict assembly serves both. Safetensors are preferred; pickles are read as plain data only.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints import audiocraft, huggingface
from serve_app.checkpoints.tensor_store import Source, TensorStore, read_pickle, read_safetensors
from serve_app.errors import CheckpointError
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.t5 import TextEncoder

EMBEDDED_PREFIX = "embedded:"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SAFE_FILES = ("*.json", "*.safetensors", "*.model")
_EXPORT_FILES = ("state_dict.bin", "compression_state_dict.bin")
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
_FP32 = torch.float32


@dataclass(frozen=True)
class Checkpoint:
    """A model with everything that is needed to make audio from text."""

    musicgen: MusicGen
    codec: Encodec
    text_encoder: TextEncoder

    @property
    def sample_rate(self) -> int:
        return self.codec.config.sample_rate

    @property
    def frame_rate(self) -> float:
        return self.codec.config.frame_rate

    @property
    def audio_channels(self) -> int:
        return self.musicgen.config.audio_channels

    @property
    def stereo_codebooks(self) -> bool:
        """Whether the codebooks alternate between the left and the right channel of a mono codec."""
        return self.audio_channels == 2 and self.codec.config.channels == 1


def load_checkpoint(
    source: str,
    *,
    dtype: torch.dtype = _FP32,
    device: torch.device | str = "cpu",
    text_encoder_source: str | None = None,
    codec_source: str | None = None,
) -> Checkpoint:
    """Load the model at `source`: a folder, a hub id, or `embedded:NAME` for one inside this package.

    dtype is the language model's; text encoder and codec stay in float32. The other two sources stand in for the
    repositories that an AudioCraft export only names. Raises CheckpointError naming the file and the tensor.
    """
    device = torch.device(device)
    folder = resolve(source)
    if (folder / "state_dict.bin").exists() and not _has_safetensors(folder):
        checkpoint = _load_audiocraft(folder, dtype, device, text_encoder_source, codec_source)
    else:
        checkpoint = _load_huggingface(folder, dtype, device)
    _check_consistency(folder, checkpoint)
    for module in (checkpoint.musicgen, checkpoint.codec, checkpoint.text_encoder):
        module.eval().requires_grad_(False)
    return checkpoint


def resolve(source: str) -> Path:
    """The local folder of `source`, fetched from the hub into its cache where need be."""
    if source.startswith(EMBEDDED_PREFIX):
        folder = Path(str(files("serve_app"))) / "assets" / source.removeprefix(EMBEDDED_PREFIX)
        if not (folder / "config.json").exists():
            raise CheckpointError(f"'{source}' is not a model inside this package")
        return folder
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(source):
        raise CheckpointError(f"'{source}' is neither a folder nor the id of a hub repository")
    folder = _download(source, _SAFE_FILES)
    return folder if _has_safetensors(folder) else _download(source, _EXPORT_FILES)


def _download(repository: str, patterns: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"Hub repository '{repository}' could not be fetched ({type(error).__name__}). Check the name and the "
            "network; set HF_TOKEN for a private or gated repository, or name a local folder instead. With "
            "HF_HUB_OFFLINE=1 it must already be in the cache (HF_HOME)."
        ) from error


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _load_huggingface(folder: Path, dtype: torch.dtype, device: torch.device) -> Checkpoint:
    config, t5_config, codec_config = huggingface.musicgen_config(folder)
    store = read_safetensors(folder)
    musicgen = _meta(MusicGen, config)
    store.fill(musicgen, huggingface.musicgen_sources(config), dtype, device)
    codec = _huggingface_codec(folder, codec_config, store, "audio_encoder.", device)
    text_encoder = _text_encoder(folder, t5_config, store, "text_encoder.", device)
    store.check_all_taken(ignored=huggingface.IGNORED)
    return Checkpoint(musicgen, codec, text_encoder)


def _load_audiocraft(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    text_encoder_source: str | None,
    codec_source: str | None,
) -> Checkpoint:
    file = folder / "state_dict.bin"
    cfg, store = _read_export(file)
    text_encoder = _t5_repository(
        resolve(text_encoder_source or cfg.need("conditioners.description.t5.name")), device
    )
    config = audiocraft.musicgen_config(cfg, text_encoder.hidden_size)
    musicgen = _meta(MusicGen, config)
    store.fill(musicgen, audiocraft.musicgen_sources(config, store), dtype, device)
    store.check_all_taken(ignored="")
    return Checkpoint(musicgen, _audiocraft_codec(folder, codec_source, device), text_encoder)


def _audiocraft_codec(folder: Path, codec_source: str | None, device: torch.device) -> Encodec:
    file = folder / "compression_state_dict.bin"
    if codec_source is None and (pointer := read_pickle(file).get("pretrained")):
        codec_source = str(pointer).removeprefix("//pretrained/")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", codec_source):
            raise CheckpointError(
                f"{file}: points to '{pointer}', which is not the id of a hub repository"
            )
    if codec_source is not None:
        return load_codec(resolve(codec_source), device)
    cfg, store = _read_export(file)
    codec: Encodec = _meta(Encodec, audiocraft.encodec_config(cfg))
    store.fill(codec, audiocraft.encodec_sources(codec), _FP32, device)
    store.check_all_taken(ignored=audiocraft.IGNORED_BY_CODEC)
    return codec


def _read_export(file: Path) -> tuple[audiocraft.ExperimentConfig, TensorStore]:
    package = read_pickle(file)
    state = package.get("best_state")
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise CheckpointError(
            f"{file}: has no 'best_state' of tensors: it is not an AudioCraft export"
        )
    return audiocraft.ExperimentConfig(file, package.get("xp.cfg", "")), TensorStore(
        str(file), state
    )


def load_codec(folder: Path, device: torch.device) -> Encodec:
    """A codec in a Hugging Face repository of its own, as facebook/encodec_32khz."""
    from transformers import EncodecConfig as TransformersEncodecConfig

    if (kind := huggingface.read_config(folder)["model_type"]) != "encodec":
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type '{kind}' is not a codec ('encodec')"
        )
    store = read_safetensors(folder)
    codec = _huggingface_codec(
        folder, TransformersEncodecConfig.from_pretrained(folder), store, "", device
    )
    store.check_all_taken(ignored=huggingface.IGNORED)
    return codec


def _huggingface_codec(
    folder: Path, config: Any, store: TensorStore, prefix: str, device: torch.device
) -> Encodec:
    codec: Encodec = _meta(Encodec, huggingface.encodec_config(folder, config, store, prefix))
    store.fill(codec, huggingface.encodec_sources(codec, prefix), _FP32, device)
    return codec


def _t5_repository(folder: Path, device: torch.device) -> TextEncoder:
    """T5 in a repository of its own, as t5-base: its decoder, where there is one, is not needed."""
    from transformers import T5Config

    if (kind := huggingface.read_config(folder)["model_type"]) != "t5":
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type '{kind}' is not a text encoder ('t5')"
        )
    store = read_safetensors(folder)
    text_encoder = _text_encoder(folder, T5Config.from_pretrained(folder), store, "", device)
    store.check_all_taken(ignored=r"decoder\..*|lm_head\..*|(encoder\.embed_tokens|shared)\.weight")
    return text_encoder


def _text_encoder(
    folder: Path, config: Any, store: TensorStore, prefix: str, device: torch.device
) -> TextEncoder:
    from transformers import AutoTokenizer, T5EncoderModel

    if not any(
        (folder / name).exists() for name in _TOKENIZER_FILES
    ):  # transformers would make up an empty one
        raise CheckpointError(f"{folder}: has no tokenizer ({' or '.join(_TOKENIZER_FILES)})")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: its tokenizer cannot be read") from error
    t5 = _meta(T5EncoderModel, config)
    tied = [f"{prefix}shared.weight", f"{prefix}encoder.embed_tokens.weight"]
    embedding = next((name for name in tied if name in store), tied[0])
    sources: dict[str, tuple[Source, ...]] = {
        name: (f"{prefix}{name}",) for name in t5.state_dict()
    }
    sources |= {name.removeprefix(prefix): (embedding,) for name in tied}
    store.fill(t5, sources, _FP32, device)
    return TextEncoder(t5, tokenizer, config.d_model)


def _meta(build: Any, config: Any) -> Any:
    with torch.device("meta"):
        return build(config)


def _check_consistency(folder: Path, checkpoint: Checkpoint) -> None:
    lm, codec = checkpoint.musicgen.config, checkpoint.codec.config
    per_channel = lm.num_codebooks // (2 if checkpoint.stereo_codebooks else 1)
    if per_channel > codec.num_quantizers or lm.codebook_size > codec.codebook_size:
        raise CheckpointError(
            f"{folder}: the language model has {per_channel} codebooks of {lm.codebook_size} for each channel, "
            f"but the codec has {codec.num_quantizers} of {codec.codebook_size}"
        )
