"""Saving of trained models in the Hugging Face format."""

from pathlib import Path
from typing import Any


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
