"""What is trained here -> the Hugging Face format."""

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
    """transformers' EncodecModel with the weights of AudioCraft's, whose configuration is `config`."""
    from transformers import EncodecConfig, EncodecModel

    net, rvq = config["seanet"], config["rvq"]
    hop_length = 1
    for ratio in net["ratios"]:
        hop_length *= ratio
    bits = (rvq["bins"] - 1).bit_length()
    frame_rate = -(-config["sample_rate"] // hop_length)
    model = EncodecModel(
        EncodecConfig(
            target_bandwidths=[
                (rvq["n_q"] + 0.01) * bits * frame_rate / 1000
            ],  # transformers rounds down
            sampling_rate=config["sample_rate"],
            audio_channels=config["channels"],
            hidden_size=net["dimension"],
            num_filters=net["n_filters"],
            num_residual_layers=net["n_residual_layers"],
            upsampling_ratios=list(net["ratios"]),
            kernel_size=net["kernel_size"],
            last_kernel_size=net["last_kernel_size"],
            residual_kernel_size=net["residual_kernel_size"],
            dilation_growth_rate=net["dilation_base"],
            use_causal_conv=net["causal"],
            pad_mode=net["pad_mode"],
            compress=net["compress"],
            num_lstm_layers=net["lstm"],
            codebook_size=rvq["bins"],
            use_conv_shortcut=not net["true_skip"],
        )
    )
    model.load_state_dict({_rename(name): tensor for name, tensor in state.items()}, strict=True)
    return model.eval()


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a MusicgenForConditionalGeneration in half precision, with all that `transformers` needs to use it."""
    from transformers import EncodecFeatureExtractor, MusicgenProcessor

    generation, codec = model.generation_config, model.config.audio_encoder
    generation.decoder_start_token_id = generation.bos_token_id = generation.pad_token_id = (
        model.config.decoder.pad_token_id
    )
    generation.guidance_scale, generation.do_sample, generation.max_length = 3.0, True, 1504
    for config in (model.config, codec, model.config.text_encoder):
        config.name_or_path = ""  # not the folder that it was read from
    model.half().save_pretrained(folder)
    features = EncodecFeatureExtractor(
        feature_size=codec.audio_channels, sampling_rate=codec.sampling_rate
    )
    MusicgenProcessor(features, tokenizer).save_pretrained(folder)
