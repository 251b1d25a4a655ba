"""Chroma equals that of transformers and of AudioCraft, and the filter bank that of librosa."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from serve_app.models.chroma import PUBLISHED, MelodyConfig, chroma, filter_bank, fit

RATE = PUBLISHED.sample_rate


def sweep(samples: int, *, first_hz: float = 110.0, last_hz: float = 3520.0) -> Tensor:
    """A rising tone with a quieter second one above it."""
    hertz = first_hz * (last_hz / first_hz) ** torch.linspace(0, 1, samples)
    phase = 2 * math.pi * torch.cumsum(hertz, 0) / RATE
    return 0.5 * phase.sin() + 0.2 * (1.5 * phase).sin()


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(3))


MELODIES = {
    "one sample": torch.tensor([0.5]),
    "odd and short": sweep(4_097),
    "a sample short of one frame": sweep(16_383),
    "one frame": sweep(16_384),
    "12 s": sweep(12 * RATE),
    "40 s": sweep(40 * RATE),
    "noise": noise(3 * RATE),
    "silence": torch.zeros(RATE),
    "short silence": torch.zeros(1),
    "stereo mix": torch.stack([sweep(2 * RATE), noise(2 * RATE)]).mean(dim=0),
}


@pytest.fixture(scope="module")
def transformers_extractor() -> Any:
    from transformers import MusicgenMelodyFeatureExtractor

    return MusicgenMelodyFeatureExtractor()


@pytest.fixture(scope="module")
def audiocraft_extractor() -> Any:
    from audiocraft.modules.chroma import ChromaExtractor

    return ChromaExtractor(sample_rate=RATE, n_chroma=12, radix2_exp=14, argmax=True)


@pytest.mark.parametrize("name", MELODIES)
def test_equals_transformers(name: str, transformers_extractor: Any) -> None:
    frames = fit(chroma(MELODIES[name]))
    batch = transformers_extractor(MELODIES[name].numpy(), sampling_rate=RATE, return_tensors="pt")
    expected = batch["input_features"][0]
    assert torch.equal(expected.sum(dim=-1), torch.ones(len(expected)))
    assert torch.equal(frames, fit(expected.argmax(dim=-1)))


@pytest.mark.parametrize("name", MELODIES)
def test_equals_audiocraft(name: str, audiocraft_extractor: Any) -> None:
    expected = audiocraft_extractor(MELODIES[name][None, None])[0]
    assert torch.equal(chroma(MELODIES[name]), expected.argmax(dim=-1))


@pytest.mark.parametrize(("sample_rate", "fft_size"), [(32_000, 2**14), (8_000, 2**10)])
def test_filter_bank_is_that_of_librosa(sample_rate: int, fft_size: int) -> None:
    from librosa.filters import chroma as librosa_chroma

    config = MelodyConfig(sample_rate=sample_rate, fft_size=fft_size)
    expected = librosa_chroma(sr=sample_rate, n_fft=fft_size, tuning=0, n_chroma=12)
    assert torch.equal(filter_bank(config), torch.from_numpy(expected).float())


@pytest.mark.parametrize(("note", "hertz"), [(0, 261.63), (4, 329.63), (9, 440.0), (11, 493.88)])
def test_class_is_that_of_the_note(note: int, hertz: float) -> None:
    tone = torch.sin(2 * math.pi * hertz * torch.arange(2 * RATE) / RATE)
    assert set(chroma(tone).tolist()) == {note}


def test_frames_of_30_s_are_those_that_the_published_models_take() -> None:
    assert len(chroma(torch.zeros(30 * RATE))) == PUBLISHED.chroma_length


def test_no_samples_are_silence() -> None:
    assert chroma(torch.zeros(0)).tolist() == chroma(torch.zeros(1)).tolist() == [0] * 5


def test_frames_are_repeated_or_cut() -> None:
    assert fit(torch.tensor([1, 2, 3]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert fit(torch.arange(9), 4).tolist() == [0, 1, 2, 3]
