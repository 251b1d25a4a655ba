"""Snapshots of an engine's state, for other threads to read."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from time import perf_counter

from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import RATE_PERIOD_S, Throughput
from serve_app.model_status import EngineStats


class StatsBoard:
    """Snapshots of the lanes and the throughput: one thread publishes, any thread reads.

    Lanes take turns: from step to step of a full lane among full ones pass the steps of all.

    schedulers: returns the lanes'; kv_cache_bytes: returns those of all lanes;
    chunks: returns the chunks of streams so far, and those among them that were late;
    pending_frames: returns the frames of tracks that have left their slots and are not decoded yet.
    """

    def __init__(
        self,
        schedulers: Callable[[], list[Scheduler]],
        throughput: Throughput,
        frame_rate: float,
        kv_cache_bytes: Callable[[], int],
        chunks: Callable[[], tuple[int, int]] = lambda: (0, 0),
        pending_frames: Callable[[], int] = lambda: 0,
    ) -> None:
        self._schedulers = schedulers
        self._throughput = throughput
        self._frame_rate = frame_rate
        self._kv_cache_bytes = kv_cache_bytes
        self._chunks = chunks
        self._pending_frames = pending_frames
        self._stats = EngineStats(sum(one.max_slots for one in schedulers()))
        self._published_at = perf_counter()

    def latest(self) -> EngineStats:
        """Return the last snapshot. Its rates are 0 once it is older than RATE_PERIOD_S."""
        if perf_counter() - self._published_at > RATE_PERIOD_S:
            return replace(self._stats, steps_per_s=0.0, real_time_factor=0.0)
        return self._stats

    def publish(self, codec_s: float, text_encoder_s: float, eager_steps_total: int = 0) -> None:
        """Take a snapshot.

        codec_s, text_encoder_s: busy seconds so far; eager_steps_total: on a GPU, without a graph.
        """
        schedulers = self._schedulers()
        waiting = [one for lane in schedulers for one in lane.waiting.values()]
        running = [one for lane in schedulers for one in lane.running.values()]
        steps_per_s, frames_per_s = self._throughput.rates()
        streamed, late = self._chunks()
        admitted = [max(1, round(lane.admitted_slots)) for lane in schedulers]
        self._stats = EngineStats(
            slots=sum(lane.max_slots for lane in schedulers),
            admitted_slots=sum(admitted),
            slots_used=len(running),
            queued_requests=len(waiting),
            background_requests=sum(lane.background_requests for lane in schedulers),
            queued_audio_s=self._audio_s(waiting),
            running_audio_s=self._audio_s(running) + self._pending_frames() / self._frame_rate,
            steps_total=self._throughput.steps_total,
            steps_per_s=steps_per_s,
            real_time_factor=frames_per_s / self._frame_rate,
            streamed_chunks_total=streamed,
            late_chunks_total=late,
            step_s=self._throughput.step_s,
            lone_pace_s=self._throughput.pace_s(1) or 0.0,
            full_pace_s=sum(self._throughput.pace_s(slots) or 0.0 for slots in admitted),
            mean_audio_s=self._throughput.mean_audio_s,
            codec_s=codec_s,
            text_encoder_s=text_encoder_s,
            kv_cache_bytes=self._kv_cache_bytes(),
            eager_steps_total=eager_steps_total,
        )
        self._published_at = perf_counter()

    def _audio_s(self, sequences: Iterable[Sequence]) -> float:
        return sum(sequence.frames_left for sequence in sequences) / self._frame_rate
