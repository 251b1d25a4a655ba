"""Conversion of trained models to the Hugging Face format."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

_RENAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv|convtr)\.\1\.", ".conv."),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)


def huggingface_encodec(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    """Convert configuration and weights of AudioCraft's EnCodec to transformers' EncodecModel."""
    from transformers import EncodecModel

    model = EncodecModel(_encodec_config(config))
    model.load_state_dict({_rename(name): tensor for name, tensor in state.items()}, strict=True)
    return model.eval()


def _encodec_config(config: Mapping[str, Any]) -> Any:
    """Configuration of AudioCraft's EnCodec -> transformers' EncodecConfig."""
    from transformers import EncodecConfig

    net = config["seanet"]
    return EncodecConfig(
        target_bandwidths=[_bandwidth(config)], sampling_rate=config["sample_rate"],
        audio_channels=config["channels"], hidden_size=net["dimension"],
        num_filters=net["n_filters"], num_residual_layers=net["n_residual_layers"],
        upsampling_ratios=list(net["ratios"]), kernel_size=net["kernel_size"],
        last_kernel_size=net["last_kernel_size"], residual_kernel_size=net["residual_kernel_size"],
        dilation_growth_rate=net["dilation_base"], use_causal_conv=net["causal"],
        pad_mode=net["pad_mode"], compress=net["compress"], num_lstm_layers=net["lstm"],
        codebook_size=config["rvq"]["bins"], use_conv_shortcut=not net["true_skip"],
    )  # fmt: skip


def _bandwidth(config: Mapping[str, Any]) -> float:
    """Bandwidth of all codebooks in kbit/s. transformers rounds the number of codebooks down."""
    hop_length = math.prod(config["seanet"]["ratios"])
    frame_rate = -(-config["sample_rate"] // hop_length)
    bits = (config["rvq"]["bins"] - 1).bit_length()
    return float((config["rvq"]["n_q"] + 0.01) * bits * frame_rate / 1000)


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a MusicgenForConditionalGeneration in fp16, with processor and generation config."""
    from transformers import EncodecFeatureExtractor, MusicgenProcessor

    codec = model.config.audio_encoder
    _set_generation_defaults(model)
    for config in (model.config, codec, model.config.text_encoder):
        config.name_or_path = ""  # otherwise the local folder of the training is published
    model.half().save_pretrained(folder)
    features = EncodecFeatureExtractor(
        feature_size=codec.audio_channels, sampling_rate=codec.sampling_rate
    )
    MusicgenProcessor(features, tokenizer).save_pretrained(folder)


def _set_generation_defaults(model: Any) -> None:
    generation = model.generation_config
    special = model.config.decoder.pad_token_id
    generation.decoder_start_token_id = special
    generation.bos_token_id = special
    generation.pad_token_id = special
    generation.guidance_scale = 3.0
    generation.do_sample = True
    generation.max_length = 1504
