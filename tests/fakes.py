"""A generator and fleet without Ray and without weights, the models that they serve, a clock."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import MelodyNotSupported, PromptTooLong, QueueFull
from serve_app.gateway.outcome import Outcome
from serve_app.model_status import EngineStats, LoadedModel, ModelCard, ReplicaStatus
from serve_app.types import (
    AudioChunk,
    Content,
    FinishReason,
    GenerationRequest,
    Progress,
    StreamItem,
    Timings,
)

SAMPLE_RATE = 32_000
SMALL = ModelCard("small", "facebook/musicgen-small", ("tiny",), "CC-BY-NC-4.0", price_per_hour=1.2)
LARGE = ModelCard("large", "facebook/musicgen-large", (), "CC-BY-NC-4.0", fallbacks=("small",))
TIMINGS = Timings(
    queue_s=0.25,
    time_to_first_audio_s=0.5,
    generation_s=2.004,
    compute_s=1.5,
    text_encoder_s=0.125,
    first_step_s=0.0625,
    codec_s=0.375,
)


@dataclass
class FakeGenerator:
    """A Generator and Fleet: makes a sine in two chunks, and records its requests.

    error, late_error: raised before the first chunk, and between the two; full: ids of models that raise QueueFull;
    step_s: seconds per step of the ready models; loaded: whether any model is ready;
    closed: number of requests that ended; obstacles: reasons why no node can run a model, by id;
    noted: seconds of music in queued jobs, as they were told; longest_s: longest track;
    content: of the tracks, as the model list tells it; melody: ids of the models that take a melody;
    most_words: of a prompt, which stand for its tokens.
    """

    error: Exception | None = None
    full: tuple[str, ...] = ()
    step_s: dict[str, float] = field(default_factory=lambda: {"small": 0.01})
    late_error: Exception | None = None
    loaded: bool = True
    requests: list[GenerationRequest] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    closed: int = 0
    obstacles: dict[str, str] = field(default_factory=dict)
    noted: list[tuple[str, float]] = field(default_factory=list)
    longest_s: float = 30.0
    content: Content = "music"
    melody: tuple[str, ...] = ()
    most_words: int = 40

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        self.requests.append(request)
        try:
            if self.error is not None:
                raise self.error
            if request.melody is not None and request.model not in self.melody:
                raise MelodyNotSupported("This model takes no melody.")
            if request.model in self.full:
                raise QueueFull("Too many requests are waiting for this model.")
            if request.progress:
                yield Progress(2, 0.0, None)
                yield Progress(0, 0.5, 1.5)
            samples = _sine(request.duration_s)
            yield AudioChunk(samples[:, :10], SAMPLE_RATE, track_samples=samples.shape[1])
            if self.late_error is not None:
                raise self.late_error
            yield AudioChunk(samples[:, 10:], SAMPLE_RATE, FinishReason.LENGTH, TIMINGS)
        finally:
            self.closed += 1

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        if not self.loaded or model_id not in self.step_s:
            return []
        parameters = 3000 if model_id == "large" else 300
        model = LoadedModel(
            SAMPLE_RATE,
            1,
            50.0,
            self.longest_s,
            parameters,
            "cuda",
            "fp16",
            content=self.content,
            melody=model_id in self.melody,
        )
        stats = EngineStats(
            slots=8,
            slots_used=3,
            queued_requests=1,
            queued_audio_s=2.0,
            running_audio_s=40.0,
            steps_total=500,
            steps_per_s=25.0,
            real_time_factor=1.5,
            step_s=self.step_s[model_id],
            mean_audio_s=30.0,
        )
        return [ReplicaStatus(model, stats)]

    def wake(self, model_id: str) -> None:
        self.woken.append(model_id)

    def note_jobs(self, model_id: str, audio_s: float) -> None:
        self.noted.append((model_id, audio_s))

    async def check_prompt(self, model_id: str, prompt: str) -> None:
        if self.loaded and model_id in self.step_s and len(prompt.split()) > self.most_words:
            raise PromptTooLong(f"The prompt has more than {self.most_words} words.")

    def obstacle(self, model_id: str) -> str | None:
        return self.obstacles.get(model_id)

    def notice(self, model_id: str) -> str | None:
        return self.obstacles.get(model_id)


@dataclass
class RecordingObserver:
    """A RequestObserver that records all it is told."""

    outcomes: list[Outcome] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    fallbacks: list[tuple[str, str]] = field(default_factory=list)
    overloads: int = 0
    rejected_keys: int = 0
    marks: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    signing_failures: int = 0
    days_left: list[float] = field(default_factory=list)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def retried(self, model_id: str) -> None:
        self.retries.append(model_id)

    def fell_back(self, model_id: str, code: str) -> None:
        self.fallbacks.append((model_id, code))

    def overloaded(self) -> None:
        self.overloads += 1

    def keys_rejected(self) -> None:
        self.rejected_keys += 1

    def file_marked(self, file_format: str, mark: str) -> None:
        self.marks.append((file_format, mark))

    def file_refused(self, file_format: str) -> None:
        self.refused.append(file_format)

    def signing_failed(self) -> None:
        self.signing_failures += 1

    def certificate_checked(self, days_left: float) -> None:
        self.days_left.append(days_left)


class Clock:
    """A clock in place of `monotonic`, which a test sets. now: in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unexpected(RuntimeError):
    """An error that no code expects, with a path in its text."""

    def __init__(self) -> None:
        super().__init__("Traceback: boom in /root/secret.py")


def leaks(text: str) -> bool:
    """Tell whether an answer shows a traceback or a path."""
    return "Traceback" in text or "/root" in text or "site-packages" in text or '.py"' in text


def _sine(duration_s: float) -> NDArray[np.float32]:
    length = max(11, int(duration_s * SAMPLE_RATE))  # no chunk is empty
    return np.sin(np.arange(length) / 20, dtype=np.float32)[None]
