"""The comparison of encoders: what is lossless has no distance, and a shift counts as none."""

import numpy as np
import pytest

from benchmarks import encoders
from tools.nano.synthesizer import SAMPLE_RATE


def test_each_setting_has_its_figures() -> None:
    rows = encoders.by_setting(encoders.music(3.0), rounds=1)
    assert list(rows) == ["pcm", "flac", "opus, 10", "opus, 5", "opus, 0", "mp3, 5", "mp3, 7"]
    distances = {name: row["distance_db"] or 0.0 for name, row in rows.items()}
    assert max(distances["pcm"], distances["flac"]) < 0.02
    assert min(distances["opus, 5"], distances["mp3, 7"]) > 0.1
    assert all((row["ms_per_s"] or 0) > 0 for row in rows.values())
    assert rows["pcm"]["kbit_per_s"] == 16 * SAMPLE_RATE / 1000


@pytest.mark.parametrize("delay", [0, 1105])
def test_an_encoders_delay_is_no_difference(delay: int) -> None:
    samples = encoders.music(4.0)[0]
    late = np.concatenate([np.zeros(delay, np.float32), samples])
    assert encoders.distance_db(samples, late) < 1e-3
    assert encoders.distance_db(samples, np.float32(0.5) * late) > 1
