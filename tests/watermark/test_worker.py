"""The worker answers one line for each job, and loads the detector once."""

import io
import json
import resource
from pathlib import Path

import pytest

from serve_app.watermark import worker
from serve_app.watermark.detection import Samples
from tests.audioseal import MESSAGE


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the bounds of the CPU time instead of setting them in this process."""
    bounds: list[int] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: bounds.append(pair[0]))
    return bounds


def test_jobs_are_answered_in_order(
    detector_file: Path, samples: Samples, unlimited: list[int]
) -> None:
    job = {"path": str(samples.path), "channels": 2, "threshold": 0.5, "max_cpu_s": 5.0}
    answers = io.BytesIO()
    worker.serve(io.BytesIO(2 * (json.dumps(job).encode() + b"\n")), answers, detector_file)
    lines = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [(line["message"], line["size"]) for line in lines] == [(MESSAGE, 0), (MESSAGE, 0)]
    assert unlimited[0] - unlimited[1] >= 30, "loading has time of its own"
