"""The codec: from a repository of its own, or from the repository that an export names."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.codec import load_codec
from serve_app.errors import CheckpointError
from tests.architectures import MONO, make_encodec, put_in_cache

CPU = torch.device("cpu")


def test_a_repository_of_a_codec_alone_is_loaded(tmp_path: Path) -> None:
    expected = make_encodec(MONO)
    expected.save_pretrained(tmp_path)
    codec = load_codec(tmp_path, CPU)
    codes = torch.randint(0, 1024, (1, 4, 9))
    with torch.inference_mode():
        audio = expected.decode(codes[None], [None]).audio_values
        torch.testing.assert_close(codec.decode(codes), audio, rtol=0, atol=1e-5)
    assert codec.config.num_quantizers == 4


def test_a_repository_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dac"}))
    with pytest.raises(CheckpointError, match=r"'dac' is not supported, only 'encodec' \(a codec"):
        load_codec(tmp_path, CPU)


def test_a_codec_without_codebooks_is_refused(tmp_path: Path) -> None:
    make_encodec(MONO).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "codebook" not in n}, file)
    with pytest.raises(CheckpointError, match=r"has no codebooks \('quantizer.layers.0.codebook"):
        load_codec(tmp_path, CPU)


def test_an_export_may_point_to_another_repository(hub_cache: Path, export: Path) -> None:
    codec = make_encodec(MONO)
    put_in_cache(hub_cache, "someone/tiny-encodec", codec.save_pretrained)
    pointer = {
        "pretrained": "//pretrained/someone/tiny-encodec",
        "exported": True,
        "version": "1.3.0",
    }
    torch.save(pointer, export / "compression_state_dict.bin")
    codes = torch.randint(0, 64, (1, 4, 9))
    expected = codec.decode(codes[None], [None]).audio_values
    torch.testing.assert_close(
        load_checkpoint(str(export)).codec.decode(codes), expected, rtol=0, atol=1e-5
    )
