"""Tests of the codec's training: it learns, it resumes, and all three libraries decode alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from transformers import EncodecModel

from serve_app.checkpoints.checkpoint import load_checkpoint
from tests.architectures import MONO, write_audiocraft
from tools.nano import codec, training
from tools.nano.huggingface import huggingface_encodec

SMALL: dict[str, Any] = {
    **codec.CONFIG,
    "seanet": {**codec.CONFIG["seanet"], "n_filters": 4, "dimension": 8},
}
SMALL |= {"rvq": {**codec.CONFIG["rvq"], "bins": 16}}


def write_small(folder: Path) -> Any:
    """Write a small codec with random weights into `folder`/encodec; return AudioCraft's module."""
    with mock.patch.object(codec, "CONFIG", SMALL):
        trained = codec.build().eval()
    for buffer in trained.quantizer.buffers():
        torch.nn.init.normal_(buffer)
    huggingface_encodec(SMALL, trained.state_dict()).save_pretrained(folder / "encodec")
    return trained


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CONFIG", SMALL)
    monkeypatch.setattr(codec, "CROP_S", 0.25)
    monkeypatch.setattr(codec, "TRACK_S", 1.0)
    monkeypatch.setattr(training, "LOG_EVERY", 10)
    monkeypatch.setattr(codec, "UNQUANTIZED", 5)


@pytest.mark.usefixtures("small")
def test_an_interrupted_training_resumes(tmp_path: Path) -> None:
    codec.train(tmp_path, steps=10)
    first = torch.load(tmp_path / "codec.pt", weights_only=True)
    assert [step for step, *_ in first["history"]] == [10]
    codec.train(tmp_path, steps=20)
    last = torch.load(tmp_path / "codec.pt", weights_only=True)
    assert [step for step, *_ in last["history"]] == [10, 20]
    assert (tmp_path / "codec.png").read_bytes().startswith(b"\x89PNG")
    assert EncodecModel.from_pretrained(tmp_path / "encodec").config.codebook_size == 16


@pytest.mark.usefixtures("small")
def test_all_libraries_decode_alike(tmp_path: Path, hub_cache: Path) -> None:
    trained = write_small(tmp_path)
    codes = torch.randint(0, 16, (1, 4, 20))
    with torch.no_grad():
        expected = trained.decode(codes)
        by_transformers = (
            EncodecModel.from_pretrained(tmp_path / "encodec")
            .decode(codes[None], [None])
            .audio_values
        )
    write_audiocraft(replace(MONO, codebook_size=16), tmp_path / "export", hub_cache)
    by_us = load_checkpoint(
        str(tmp_path / "export"), codec_source=str(tmp_path / "encodec")
    ).codec.decode(codes)
    torch.testing.assert_close(by_transformers, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(by_us, expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("small")
def test_the_loss_falls() -> None:
    model = codec.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    x = next(iter(codec.Crops(0)))[None]
    losses = [codec.update(model, optimizer, x, quantized=step >= 10)[0] for step in range(40)]
    assert losses[-1] < 0.9 * losses[0]


def test_distances_order_signals_by_noise() -> None:
    a = torch.randn(3, 1, 8000)
    assert codec.spectral_distance(a, a) == 0
    assert codec.spectral_distance(a, a + 0.1 * torch.randn_like(a)) < codec.spectral_distance(
        a, torch.randn_like(a)
    )
    noisy = a + 0.1 * torch.randn_like(a)
    assert codec.si_sdr(noisy, a) == pytest.approx([20, 20, 20], abs=0.5)
    assert torch.allclose(codec.si_sdr(5 * noisy, a), codec.si_sdr(noisy, a), atol=1e-3)
