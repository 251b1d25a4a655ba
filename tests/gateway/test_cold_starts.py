"""Estimates of cold starts."""

import pytest

from serve_app.gateway import cold_starts
from serve_app.gateway.cold_starts import ColdStarts


def test_a_start_is_estimated_by_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(cold_starts, "monotonic", lambda: now)
    starts = ColdStarts()
    assert starts.remaining_s("large") == 20.0, "no start has been seen"
    now = 5.0
    assert starts.remaining_s("large") == 15.0
    assert starts.remaining_s("small") == 20.0, "models have starts of their own"
    now = 40.0
    assert starts.remaining_s("large") == 1.0, "never less than a second"
    now = 45.0
    starts.record_ready("large")
    starts.record_ready("large")
    now = 1000.0
    assert starts.remaining_s("large") == 45.0, "the last start took so long"
