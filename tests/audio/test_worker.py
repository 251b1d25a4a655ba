"""The worker's protocol: jobs in, answers out, until there are no more jobs."""

import io
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.audio.worker import Job, limit_process, serve
from tests.audio.files import RATE, case, file_of, tone

READ = {"task": "read", "max_duration_s": 3.0, "sample_rate": None, "cut": False, "max_cpu_s": 5.0}
CONVERT = {
    "task": "convert",
    "max_duration_s": 3.0,
    "max_cpu_s": 5.0,
    "encoding": {
        "file_format": "flac",
        "sample_rate": None,
        "sample_format": "int16",
        "bitrate_kbps": None,
        "tags": {},
    },
    "with_prompt": True,
    "with_tags": True,
    "with_manifest": False,
    "mastering": {"normalization": "peak", "lufs": -14.0, "fade_in_s": 0.0, "fade_out_s": 0.0},
}


def served(*jobs: tuple[dict[str, Any], bytes]) -> tuple[list[dict[str, Any]], bytes]:
    """Answers to jobs with their contents, and the bytes of samples behind the last of them."""
    sent = b"".join(
        json.dumps(job | {"size": len(content)}).encode() + b"\n" + content for job, content in jobs
    )
    answers = io.BytesIO()
    seen: list[Job] = []
    serve(io.BytesIO(sent), answers, seen.append)
    assert len(seen) == len(jobs)
    answers.seek(0)
    told = []
    samples = b""
    for _ in jobs:
        told.append(json.loads(answers.readline()))
        samples = answers.read(told[-1]["size"])
    assert answers.read() == b""
    return told, samples


def test_files_are_read_one_after_the_other() -> None:
    (bad, good), samples = served((READ, case("nan.wav")), (READ, file_of("wav")))
    assert bad["error"] == "invalid_audio"
    assert "not finite" in bad["message"]
    assert (good["channels"], good["sample_rate"]) == (1, RATE)
    assert np.abs(np.frombuffer(samples, np.float32) - tone()[0]).max() < 1e-4


def test_files_are_converted(tmp_path: Path) -> None:
    job = CONVERT | {"path": str(tmp_path / "a.flac")}
    (answer, refused), _ = served((job, file_of("mp3")), (job, b"hello"))
    assert answer == {
        "decoded_s": pytest.approx(2.0, abs=0.01),
        "by_tags": False,
        "by_manifest": False,
        "tagged": False,
        "unkept": "none",
        "size": 0,
    }
    assert (refused["error"], refused["decoded_s"]) == ("invalid_audio", 0.0)


def used_s() -> float:
    """Seconds of CPU of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def test_memory_and_cpu_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", bounds.__setitem__)
    before_s = used_s()
    limit_process(READ | {"size": 1000})
    assert before_s + 5 <= bounds[resource.RLIMIT_CPU][0] <= used_s() + 6
    of_prompt = bounds[resource.RLIMIT_DATA][0]
    limit_process(READ | {"size": 1000, "max_duration_s": 600.0})
    of_ten_minutes = bounds[resource.RLIMIT_DATA][0]
    pcm = 600 * 48_000 * 2 * 4
    assert of_prompt < 2**29
    assert of_ten_minutes - of_prompt < 3 * pcm
    limit_process(CONVERT | {"size": 1000, "max_duration_s": 600.0})
    assert bounds[resource.RLIMIT_DATA][0] < 2**29, "a conversion holds no whole file"
