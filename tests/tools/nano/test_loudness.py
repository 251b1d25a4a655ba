"""Tests of the loudness meter against FFmpeg's."""

import numpy as np
import pytest

from serve_app.audio.mastering import loudness as by_ffmpeg
from tests.tools.nano.tracks import rendered
from tools.nano.loudness import SILENCE_LUFS, loudness
from tools.nano.synthesizer import SAMPLE_RATE


@pytest.mark.parametrize("lead", ["bells", "bass"])
def test_it_measures_as_ffmpeg(lead: str) -> None:
    samples = rendered(lead=lead)
    gap = np.concatenate([samples, np.zeros(8 * SAMPLE_RATE, np.float32), 0.1 * samples])
    for one in (samples, gap):
        assert loudness(one, SAMPLE_RATE) == pytest.approx(
            by_ffmpeg(one[None], SAMPLE_RATE)[0], abs=0.1
        )


def test_silence() -> None:
    assert loudness(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE) == SILENCE_LUFS
    assert loudness(np.ones(100, np.float32), SAMPLE_RATE) == SILENCE_LUFS
