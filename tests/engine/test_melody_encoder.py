"""Chroma of a track's windows: repeated in one window, of the looped waveform in several."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from serve_app.engine.melody_encoder import MelodyEncoder, resample
from serve_app.engine.window import Window
from serve_app.engine.worker_thread import report_to_nobody
from serve_app.models.chroma import MelodyConfig, chroma
from serve_app.types import Audio

RATE = 8000
CONFIG = MelodyConfig(chroma_length=59, sample_rate=RATE, fft_size=2048)  # of 3.75 s
WINDOW_S = 3.75
FRAME_RATE = 20.0


@pytest.fixture
def encoder() -> Iterator[MelodyEncoder]:
    encoder = MelodyEncoder(CONFIG, WINDOW_S, FRAME_RATE, report_to_nobody)
    yield encoder
    encoder.shutdown()


def tune(seconds: float, rate: int = RATE, channels: int = 1) -> Audio:
    """A new note every half second."""
    time = np.arange(round(seconds * rate)) / rate
    pitches = np.array([0, 4, 7, 11, 2, 9, 5, 10, 1])[(time // 0.5).astype(int) % 9]
    samples = 0.5 * np.sin(2 * np.pi * 220 * 2 ** (pitches / 12) * time)
    return Audio(np.tile(samples, (channels, 1)).astype(np.float32), rate)


def test_one_window_repeats_the_chroma(encoder: MelodyEncoder) -> None:
    melody = tune(1.0)
    [classes] = encoder.encode_here(melody, [Window(0, 60, 0)])
    frames = chroma(torch.from_numpy(melody.samples[0]), CONFIG)
    assert classes.tolist() == (frames.tolist() * 5)[:59]
    assert len(set(classes.tolist())) > 1


def test_one_window_cuts_the_chroma_of_a_longer_melody(encoder: MelodyEncoder) -> None:
    melody = tune(10.0)
    [classes] = encoder.encode_here(melody, [Window(0, 60, 0)])
    assert torch.equal(classes, chroma(torch.from_numpy(melody.samples[0]), CONFIG)[:59])


@pytest.mark.parametrize("seconds", [2.3, 7.0, 60.0])
def test_several_windows_hear_the_looped_waveform(encoder: MelodyEncoder, seconds: float) -> None:
    """Windows at 0, 45 and 90 frames: 0, 2.25 and 4.5 s. A melody that is cut sounds the same."""
    melody = tune(seconds)
    windows = [Window(0, 75, 0), Window(45, 120, 30), Window(90, 165, 30)]
    found = encoder.encode_here(melody, windows)
    samples = torch.from_numpy(melody.samples[0])
    for classes, start in zip(found, (0, 18_000, 36_000), strict=True):
        part = samples[torch.arange(start, start + 30_000) % len(samples)]
        assert torch.equal(classes, chroma(part, CONFIG)[:59])
    assert not torch.equal(found[0], found[1])


async def test_another_rate_and_two_channels_are_the_same_melody(encoder: MelodyEncoder) -> None:
    [expected] = await encoder.encode(tune(3.75), [Window(0, 75, 0)])
    [found] = await encoder.encode(tune(3.75, rate=11_025, channels=2), [Window(0, 75, 0)])
    assert (found != expected).float().mean() < 0.05, "frames where one note follows another"


def test_it_resamples_as_audiocraft() -> None:
    """Within the difference of the two libraries' windows."""
    from julius.resample import resample_frac

    noise = np.random.default_rng(0).uniform(-0.8, 0.8, (2, 4410)).astype(np.float32)
    found = resample(Audio(noise, 44_100), 1.0, 32_000)
    expected = resample_frac(torch.from_numpy(noise), 44_100, 32_000).mean(dim=0)
    assert found.shape == expected.shape == (3200,)
    assert (found - expected).abs().max() < 0.01
