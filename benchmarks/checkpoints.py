"""Checkpoint in the small model's true shape with random weights, for benchmarks."""

import shutil
from pathlib import Path
from typing import Any

import torch

NANO = Path("serve_app/assets/musicgen-nano")


def codec_config() -> Any:
    """Configuration of the codec of all published mono models: EnCodec at 32 kHz."""
    from transformers import EncodecConfig

    return EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32_000, audio_channels=1, codebook_size=2048,
        codebook_dim=128, hidden_size=128, num_filters=64, num_lstm_layers=2,
        upsampling_ratios=[8, 5, 4, 4], norm_type="weight_norm", use_causal_conv=False,
        use_conv_shortcut=False, chunk_length_s=None, normalize=False, pad_mode="reflect",
    )  # fmt: skip


def write_small(folder: Path) -> Path:
    """Write a Hugging Face checkpoint in fp16, 1.2 GB: T5-base, EnCodec, 24 layers 1024 wide."""
    from transformers import MusicgenConfig, MusicgenForConditionalGeneration, T5Config
    from transformers.models.musicgen import MusicgenDecoderConfig

    text = T5Config(vocab_size=32128, d_model=768, d_ff=3072, num_layers=12, num_heads=12)
    torch.manual_seed(0)
    config = MusicgenConfig(
        text_encoder=text.to_dict() | {"model_type": "t5"},
        audio_encoder=codec_config().to_dict() | {"model_type": "encodec"},
        decoder=MusicgenDecoderConfig().to_dict(),
    )
    MusicgenForConditionalGeneration(config).half().save_pretrained(folder)
    for file in NANO.glob("*token*"):
        shutil.copy(file, folder)
    return folder
