"""One request's mutable state inside the engine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from serve_app.errors import ServeAppError
from serve_app.types import AudioChunk, GenerationRequest, Timings

Sink = Callable[[AudioChunk | ServeAppError], None]


@dataclass(eq=False)
class Sequence:
    """A request on its way: waiting, then in a slot, then done. `sink` takes its audio, or the error that ends it."""

    sequence_id: int
    request: GenerationRequest
    prompt_tokens: list[int]
    num_frames: int
    num_steps: int
    seed: int
    sink: Sink
    slot: int | None = None
    steps: int = 0
    arrived_at: float = field(default_factory=perf_counter)
    started_at: float | None = None
    first_audio_at: float | None = None

    @property
    def finished(self) -> bool:
        return self.steps >= self.num_steps

    def timings(self) -> Timings:
        now = perf_counter()
        started_at = now if self.started_at is None else self.started_at
        first_audio_at = now if self.first_audio_at is None else self.first_audio_at
        return Timings(
            queue_s=started_at - self.arrived_at,
            time_to_first_audio_s=first_audio_at - self.arrived_at,
            generation_s=now - started_at,
        )
