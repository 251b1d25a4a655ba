"""Tells the requests that asked for it how far they are."""

from collections.abc import Iterator
from time import perf_counter

import numpy as np

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import Throughput
from serve_app.types import AudioChunk, Progress

INTERVAL_S = 0.25


class ProgressReporter:
    """Reports every INTERVAL_S, and when a sequence is new."""

    def __init__(
        self, scheduler: Scheduler, throughput: Throughput, checkpoint: Checkpoint
    ) -> None:
        self._scheduler, self._throughput, self._frame_rate = (
            scheduler,
            throughput,
            checkpoint.frame_rate,
        )
        self._sample_rate, self._nothing = (
            checkpoint.sample_rate,
            np.zeros((checkpoint.audio_channels, 0), np.float32),
        )
        self._reported_at = 0.0

    def report(self) -> None:
        """Call after every step."""
        now = perf_counter()
        if now - self._reported_at < INTERVAL_S:
            return
        self._reported_at = now
        for sequence, progress in self._all():
            if sequence.request.progress:
                sequence.sink(
                    AudioChunk(self._nothing, self._sample_rate, sequence.seed, progress=progress)
                )

    def _all(self) -> Iterator[tuple[Sequence, Progress]]:
        """Running sequences advance together, a frame each a step; those that wait come after all before them."""
        steps_per_s, _ = self._throughput.rates()
        ahead = 0
        for sequence in self._scheduler.running.values():
            left = sequence.frames_left
            ahead += left
            remaining_s = left / steps_per_s if steps_per_s > 0 else None
            yield sequence, Progress(0, sequence.frames_complete / self._frame_rate, remaining_s)
        for position, sequence in enumerate(self._scheduler.waiting.values(), 1):
            ahead += sequence.frames_left
            yield sequence, Progress(position, 0.0, self._throughput.seconds_for(ahead))
