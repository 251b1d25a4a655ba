"""The Hugging Face MusicGen format: its configuration and its tensors' names, in this package's terms."""

import json
from pathlib import Path
from typing import Any

from serve_app.checkpoints.tensor_store import Source, TensorStore
from serve_app.errors import CheckpointError
from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.model import MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig

# Positions that are computed here, a tied copy, and training's statistics of the codebooks.
IGNORED = (
    r"decoder\.model\.decoder\.embed_positions\.weights?|text_encoder\.(encoder\.embed_tokens|shared)\.weight|"
    r"(audio_encoder\.)?quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)"
)


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; its `model_type` tells what it describes."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: missing or not JSON") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise CheckpointError(f"{file}: has no 'model_type'")
    return config


def musicgen_config(folder: Path) -> tuple[MusicGenConfig, Any, Any]:
    """The language model's configuration, and transformers' own for T5 and EnCodec with all defaults filled in.

    Raises CheckpointError for a model that is not a MusicGen, or is one of a kind that is not supported.
    """
    from transformers import MusicgenConfig

    kind = read_config(folder)["model_type"]
    if kind != "musicgen":
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type '{kind}' is not supported, only 'musicgen'"
        )
    config: Any = MusicgenConfig.from_pretrained(folder)
    decoder, t5, codec = config.decoder, config.text_encoder, config.audio_encoder
    _require(folder, "text_encoder.model_type", t5.model_type, "t5")
    _require(folder, "audio_encoder.model_type", codec.model_type, "encodec")
    _require(folder, "decoder.activation_function", decoder.activation_function, "gelu")
    _require(folder, "decoder.scale_embedding", decoder.scale_embedding, False)
    _require(
        folder, "decoder.cross_attention_hidden_size", decoder.cross_attention_hidden_size, None
    )
    step = 2 if decoder.audio_channels == 2 else 1
    transformer = TransformerConfig(
        hidden_size=decoder.hidden_size,
        num_layers=decoder.num_hidden_layers,
        num_heads=decoder.num_attention_heads,
        ffn_dim=decoder.ffn_dim,
    )
    musicgen = MusicGenConfig(
        transformer=transformer,
        num_codebooks=decoder.num_codebooks,
        codebook_size=decoder.vocab_size,
        delays=tuple(k // step for k in range(decoder.num_codebooks)),
        audio_channels=decoder.audio_channels,
        text_hidden_size=t5.d_model,
        project_text=t5.d_model != decoder.hidden_size,
    )
    return musicgen, t5, codec


def encodec_config(folder: Path, config: Any, store: TensorStore, prefix: str) -> EncodecConfig:
    """This package's configuration of the codec from transformers' own."""
    _require(folder, "audio_encoder.normalize", config.normalize, False)
    _require(folder, "audio_encoder.chunk_length_s", config.chunk_length_s, None)
    _require(folder, "audio_encoder.norm_type", config.norm_type, "weight_norm")
    return EncodecConfig(
        sample_rate=config.sampling_rate,
        channels=config.audio_channels,
        num_quantizers=store.count(rf"{prefix}quantizer\.layers\.\d+\.codebook\.embed"),
        codebook_size=config.codebook_size,
        codebook_dim=config.codebook_dim,
        num_filters=config.num_filters,
        num_residual_layers=config.num_residual_layers,
        upsampling_ratios=tuple(config.upsampling_ratios),
        kernel_size=config.kernel_size,
        last_kernel_size=config.last_kernel_size,
        residual_kernel_size=config.residual_kernel_size,
        dilation_growth_rate=config.dilation_growth_rate,
        compress=config.compress,
        num_lstm_layers=config.num_lstm_layers,
        conv_shortcut=config.use_conv_shortcut,
        causal=config.use_causal_conv,
        trim_right_ratio=config.trim_right_ratio,
        pad_mode=config.pad_mode,
    )


def musicgen_sources(config: MusicGenConfig) -> dict[str, tuple[Source, ...]]:
    """For each parameter of `MusicGen`, the tensors of the file that it is made of."""
    codebooks = range(config.num_codebooks)
    base = "decoder.model.decoder"
    sources: dict[str, tuple[Source, ...]] = {
        "embedding.weight": tuple(f"{base}.embed_tokens.{k}.weight" for k in codebooks),
        "heads.weight": tuple(f"decoder.lm_heads.{k}.weight" for k in codebooks),
        "text_proj.weight": ("enc_to_dec_proj.weight",),
        "text_proj.bias": ("enc_to_dec_proj.bias",),
    }
    norms = {"out_norm": f"{base}.layer_norm"}
    for i in range(config.transformer.num_layers):
        here, there = f"layers.{i}", f"{base}.layers.{i}"
        sources[f"{here}.self_attn.qkv_proj.weight"] = tuple(
            f"{there}.self_attn.{p}_proj.weight" for p in "qkv"
        )
        sources[f"{here}.self_attn.out_proj.weight"] = (f"{there}.self_attn.out_proj.weight",)
        sources[f"{here}.cross_attn.q_proj.weight"] = (f"{there}.encoder_attn.q_proj.weight",)
        sources[f"{here}.cross_attn.kv_proj.weight"] = tuple(
            f"{there}.encoder_attn.{p}_proj.weight" for p in "kv"
        )
        sources[f"{here}.cross_attn.out_proj.weight"] = (f"{there}.encoder_attn.out_proj.weight",)
        sources[f"{here}.fc1.weight"] = (f"{there}.fc1.weight",)
        sources[f"{here}.fc2.weight"] = (f"{there}.fc2.weight",)
        norms[f"{here}.self_attn_norm"] = f"{there}.self_attn_layer_norm"
        norms[f"{here}.cross_attn_norm"] = f"{there}.encoder_attn_layer_norm"
        norms[f"{here}.ffn_norm"] = f"{there}.final_layer_norm"
    for ours, theirs in norms.items():
        sources |= {f"{ours}.{leaf}": (f"{theirs}.{leaf}",) for leaf in ("weight", "bias")}
    return sources


def encodec_sources(codec: Encodec, prefix: str) -> dict[str, tuple[Source, ...]]:
    """For each parameter of `Encodec`, the tensors of the file that it is made of."""
    quantizers = range(codec.config.num_quantizers)
    sources: dict[str, tuple[Source, ...]] = {
        "codebooks": tuple(f"{prefix}quantizer.layers.{k}.codebook.embed" for k in quantizers)
    }
    for name in codec.state_dict().keys() - {"codebooks"}:
        owner, _, leaf = name.rpartition(".")
        side, _, path = owner.partition(".")
        wrapped = (
            ".conv" if isinstance(codec.get_submodule(owner), (Conv1d, ConvTranspose1d)) else ""
        )
        sources[name] = (f"{prefix}{side}.layers.{path}{wrapped}.{leaf}",)
    return sources


def _require(folder: Path, name: str, value: object, supported: object) -> None:
    if value != supported:
        raise CheckpointError(
            f"{folder / 'config.json'}: {name} is {value!r}, which is not supported (only {supported!r})"
        )
