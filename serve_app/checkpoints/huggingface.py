"""The Hugging Face MusicGen format: its configuration and tensor names, translated."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from serve_app.checkpoints.fields import (
    LEAST_SAMPLE_RATE,
    MOST_BLOCKS,
    MOST_LAYERS,
    MOST_TAPS,
    PAD_MODES,
    Fields,
)
from serve_app.checkpoints.huggingface_melody import melody_config
from serve_app.checkpoints.tensor_store import Source
from serve_app.errors import CheckpointError
from serve_app.models.chroma import MelodyConfig
from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.conditioning import conditioning_of
from serve_app.models.musicgen.model import MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig

# Positions (computed here), copies of T5's tied embedding, statistics of the codebooks' training
IGNORED = (
    r"decoder\.model\.decoder\.embed_positions\.weights?|"
    r"text_encoder\.(encoder\.embed_tokens|shared)\.weight|"
    r"(audio_encoder\.)?quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)"
)
_WITH_MELODY = "musicgen_melody"


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json. Raises CheckpointError if it is unreadable or has no `model_type`."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: missing or not JSON. Name the folder of a Hugging Face model or of an "
            "AudioCraft export."
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise CheckpointError(
            f"{file}: has no 'model_type'. Use the file that transformers saved with the model."
        )
    return config


def read_config_of(folder: Path, *expected: str, role: str) -> dict[str, Any]:
    """Read config.json. Raises CheckpointError unless it has one of these values of `model_type`.

    role: the model's name in the message.
    """
    config = read_config(folder)
    kind = config["model_type"]
    if kind not in expected:
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type {kind!r} is not supported, only "
            f"{' and '.join(map(repr, expected))} ({role}). Name another checkpoint."
        )
    return config


def musicgen_config(folder: Path) -> tuple[MusicGenConfig, dict[str, Any], dict[str, Any]]:
    """Read config.json: the language model, and the sections of T5 and of EnCodec.

    Raises CheckpointError naming the first option that is not supported.
    """
    from transformers import MusicgenDecoderConfig

    config = read_config_of(folder, "musicgen", _WITH_MELODY, role="a MusicGen")
    text_encoder = _section(folder, config, "text_encoder", "t5")
    codec = _section(folder, config, "audio_encoder", "encodec")
    decoder = fields_of(
        folder, "decoder", _section(folder, config, "decoder"), MusicgenDecoderConfig()
    )
    melody = None
    if config["model_type"] == _WITH_MELODY:
        melody = melody_config(
            folder, fields_of(folder, "", config), decoder.integer("hidden_size")
        )
    text_hidden_size = fields_of(folder, "text_encoder", text_encoder).integer("d_model")
    musicgen = _language_model(decoder, text_hidden_size, melody)
    length_prompt = fields_of(folder, "", config).optional_text("length_prompt")
    return replace(musicgen, length_prompt=length_prompt), text_encoder, codec


def _section(
    folder: Path, config: dict[str, Any], name: str, kind: str | None = None
) -> dict[str, Any]:
    """A section of config.json, which must have this `model_type`."""
    section = config.get(name)
    if not isinstance(section, dict):
        raise CheckpointError(
            f"{folder / 'config.json'}: has no section '{name}'. Use the file that transformers "
            "saved with the model."
        )
    if kind is not None:
        fields_of(folder, name, section).require("model_type", kind)
    return section


def fields_of(folder: Path, name: str, section: dict[str, Any], defaults: object = None) -> Fields:
    """Values of a section of config.json; defaults: attributes for what is absent."""

    def find(key: str) -> Any:
        return section[key] if key in section else getattr(defaults, key, None)

    return Fields(folder / "config.json", name, find)


def _language_model(
    decoder: Fields, text_hidden_size: int, melody: MelodyConfig | None
) -> MusicGenConfig:
    decoder.require("activation_function", "gelu")
    decoder.require("scale_embedding", False)
    decoder.require("cross_attention_hidden_size", None)
    transformer = _transformer_config(decoder)
    num_codebooks = decoder.integer("num_codebooks", at_most=MOST_LAYERS)
    audio_channels = decoder.integer("audio_channels", at_most=2)
    return MusicGenConfig(
        transformer=transformer,
        num_codebooks=num_codebooks,
        codebook_size=decoder.integer("vocab_size"),
        delays=tuple(k // audio_channels for k in range(num_codebooks)),
        audio_channels=audio_channels,
        text_hidden_size=text_hidden_size,
        project_text=text_hidden_size != transformer.hidden_size,
        conditioning=conditioning_of(melody),
        melody=melody,
    )


def _transformer_config(decoder: Fields) -> TransformerConfig:
    config = TransformerConfig(
        hidden_size=decoder.integer("hidden_size"),
        num_layers=decoder.integer("num_hidden_layers", at_most=MOST_LAYERS),
        num_heads=decoder.integer("num_attention_heads"),
        ffn_dim=decoder.integer("ffn_dim"),
    )
    decoder.require_divisor(
        "num_attention_heads", config.num_heads, "hidden_size", config.hidden_size
    )
    return config


def encodec_config(
    folder: Path, name: str, section: dict[str, Any], num_quantizers: int
) -> EncodecConfig:
    """Translate transformers' configuration of the codec.

    name: of the section in config.json, empty for the whole file.

    Raises CheckpointError naming the first option that is not supported.
    """
    from transformers import EncodecConfig as TransformersEncodecConfig

    codec = fields_of(folder, name, section, TransformersEncodecConfig())
    has_hidden_dim = section.get("codebook_dim") is None  # as transformers has it
    codec.require("normalize", False)
    codec.require("chunk_length_s", None)
    codec.require("norm_type", "weight_norm")
    return EncodecConfig(
        sample_rate=codec.integer("sampling_rate", at_least=LEAST_SAMPLE_RATE),
        channels=codec.integer("audio_channels", at_most=2),
        num_quantizers=num_quantizers,
        codebook_size=codec.integer("codebook_size"),
        codebook_dim=codec.integer("hidden_size" if has_hidden_dim else "codebook_dim"),
        num_filters=codec.integer("num_filters"),
        num_residual_layers=codec.integer("num_residual_layers", at_least=0, at_most=MOST_BLOCKS),
        upsampling_ratios=codec.integers("upsampling_ratios", at_most=MOST_TAPS),
        kernel_size=codec.integer("kernel_size", at_most=MOST_TAPS),
        last_kernel_size=codec.integer("last_kernel_size", at_most=MOST_TAPS),
        residual_kernel_size=codec.integer("residual_kernel_size", at_most=MOST_TAPS),
        dilation_growth_rate=codec.integer("dilation_growth_rate", at_most=MOST_BLOCKS),
        compress=codec.integer("compress"),
        num_lstm_layers=codec.integer("num_lstm_layers", at_least=0, at_most=MOST_LAYERS),
        conv_shortcut=codec.flag("use_conv_shortcut"),
        causal=codec.flag("use_causal_conv"),
        trim_right_ratio=codec.number("trim_right_ratio", at_least=0, at_most=1),
        pad_mode=codec.one_of("pad_mode", PAD_MODES),
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
        "melody_proj.weight": ("audio_enc_to_dec_proj.weight",),
        "melody_proj.bias": ("audio_enc_to_dec_proj.bias",),
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
