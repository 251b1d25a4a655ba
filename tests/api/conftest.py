"""The API over a generator without Ray and without weights; the real one is tested in test_service.py."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest

from serve_app.api.app import create_api
from serve_app.config import ApiConfig
from serve_app.errors import QueueFull, ServeAppError
from serve_app.gateway.generator import Generator
from serve_app.types import (
    AudioChunk,
    EngineStats,
    FinishReason,
    GenerationRequest,
    LoadedModel,
    ModelCard,
    Progress,
    ReplicaStatus,
    Timings,
)

SAMPLE_RATE = 32_000
SMALL = ModelCard("small", "facebook/musicgen-small", ("tiny",), "CC-BY-NC-4.0", price_per_hour=1.2)
LARGE = ModelCard("large", "facebook/musicgen-large", (), "CC-BY-NC-4.0", fallbacks=("small",))


@dataclass
class FakeGenerator:
    """Makes a sine in two chunks, and remembers what it was asked.

    full: models whose queue is; step_s: the models that are ready, with what a step takes them.
    """

    error: Exception | None = None
    full: tuple[str, ...] = ()
    step_s: dict[str, float] = field(default_factory=lambda: {"small": 0.01})
    late_error: Exception | None = None
    loaded: bool = True
    requests: list[GenerationRequest] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    closed: int = 0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        self.requests.append(request)
        try:
            if self.error is not None:
                raise self.error
            if request.model in self.full:
                raise QueueFull("Too many requests are waiting for this model.")
            seed = 99 if request.sampling.seed is None else request.sampling.seed
            if request.progress:
                nothing = np.zeros((1, 0), np.float32)
                yield AudioChunk(nothing, SAMPLE_RATE, seed, progress=Progress(2, 0.0, None))
                yield AudioChunk(nothing, SAMPLE_RATE, seed, progress=Progress(0, 0.5, 1.5))
            samples = np.sin(
                np.arange(max(1, int(request.duration_s * SAMPLE_RATE))) / 20, dtype=np.float32
            )[None]
            yield AudioChunk(samples[:, :10], SAMPLE_RATE, seed)
            if self.late_error is not None:
                raise self.late_error
            timings = Timings(
                queue_s=0.25, time_to_first_audio_s=0.5, generation_s=2.004, compute_s=1.5,
                text_encoder_s=0.125, first_step_s=0.0625, codec_s=0.375,
            )  # fmt: skip
            yield AudioChunk(samples[:, 10:], SAMPLE_RATE, seed, FinishReason.LENGTH, timings)
        finally:
            self.closed += 1

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        if not self.loaded or model_id not in self.step_s:
            return []
        model = LoadedModel(
            SAMPLE_RATE, 1, 50.0, 30.0, 3000 if model_id == "large" else 300, "cuda", "fp16"
        )
        return [
            ReplicaStatus(
                model, EngineStats(8, 3, 1, 2.0, 40.0, 500, 25.0, 1.5, self.step_s[model_id], 30.0)
            )
        ]

    def wake(self, model_id: str) -> None:
        self.woken.append(model_id)


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def config() -> ApiConfig:
    return ApiConfig(
        max_prompt_chars=100, max_body_bytes=2000, max_upload_bytes=100_000, max_audio_prompt_s=1.0
    )


@pytest.fixture
async def client(generator: FakeGenerator, config: ApiConfig) -> AsyncIterator[httpx.AsyncClient]:
    protocol: Generator = generator
    transport = httpx.ASGITransport(
        create_api(protocol, [SMALL, LARGE], "small", config), raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def leaks(text: str) -> bool:
    """Whether an answer shows a traceback or a path."""
    return "Traceback" in text or "/root" in text or "site-packages" in text or '.py"' in text


class Unexpected(RuntimeError):
    """An error that no code expects, with a path in its text."""

    def __init__(self) -> None:
        super().__init__("Traceback: boom in /root/secret.py")


FAILURES: list[Exception] = [ServeAppError("something"), Unexpected()]
