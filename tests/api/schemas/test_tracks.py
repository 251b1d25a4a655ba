"""Finished tracks in JSON."""

import json

from serve_app.api.schemas.tracks import Variation, Variations
from serve_app.track_fields import TrackReport
from tests.fakes import LARGE, SMALL, TIMINGS

KEYS = [
    "seed", "audio", "size_bytes", "model_sample_rate", "duration_s", "queue_s",
    "time_to_first_audio_s", "generation_s", "compute_s", "text_encoder_s", "first_step_s",
    "codec_s", "real_time_factor", "cost_usd", "model", "license",
    "digital_source_type", "resume",
]  # fmt: skip


def test_keys_have_the_order_of_the_contract() -> None:
    reports = [TrackReport.of(card, 7, 32_000, 1.5, TIMINGS) for card in (SMALL, LARGE)]
    variations = [
        Variation(**report.model_dump(), audio="UklGRg==", size_bytes=4) for report in reports
    ]
    answer = Variations(prompt="läuft", format="wav", sample_rate=48_000, data=variations)
    read = json.loads(answer.to_json())
    assert list(read) == ["prompt", "format", "sample_rate", "data"]
    assert read["prompt"] == "läuft"
    assert [list(track) for track in read["data"]] == [KEYS, KEYS]
    assert read["data"][0]["cost_usd"] == 0.0005
    assert read["data"][1]["cost_usd"] is None
    assert read["data"][1]["size_bytes"] == 4
