"""Loading of the codec: from a MusicGen checkpoint or from a repository of its own.

Its weights stay in fp32.
"""

from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints import audiocraft, huggingface
from serve_app.checkpoints.building import build
from serve_app.checkpoints.experiment_config import read_export
from serve_app.checkpoints.hub import is_hub_id, resolve
from serve_app.checkpoints.tensor_files import read_pickle, read_safetensors
from serve_app.checkpoints.tensor_store import TensorStore
from serve_app.errors import CheckpointError
from serve_app.models.encodec.model import Encodec

COMPRESSION = "compression_state_dict.bin"  # of an AudioCraft export
_CODEC_SOURCE = "set the model's codec_source to a hub repository or folder of an EnCodec"


def load_codec(folder: Path, device: torch.device) -> Encodec:
    """Load a Hugging Face repository of a codec alone, such as facebook/encodec_32khz.

    Raises CheckpointError naming the file and the tensor.
    """
    config = huggingface.read_config_of(folder, "encodec", role="a codec; DAC is not supported")
    store = read_safetensors(folder)
    codec = huggingface_codec(folder, "", config, store, device)
    store.check_all_taken(ignored=huggingface.IGNORED)
    return codec


def huggingface_codec(
    folder: Path, name: str, section: dict[str, Any], store: TensorStore, device: torch.device
) -> Encodec:
    """Build the codec that a section of config.json describes.

    name: of the section, and the prefix of its tensors; empty if the whole file is of a codec.
    """
    prefix = f"{name}." if name else ""
    num_quantizers = store.count(rf"{prefix}quantizer\.layers\.\d+\.codebook\.embed")
    if num_quantizers == 0:
        raise CheckpointError(
            f"{store.origin}: has no codebooks ('{prefix}quantizer.layers.0.codebook.embed'). The "
            "file is incomplete: save or download the checkpoint again."
        )
    config = huggingface.encodec_config(folder, name, section, num_quantizers)
    codec = build(folder / "config.json", lambda: Encodec(config))
    store.fill(codec, huggingface.encodec_sources(codec, prefix), torch.float32, device)
    return codec


def audiocraft_codec(folder: Path, source: str | None, device: torch.device) -> Encodec:
    """Load the codec of an AudioCraft export.

    It is loaded from `source` if given, else from the export or the repository that it names.
    """
    file = folder / COMPRESSION
    if source is None:
        source = named_codec(file)
    if source is not None:
        return load_codec(resolve(source), device)
    cfg, store = read_export(file)
    config = audiocraft.encodec_config(cfg)
    codec = build(file, lambda: Encodec(config))
    store.fill(codec, audiocraft.encodec_sources(codec), torch.float32, device)
    store.check_all_taken(ignored=audiocraft.IGNORED_BY_CODEC)
    return codec


def named_codec(file: Path) -> str | None:
    """Hub id of the codec, in an export that only names it."""
    if not file.exists():
        raise CheckpointError(
            f"{file}: the file is missing, so the export has no codec. Copy it from the original "
            f"export, or {_CODEC_SOURCE}."
        )
    pointer = read_pickle(file).get("pretrained")
    if not pointer:
        return None
    source = str(pointer).removeprefix("//pretrained/")
    if not is_hub_id(source):
        raise CheckpointError(
            f"{file}: points to '{pointer}', {_kind_of(source)}. To use another codec, "
            f"{_CODEC_SOURCE}."
        )
    return source


def _kind_of(pointer: str) -> str:
    """The reason why a pointer cannot be followed."""
    if pointer.startswith(("//sig/", "//reference/")):
        return "a training run on the machine that exported it, which is not in the export"
    if pointer.startswith("dac_"):
        return "DAC (the Descript Audio Codec), which is not supported, only EnCodec"
    return "which is not the id of a hub repository (OWNER/REPOSITORY)"
