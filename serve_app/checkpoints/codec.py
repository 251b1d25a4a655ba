"""Loading of the codec: from a MusicGen checkpoint or from a repository of its own.

Its weights stay in fp32.
"""

from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints import audiocraft, huggingface
from serve_app.checkpoints.experiment_config import read_export
from serve_app.checkpoints.hub import is_hub_id, resolve
from serve_app.checkpoints.tensor_store import TensorStore, read_pickle, read_safetensors
from serve_app.errors import CheckpointError
from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.model import Encodec


def load_codec(folder: Path, device: torch.device) -> Encodec:
    """Load a Hugging Face repository of a codec alone, such as facebook/encodec_32khz.

    Raises CheckpointError naming the file and the tensor.
    """
    from transformers import EncodecConfig as TransformersEncodecConfig

    huggingface.check_model_type(folder, "encodec", "a codec")
    store = read_safetensors(folder)
    config = TransformersEncodecConfig.from_pretrained(folder)
    codec = huggingface_codec(folder, config, store, "", device)
    store.check_all_taken(ignored=huggingface.IGNORED)
    return codec


def huggingface_codec(
    folder: Path, config: Any, store: TensorStore, prefix: str, device: torch.device
) -> Encodec:
    """Build the codec from the tensors of `store` whose names begin with `prefix`.

    config: transformers' own.
    """
    codec = _on_meta(huggingface.encodec_config(folder, config, store, prefix))
    store.fill(codec, huggingface.encodec_sources(codec, prefix), torch.float32, device)
    return codec


def audiocraft_codec(folder: Path, source: str | None, device: torch.device) -> Encodec:
    """Load the codec of an AudioCraft export.

    It is loaded from `source` if given, else from the export or the repository that it names.
    """
    file = folder / "compression_state_dict.bin"
    if source is None:
        source = _pointer(file)
    if source is not None:
        return load_codec(resolve(source), device)
    cfg, store = read_export(file)
    codec = _on_meta(audiocraft.encodec_config(cfg))
    store.fill(codec, audiocraft.encodec_sources(codec), torch.float32, device)
    store.check_all_taken(ignored=audiocraft.IGNORED_BY_CODEC)
    return codec


def _pointer(file: Path) -> str | None:
    """Hub id of the codec, in an export that only names it."""
    pointer = read_pickle(file).get("pretrained")
    if not pointer:
        return None
    source = str(pointer).removeprefix("//pretrained/")
    if not is_hub_id(source):
        raise CheckpointError(
            f"{file}: points to '{pointer}', which is not the id of a hub repository "
            "(OWNER/REPOSITORY). Set the model's codec_source to a repository or folder."
        )
    return source


def _on_meta(config: EncodecConfig) -> Encodec:
    with torch.device("meta"):
        return Encodec(config)
