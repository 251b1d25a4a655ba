"""The facts of a track as headers and as JSON, for answers that tests make up."""

import json

from tests.raw_server import answer

HEADERS = {
    "x-musicgen-model": "small", "x-musicgen-seed": "7", "x-musicgen-license": "MIT",
    "x-musicgen-sample-rate": "32000", "x-musicgen-duration-s": "1.000",
    "x-musicgen-queue-s": "0.0", "x-musicgen-time-to-first-audio-s": "0.1",
    "x-musicgen-generation-s": "0.5", "x-musicgen-real-time-factor": "2.00",
    "x-musicgen-compute-s": "0.5",
}  # fmt: skip
FACTS = {
    "model": "small", "seed": 7, "license": "MIT", "sample_rate": 32000, "duration_s": 1.0,
    "queue_s": 0.0, "time_to_first_audio_s": 0.1, "generation_s": 0.5, "real_time_factor": 2.0,
    "compute_s": 0.5, "cost_usd": None,
}  # fmt: skip
WAV = b"RIFF\x04\0\0\0WAVE"
WAV_TYPE = "content-type: audio/wav"
HEADER_LINES = [f"{name}: {value}" for name, value in HEADERS.items()]
TRACK = answer("200 OK", WAV, WAV_TYPE, *HEADER_LINES)


def problem(status: int, code: str, *headers: str) -> bytes:
    body = {"status": status, "code": code, "detail": f"It is {code}."}
    media_type = "content-type: application/problem+json"
    return answer(f"{status} Error", json.dumps(body).encode(), media_type, *headers)


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
