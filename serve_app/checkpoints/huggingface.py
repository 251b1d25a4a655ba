"""The Hugging Face MusicGen format: its configuration and tensor names, translated."""

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

# Positions (computed here), copies of T5's tied embedding, statistics of the codebooks' training
IGNORED = (
    r"decoder\.model\.decoder\.embed_positions\.weights?|"
    r"text_encoder\.(encoder\.embed_tokens|shared)\.weight|"
    r"(audio_encoder\.)?quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)"
)


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json. Raises CheckpointError if it is unreadable or has no `model_type`."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}: missing or not JSON. Name the folder of a Hugging Face model or of an "
            "AudioCraft export."
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise CheckpointError(
            f"{file}: has no 'model_type'. Use the file that transformers saved with the model."
        )
    return config


def check_model_type(folder: Path, expected: str, role: str) -> None:
    """Raise CheckpointError unless config.json has this `model_type`.

    role: the model's name in the message.
    """
    kind = read_config(folder)["model_type"]
    if kind != expected:
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type '{kind}' is not supported, only "
            f"'{expected}' ({role}). Name another checkpoint."
        )


def musicgen_config(folder: Path) -> tuple[MusicGenConfig, Any, Any]:
    """Read config.json: the language model, and transformers' own of T5 and of EnCodec.

    Raises CheckpointError naming the first option that is not supported.
    """
    from transformers import MusicgenConfig

    check_model_type(folder, "musicgen", "a MusicGen")
    config: Any = MusicgenConfig.from_pretrained(folder)
    _check_supported(folder, config)
    decoder = config.decoder
    step = 2 if decoder.audio_channels == 2 else 1
    musicgen = MusicGenConfig(
        transformer=_transformer_config(decoder),
        num_codebooks=decoder.num_codebooks,
        codebook_size=decoder.vocab_size,
        delays=tuple(k // step for k in range(decoder.num_codebooks)),
        audio_channels=decoder.audio_channels,
        text_hidden_size=config.text_encoder.d_model,
        project_text=config.text_encoder.d_model != decoder.hidden_size,
    )
    return musicgen, config.text_encoder, config.audio_encoder


def _check_supported(folder: Path, config: Any) -> None:
    decoder = config.decoder
    _require(folder, "text_encoder.model_type", config.text_encoder.model_type, "t5")
    _require(folder, "audio_encoder.model_type", config.audio_encoder.model_type, "encodec")
    _require(folder, "decoder.activation_function", decoder.activation_function, "gelu")
    _require(folder, "decoder.scale_embedding", decoder.scale_embedding, False)
    _require(
        folder, "decoder.cross_attention_hidden_size", decoder.cross_attention_hidden_size, None
    )


def _transformer_config(decoder: Any) -> TransformerConfig:
    return TransformerConfig(
        hidden_size=decoder.hidden_size,
        num_layers=decoder.num_hidden_layers,
        num_heads=decoder.num_attention_heads,
        ffn_dim=decoder.ffn_dim,
    )


def encodec_config(folder: Path, config: Any, store: TensorStore, prefix: str) -> EncodecConfig:
    """Translate transformers' configuration of the codec.

    store, prefix: the codec's tensors, for the number of codebooks.

    Raises CheckpointError naming the first option that is not supported.
    """
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
    """Map each parameter of `MusicGen` to the tensors of the file that make it up."""
    codebooks = range(config.num_codebooks)
    base = "decoder.model.decoder"
    sources: dict[str, tuple[Source, ...]] = {
        "embedding.weight": tuple(f"{base}.embed_tokens.{k}.weight" for k in codebooks),
        "heads.weight": tuple(f"decoder.lm_heads.{k}.weight" for k in codebooks),
        "text_proj.weight": ("enc_to_dec_proj.weight",),
        "text_proj.bias": ("enc_to_dec_proj.bias",),
        "out_norm.weight": (f"{base}.layer_norm.weight",),
        "out_norm.bias": (f"{base}.layer_norm.bias",),
    }
    for i in range(config.transformer.num_layers):
        layer = _layer_sources(f"{base}.layers.{i}")
        sources |= {f"layers.{i}.{name}": parts for name, parts in layer.items()}
    return sources


def _layer_sources(layer: str) -> dict[str, tuple[Source, ...]]:
    """Map the parameters of a `DecoderLayer` to the tensors of `layer`."""
    attention = f"{layer}.self_attn"
    cross = f"{layer}.encoder_attn"
    sources: dict[str, tuple[Source, ...]] = {
        "self_attn.qkv_proj.weight": tuple(f"{attention}.{p}_proj.weight" for p in "qkv"),
        "self_attn.out_proj.weight": (f"{attention}.out_proj.weight",),
        "cross_attn.q_proj.weight": (f"{cross}.q_proj.weight",),
        "cross_attn.kv_proj.weight": tuple(f"{cross}.{p}_proj.weight" for p in "kv"),
        "cross_attn.out_proj.weight": (f"{cross}.out_proj.weight",),
        "fc1.weight": (f"{layer}.fc1.weight",),
        "fc2.weight": (f"{layer}.fc2.weight",),
    }
    for leaf in ("weight", "bias"):
        sources[f"self_attn_norm.{leaf}"] = (f"{layer}.self_attn_layer_norm.{leaf}",)
        sources[f"cross_attn_norm.{leaf}"] = (f"{layer}.encoder_attn_layer_norm.{leaf}",)
        sources[f"ffn_norm.{leaf}"] = (f"{layer}.final_layer_norm.{leaf}",)
    return sources


def encodec_sources(codec: Encodec, prefix: str) -> dict[str, tuple[Source, ...]]:
    """Map each parameter of `Encodec` to the tensors of the file that make it up."""
    quantizers = range(codec.config.num_quantizers)
    sources: dict[str, tuple[Source, ...]] = {
        "codebooks": tuple(f"{prefix}quantizer.layers.{k}.codebook.embed" for k in quantizers)
    }
    for name in codec.state_dict().keys() - {"codebooks"}:
        owner, _, leaf = name.rpartition(".")
        side, _, path = owner.partition(".")
        is_convolution = isinstance(codec.get_submodule(owner), (Conv1d, ConvTranspose1d))
        wrapped = ".conv" if is_convolution else ""
        sources[name] = (f"{prefix}{side}.layers.{path}{wrapped}.{leaf}",)
    return sources


def _require(folder: Path, name: str, value: object, supported: object) -> None:
    if value != supported:
        raise CheckpointError(
            f"{folder / 'config.json'}: {name} is {value!r}, which is not supported "
            f"(only {supported!r}). Use a text-to-music MusicGen of the published kind."
        )
