"""One request's mutable state inside the engine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from torch import Tensor

from serve_app.engine.cuda_streams import Handover
from serve_app.engine.delay import frames_complete, num_steps
from serve_app.engine.window import Window
from serve_app.errors import ServeAppError
from serve_app.types import AudioChunk, GenerationRequest, Timings

Sink = Callable[[AudioChunk | ServeAppError], None]


@dataclass(eq=False)
class Sequence:
    """A request on its way: waiting, then in a slot, then done. `sink` takes its audio, or the error that ends it.

    text: the prompt's, encoded; known [K, n]: the codes that the piece begins with; steps: done in the present window;
    other seconds: as in Timings.
    """

    sequence_id: int
    request: GenerationRequest
    prompt_tokens: list[int]
    known: Tensor
    windows: list[Window]
    delays: tuple[int, ...]
    seed: int
    sink: Sink
    text: Handover | None = None
    slot: int | None = None
    steps: int = 0
    compute_s: float = 0.0
    text_encoder_s: float = 0.0
    first_step_s: float = 0.0
    codec_s: float = 0.0
    arrived_at: float = field(default_factory=perf_counter)
    started_at: float | None = None
    first_audio_at: float | None = None

    @property
    def window(self) -> Window:
        """The present one; `windows` holds it and those to come."""
        return self.windows[0]

    @property
    def window_finished(self) -> bool:
        return self.steps >= num_steps(self.window.num_frames, self.delays)

    @property
    def finished(self) -> bool:
        return self.window_finished and len(self.windows) == 1

    @property
    def frames_complete(self) -> int:
        """Frames of the piece that have a code in every codebook."""
        return self.window.start + frames_complete(self.steps, self.window.num_frames, self.delays)

    @property
    def num_frames(self) -> int:
        return self.windows[-1].end

    @property
    def frames_left(self) -> int:
        return self.num_frames - max(self.frames_complete, self.window.start + self.window.known)

    def timings(self) -> Timings:
        now = perf_counter()
        started_at = now if self.started_at is None else self.started_at
        first_audio_at = now if self.first_audio_at is None else self.first_audio_at
        return Timings(
            queue_s=started_at - self.arrived_at,
            time_to_first_audio_s=first_audio_at - self.arrived_at,
            generation_s=now - started_at,
            compute_s=self.compute_s,
            text_encoder_s=self.text_encoder_s,
            first_step_s=self.first_step_s,
            codec_s=self.codec_s,
        )
