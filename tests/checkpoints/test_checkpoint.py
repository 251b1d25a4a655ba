"""Whole checkpoints: dtypes, parts from elsewhere, and consistency."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.errors import CheckpointError
from tests.architectures import MONO, make_encodec, write_audiocraft, write_huggingface

CODEC = "compression_state_dict.bin"


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_weights_have_the_asked_dtype_and_codec_and_text_encoder_stay_exact(
    huggingface: Path,
) -> None:
    checkpoint = load_checkpoint(str(huggingface), dtype=torch.bfloat16)
    assert {p.dtype for p in checkpoint.musicgen.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in checkpoint.codec.parameters()} == {torch.float32}
    assert {p.dtype for p in checkpoint.text_encoder.parameters()} == {torch.float32}


def test_codec_and_text_encoder_may_come_from_elsewhere(
    tmp_path: Path, hub_cache: Path, export: Path
) -> None:
    make_encodec(MONO).save_pretrained(tmp_path / "codec")
    (export / "compression_state_dict.bin").unlink()
    t5 = hub_cache / "models--t5-small" / "snapshots" / ("0" * 40)
    checkpoint = load_checkpoint(
        str(export), codec_source=str(tmp_path / "codec"), text_encoder_source=str(t5)
    )
    assert checkpoint.codec.config.codebook_size == 1024


def test_codec_must_not_have_more_channels_than_the_language_model(
    tmp_path: Path, export: Path
) -> None:
    make_encodec(MONO, channels=2).save_pretrained(tmp_path / "stereo")
    with pytest.raises(CheckpointError, match=r"1 audio channel\(s\), but the codec has 2"):
        load_checkpoint(str(export), codec_source=str(tmp_path / "stereo"))


def test_an_odd_width_is_refused(tmp_path: Path) -> None:
    odd = write_huggingface(replace(MONO, hidden_size=35, num_heads=5), tmp_path / "odd")
    with pytest.raises(CheckpointError, match="the width 35 of the language model is odd"):
        load_checkpoint(str(odd))


def test_codec_must_fit_the_language_model(tmp_path: Path, hub_cache: Path, export: Path) -> None:
    big = write_audiocraft(replace(MONO, codebook_size=256), tmp_path / "big", hub_cache)
    (export / CODEC).rename(big / CODEC)
    with pytest.raises(
        CheckpointError, match="4 codebooks of 256 for each channel, but the codec has 4 of 128"
    ):
        load_checkpoint(str(big))
