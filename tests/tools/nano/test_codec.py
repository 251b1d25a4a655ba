"""Tests of the codec's training: it learns, it resumes, and both libraries decode alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import EncodecModel

from serve_app.checkpoints.checkpoint import load_checkpoint
from tests.architectures import MONO, write_audiocraft
from tools.nano import codec, decoder, training
from tools.nano.spectral_loss import SpectralLoss

SMALL: dict[str, Any] = {**codec.CONFIG, "num_filters": 4, "hidden_size": 8, "codebook_size": 16}
CPU = torch.device("cpu")


def write_small(folder: Path) -> Any:
    """Write a small codec with random weights into `folder`/encodec; return it."""
    with mock.patch.object(codec, "CONFIG", SMALL):
        trained = codec.build().eval()
    for layer in trained.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    trained.save_pretrained(folder / "encodec")
    return trained


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CONFIG", SMALL)
    monkeypatch.setattr(codec, "CROP_S", 0.25)
    monkeypatch.setattr(codec, "TRACK_S", 1)
    monkeypatch.setattr(codec, "TRACKS", 4)
    monkeypatch.setattr(codec, "LEVEL_CROPS", 4)
    monkeypatch.setattr(training, "LOG_EVERY", 10)
    monkeypatch.setattr(codec, "UNQUANTIZED", 5)
    monkeypatch.setattr(decoder, "STEPS", 10)


@pytest.mark.usefixtures("small")
def test_an_interrupted_training_resumes(tmp_path: Path) -> None:
    codec.train(tmp_path, steps=10, device="cpu")
    first = torch.load(tmp_path / "codec.pt", weights_only=True)
    assert [step for step, *_ in first["history"]] == [10]
    codec.train(tmp_path, steps=20, device="cpu")
    last = torch.load(tmp_path / "codec.pt", weights_only=True)
    assert [step for step, *_ in last["history"]] == [10, 20]
    assert (tmp_path / "codec.png").read_bytes().startswith(b"\x89PNG")
    assert EncodecModel.from_pretrained(tmp_path / "encodec").config.codebook_size == 16


@pytest.mark.usefixtures("small")
def test_both_libraries_decode_alike(tmp_path: Path, hub_cache: Path) -> None:
    trained = write_small(tmp_path)
    codes = torch.randint(0, 16, (1, 4, 20))
    with torch.no_grad():
        expected = trained.decode(codes[None], [None]).audio_values
    write_audiocraft(replace(MONO, codebook_size=16), tmp_path / "export", hub_cache)
    by_us = load_checkpoint(
        str(tmp_path / "export"), codec_source=str(tmp_path / "encodec")
    ).codec.decode(codes)
    torch.testing.assert_close(by_us, expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("small")
def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    model = codec.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    x = crops().draw(1, 0)
    distance = SpectralLoss()
    losses = []
    for step in range(40):
        if step == 10:
            codec.start_codebooks(model, crops())
        losses.append(codec.update(model, optimizer, distance, x, quantized=step >= 10)[0])
    assert losses[-1] < 0.9 * losses[0]


def crops() -> codec.Crops:
    rng = np.random.default_rng(0)
    return codec.Crops(rng.integers(-9000, 9000, (4, 32_000)).astype(np.int16), CPU)


@pytest.mark.usefixtures("small")
def test_crops_are_aligned_to_frames() -> None:
    ramp = np.arange(32_000, dtype=np.int16)[None]
    starts = codec.Crops(ramp, CPU).draw(20, 1)[:, 0, 0] * 32_767
    assert len(set(starts.round().tolist())) > 5
    assert (starts.round() % 640 == 0).all()


@pytest.mark.usefixtures("small")
def test_the_last_layer_restores_the_level() -> None:
    torch.manual_seed(0)
    model = codec.build().eval()
    codec.start_codebooks(model, crops())
    x = crops().draw(4, codec.LEVEL_SEED)
    codec.match_level(model, crops())
    with torch.no_grad():
        y = model.decode(model.encode(x).audio_codes, [None]).audio_values
    levels = (y.pow(2).mean((1, 2)) / x.pow(2).mean((1, 2))).log()
    assert levels.mean() == pytest.approx(0, abs=0.3)


@pytest.mark.usefixtures("small")
def test_the_scaled_decoder_is_louder() -> None:
    model = codec.build().eval()
    codec.start_codebooks(model, crops())
    with torch.no_grad():
        codes = model.encode(crops().draw(2, 0)).audio_codes
        before = model.decode(codes, [None]).audio_values
        codec.scale(model, 1.5)
        after = model.decode(codes, [None]).audio_values
    torch.testing.assert_close(after, 1.5 * before)


def test_distances_order_signals_by_noise() -> None:
    a = torch.randn(3, 1, 8000)
    distance = SpectralLoss()
    assert distance(a, a) == 0
    assert distance(a + 0.1 * torch.randn_like(a), a) < distance(torch.randn_like(a), a)
    noisy = a + 0.1 * torch.randn_like(a)
    assert codec.si_sdr(noisy, a) == pytest.approx([20, 20, 20], abs=0.5)
    assert torch.allclose(codec.si_sdr(5 * noisy, a), codec.si_sdr(noisy, a), atol=1e-3)


def test_a_lost_high_band_counts_more_than_its_energy() -> None:
    """A hundredth of the energy, above the cutoff: its loss costs as much as a third of the sound."""
    t = torch.arange(16_000) / 32_000
    low = torch.sin(2 * torch.pi * 440 * t)[None, None]
    high = 0.1 * torch.sin(2 * torch.pi * 6000 * t)[None, None]
    distance = SpectralLoss()
    assert distance(low, low + high) > 0.1
    assert distance(low - high, low + high) < 0.5 * distance(low, low + high), "phases are free"
