"""Loading of the text encoder: from a MusicGen checkpoint or from a T5 repository.

Its weights stay in fp32.
"""

from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints import huggingface
from serve_app.checkpoints.building import build
from serve_app.checkpoints.fields import MOST_LAYERS
from serve_app.checkpoints.tensor_files import read_safetensors
from serve_app.checkpoints.tensor_store import Source, TensorStore
from serve_app.checkpoints.tokenizer import read_tokenizer
from serve_app.models.t5 import T5Config, T5Encoder, TextEncoder

# Options of T5's architecture. Others are left out: transformers takes some from a configuration
# that name code to download (CVE-2026-4372).
_OPTIONS = (
    "vocab_size",
    "d_model",
    "d_kv",
    "d_ff",
    "num_layers",
    "num_heads",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
    "dropout_rate",
    "feed_forward_proj",
    "dense_act_fn",
    "is_gated_act",
)
# T5's decoder, and copies of the tied embedding
_IGNORED = r"decoder\..*|lm_head\..*|(encoder\.embed_tokens|shared)\.weight"


def load_text_encoder(folder: Path, device: torch.device) -> TextEncoder:
    """Load a T5 repository, such as t5-base; its decoder, if any, is left out.

    Raises CheckpointError naming the file and the tensor.
    """
    config = huggingface.read_config_of(folder, "t5", role="a text encoder")
    store = read_safetensors(folder)
    text_encoder = build_text_encoder(folder, "", config, store, device)
    store.check_all_taken(ignored=_IGNORED)
    return text_encoder


def build_text_encoder(
    folder: Path, name: str, section: dict[str, Any], store: TensorStore, device: torch.device
) -> TextEncoder:
    """Build the T5 that a section of config.json describes, with the tokenizer of the folder.

    name: of the section, and the prefix of its tensors; empty if the whole file is of a T5.
    """
    tokenizer = read_tokenizer(folder, _check_sizes(folder, name, section))
    t5 = build_t5(folder, name, section, store, device)
    return TextEncoder(t5, tokenizer, t5.config.d_model)


def build_t5(
    folder: Path, name: str, section: dict[str, Any], store: TensorStore, device: torch.device
) -> T5Encoder:
    """Build the T5 of `build_text_encoder`, without a tokenizer."""
    t5 = build(folder / "config.json", lambda: _encoder(section))
    prefix = f"{name}." if name else ""
    tied = [f"{prefix}shared.weight", f"{prefix}encoder.embed_tokens.weight"]
    embedding = next((copy for copy in tied if copy in store), tied[0])
    sources: dict[str, tuple[Source, ...]] = {
        parameter: (f"{prefix}{parameter}",) for parameter in t5.state_dict()
    }
    sources["shared.weight"] = (embedding,)
    store.fill(t5, sources, torch.float32, device)
    return t5


def _encoder(section: dict[str, Any]) -> T5Encoder:
    """Build the encoder. Transformers' configuration has the defaults, and knows what they imply."""
    from transformers import T5Config as TransformersConfig

    known = {name: section[name] for name in _OPTIONS if name in section}
    config = TransformersConfig(**known)
    return T5Encoder(T5Config(**{name: getattr(config, name) for name in T5Config.__annotations__}))


def _check_sizes(folder: Path, name: str, section: dict[str, Any]) -> int:
    """Raise CheckpointError for a size that T5 cannot have. Returns the number of tokens."""
    from transformers import T5Config as TransformersConfig

    t5 = huggingface.fields_of(folder, name, section, TransformersConfig())
    for size in ("d_model", "d_kv", "d_ff", "num_heads"):
        t5.integer(size)
    t5.integer("num_layers", at_most=MOST_LAYERS)
    buckets = t5.integer("relative_attention_num_buckets", at_least=4)
    t5.integer("relative_attention_max_distance", at_least=buckets // 2)
    for option in ("feed_forward_proj", "dense_act_fn"):
        if option in section:
            t5.text(option)
    t5.number("layer_norm_epsilon", at_least=0, at_most=1)
    t5.number("dropout_rate", at_least=0, at_most=1)  # unused, but checked by torch at every call
    return t5.integer("vocab_size")
