"""One request's mutable state inside the engine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from serve_app.engine.cuda_streams import Handover
from serve_app.engine.delay import frames_complete, num_steps
from serve_app.engine.window import Window
from serve_app.errors import ServeAppError
from serve_app.types import GenerationRequest, StreamItem, Timings

Sink = Callable[[StreamItem | ServeAppError], None]


@dataclass(eq=False)
class Sequence:
    """A request that waits, then holds a slot, then has ended. Written by the engine's thread only.

    prefix_codes [K, n]: codes that the track begins with; windows: the present one and later ones;
    sink: takes the audio, or the error that ends the sequence; lane: of the checkpoint that makes
    the track; text: the encoded prompt;
    chroma: pitch classes of a melody [chroma_length] for each of the windows, empty without one;
    prefix_positions: cache positions before the codes; steps: done in the present window;
    prefill_units: of ModelRunner.prefill, before the next step;
    arrived_at, started_at: of `perf_counter`; other seconds: as in Timings.
    """

    sequence_id: int
    request: GenerationRequest
    prompt_tokens: list[int]
    prefix_codes: Tensor
    windows: list[Window]
    delays: tuple[int, ...]
    sink: Sink
    lane: str = ""
    text: Handover | None = None
    chroma: list[Tensor] = field(default_factory=list)
    slot: int | None = None
    prefix_positions: int = 0
    steps: int = 0
    prefill_units: int = 0
    compute_s: float = 0.0
    text_encoder_s: float = 0.0
    first_step_s: float = 0.0
    arrived_at: float = field(default_factory=perf_counter)
    started_at: float | None = None

    def yields(self, now: float) -> bool:
        """Test whether interactive requests go first. now: of `perf_counter`."""
        request = self.request
        return request.background and now - self.arrived_at < request.patience_s

    @property
    def window(self) -> Window:
        """The present window."""
        return self.windows[0]

    @property
    def melody(self) -> Tensor | None:
        """The present window's pitch classes."""
        return self.chroma[0] if self.chroma else None

    def slide(self) -> bool:
        """Go on to the next window. Returns whether its conditions differ."""
        melody = self.melody
        self.windows.pop(0)
        self.chroma = self.chroma[1:]
        return melody is not None and not torch.equal(melody, self.chroma[0])

    @property
    def positions(self) -> int:
        """Positions of the cache that are filled."""
        return self.prefix_positions + self.steps

    @property
    def window_finished(self) -> bool:
        return self.steps >= num_steps(self.window.num_frames, self.delays)

    @property
    def finished(self) -> bool:
        return self.window_finished and len(self.windows) == 1

    @property
    def frames_complete(self) -> int:
        """Frames of the track that have a code in every codebook."""
        return self.window.start + frames_complete(self.steps, self.window.num_frames, self.delays)

    @property
    def num_frames(self) -> int:
        return self.windows[-1].end

    @property
    def frames_left(self) -> int:
        return self.num_frames - max(
            self.frames_complete, self.window.start + self.window.prefix_frames
        )

    def record_step(self, step_s: float, share_s: float) -> None:
        """Record a step of the batch, of which this sequence's share is `share_s` seconds."""
        self.compute_s += share_s
        self.first_step_s = self.first_step_s or step_s

    def timings(self, codec_s: float, first_audio_at: float, ended_at: float) -> Timings:
        """Return the timings of a sequence that has had its last step."""
        started_at = ended_at if self.started_at is None else self.started_at
        return Timings(
            queue_s=started_at - self.arrived_at,
            time_to_first_audio_s=first_audio_at - self.arrived_at,
            generation_s=ended_at - started_at,
            compute_s=self.compute_s,
            text_encoder_s=self.text_encoder_s,
            first_step_s=self.first_step_s,
            codec_s=codec_s,
        )
