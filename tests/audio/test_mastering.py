"""Loudness and fades do what their names say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.audio.mastering import Mastering, Normalization, loudness
from serve_app.errors import InvalidRequest

RATE = 32_000


def tone(amplitude: float, seconds: float = 3.0, hz: float = 997.0) -> NDArray[np.float32]:
    t = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * t))[None].astype(np.float32)


def test_loudness_is_that_of_the_standard() -> None:
    """EBU Tech 3341: a stereo sine of 1 kHz at -23 dBFS has -23 LUFS; in one channel alone it has 3
    less."""
    stereo = np.repeat(tone(10 ** (-23 / 20)), 2, axis=0)
    assert loudness(stereo, RATE) == pytest.approx((-23.0, -23.0), abs=0.1)
    assert loudness(stereo[:1], RATE)[0] == pytest.approx(-26.0, abs=0.1)
    assert loudness(np.zeros((1, RATE), np.float32), RATE)[0] == -70.0


def test_a_true_peak_lies_between_samples() -> None:
    """A sine at a quarter of the rate, sampled at 45 degrees, peaks 3 dB above its samples."""
    t = np.arange(RATE)
    swell = np.minimum(1.0, t / 1000)  # a sudden beginning would overshoot
    samples = (0.5 * swell * np.sin(np.pi / 2 * t + np.pi / 4))[None].astype(np.float32)
    assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(-9.03, abs=0.01)
    assert loudness(samples, RATE)[1] == pytest.approx(-6.02, abs=0.3)


@pytest.mark.parametrize("amplitude", [0.05, 0.8, 3.0])
def test_normalizations(amplitude: float) -> None:
    def mastered(normalization: Normalization, **more: float) -> NDArray[np.float32]:
        return Mastering(normalization, **more).whole(tone(amplitude), RATE)

    assert np.array_equal(mastered(Normalization.NONE), tone(amplitude))
    assert np.abs(mastered(Normalization.CLIP)).max() == pytest.approx(
        min(amplitude, 1.0), rel=1e-3
    )
    assert np.abs(mastered(Normalization.PEAK)).max() == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    assert np.sqrt(np.mean(mastered(Normalization.RMS) ** 2)) == pytest.approx(
        10 ** (-18 / 20), rel=1e-2
    )
    assert loudness(mastered(Normalization.LOUDNESS, lufs=-20.0), RATE)[0] == pytest.approx(
        -20.0, abs=0.1
    )


def test_loudness_stops_at_the_true_peak() -> None:
    clicks = np.zeros((1, 3 * RATE), np.float32)
    clicks[0, ::8000] = 0.5
    made = Mastering(Normalization.LOUDNESS, lufs=-5.0).whole(clicks, RATE)
    assert 20 * np.log10(np.abs(made).max()) <= -1.0 + 1e-3


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("seconds", [0.02, 0.5])
def test_silence_and_short_tracks_stay_finite(normalization: Normalization, seconds: float) -> None:
    mastering = Mastering(normalization)
    assert not mastering.whole(np.zeros((2, int(seconds * RATE)), np.float32), RATE).any()
    short = mastering.whole(tone(0.1, seconds), RATE)
    assert np.isfinite(short).all()
    assert np.abs(short).max() <= 1.0


def test_fades_are_the_same_in_parts() -> None:
    mastering = Mastering(fade_in_s=0.5, fade_out_s=1.0)
    samples = tone(0.5)
    whole = mastering.whole(samples, RATE)
    total = samples.shape[1]
    parts = [
        mastering.part(samples[:, s : s + 7001], RATE, s, total) for s in range(0, total, 7001)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert np.abs(whole[:, :100]).max() < 0.01
    assert np.abs(whole[:, -100:]).max() < 0.01
    np.testing.assert_array_equal(whole[:, RATE : 2 * RATE - 1], samples[:, RATE : 2 * RATE - 1])


def test_a_fade_of_less_than_a_sample_silences_but_the_first() -> None:
    samples = tone(0.5)
    faded = Mastering(fade_in_s=5e-324).whole(samples, RATE)
    assert not faded[:, 0].any()
    np.testing.assert_array_equal(faded[:, 1:], samples[:, 1:])


@pytest.mark.parametrize(
    "normalization", [Normalization.PEAK, Normalization.RMS, Normalization.LOUDNESS]
)
def test_normalization_that_measures_the_track_is_not_streamed(
    normalization: Normalization,
) -> None:
    Mastering(Normalization.CLIP, fade_out_s=1.0).check_streamable()
    with pytest.raises(InvalidRequest, match=f"'{normalization}' measures the whole track"):
        Mastering(normalization).check_streamable()
