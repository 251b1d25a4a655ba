"""Metrics, which Ray exports to Prometheus with `ray_` before their names.

Serve adds the labels deployment and replica.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ray.serve.metrics import Counter, Gauge, Histogram

from serve_app.deployments.key_metrics import KeyMetrics
from serve_app.gateway.observer import LogObserver
from serve_app.gateway.outcome import Outcome
from serve_app.model_status import EngineStats

_SECONDS = [  # up to request_timeout_s of configs/
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    15.0,
    30.0,
    60.0,
    120.0,
    180.0,
    300.0,
    450.0,
    600.0,
]


class RayObserver(LogObserver):
    """Counts the requests of one ingress replica."""

    def __init__(self) -> None:
        self._keys = KeyMetrics()
        self._requests = Counter(
            "musicgen_requests_total",
            "Requests that ended, by outcome: ok or an error's code.",
            ("model", "outcome"),
        )
        self._audio_s = Counter(
            "musicgen_audio_seconds_total", "Seconds of music delivered.", ("model",)
        )
        self._cost = Counter(
            "musicgen_cost_dollars_total",
            "Cost of finished tracks, by price_per_hour.",
            ("model",),
        )
        self._retries = Counter(
            "musicgen_retries_total",
            "Requests sent again because their replica was lost.",
            ("model",),
        )
        self._fallbacks = Counter(
            "musicgen_fallbacks_total",
            "Requests that another model answered, by the outcome at this one: queue_full or queue_late.",
            ("model", "outcome"),
        )
        self._overloaded = Counter(
            "musicgen_overloaded_total",
            "Requests refused before they were read, because the ingress replica is full.",
        )
        self._keys_file_errors = Counter(
            "musicgen_keys_file_errors_total", "Changes of the API keys' file that were rejected."
        )
        self._marked = Counter(
            "musicgen_marked_files_total",
            "Files sent, by each of their marks: tags, manifest, detached_manifest, watermark; or none.",
            ("format", "mark"),
        )
        self._refused = Counter(
            "musicgen_unsigned_files_refused_total",
            "Requests refused because their files cannot hold a signed manifest.",
            ("format",),
        )
        self._signing_failures = Counter(
            "musicgen_signing_failures_total",
            "Files that could not be signed, and were not sent.",
        )
        self._certificate_days = Gauge(
            "musicgen_certificate_days_left",
            "Days until the signing certificate, or one of its chain, expires.",
        )
        self._first_audio_s = _histogram(
            "musicgen_time_to_first_audio_seconds", "Time from the request to its first audio."
        )
        self._queue_s = _histogram(
            "musicgen_queue_seconds", "Time that a finished track waited for a slot."
        )
        self._generation_s = _histogram(
            "musicgen_generation_seconds", "Time from a finished track's slot to its last sample."
        )

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        tags = {"model": outcome.model}
        self._requests.inc(1, {**tags, "outcome": outcome.code})
        self._keys.ended(outcome)
        if outcome.audio_s:
            self._audio_s.inc(outcome.audio_s, tags)
        if outcome.cost_usd:
            self._cost.inc(outcome.cost_usd, tags)
        if outcome.first_audio_s is not None:
            self._first_audio_s.observe(outcome.first_audio_s, tags)
        if outcome.timings is not None:
            self._queue_s.observe(outcome.timings.queue_s, tags)
            self._generation_s.observe(outcome.timings.generation_s, tags)

    def retried(self, model_id: str) -> None:
        self._retries.inc(1, {"model": model_id})

    def fell_back(self, model_id: str, code: str) -> None:
        self._fallbacks.inc(1, {"model": model_id, "outcome": code})

    def overloaded(self) -> None:
        self._overloaded.inc()

    def keys_rejected(self) -> None:
        self._keys_file_errors.inc()

    def file_marked(self, file_format: str, mark: str) -> None:
        self._marked.inc(1, {"format": file_format, "mark": mark})

    def file_refused(self, file_format: str) -> None:
        self._refused.inc(1, {"format": file_format})

    def signing_failed(self) -> None:
        self._signing_failures.inc()

    def certificate_checked(self, days_left: float) -> None:
        self._certificate_days.set(days_left)


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds of each stage of a replica's start.

    process: from the start of the process to the replica's constructor;
    graphs: capture of CUDA graphs; warm_up: the first track.
    """

    process: float
    imports: float
    weights: float
    graphs: float
    warm_up: float


class ReplicaMetrics:
    """Metrics of one replica and its engine."""

    def __init__(self, model_id: str, cold_start: ColdStart) -> None:
        self._tags = {"model": model_id}
        self._stages = asdict(cold_start)
        self._cold_start = Gauge(
            "musicgen_cold_start_seconds",
            "Duration of a stage of the replica's start.",
            ("model", "stage"),
        )
        self._gauges = {
            name: Gauge(f"musicgen_{name}", text, ("model",)) for name, (text, _) in _GAUGES.items()
        }
        self._counters = {
            name: Counter(f"musicgen_{name}", text, ("model",))
            for name, (text, _) in _COUNTERS.items()
        }
        self._counted = dict.fromkeys(_COUNTERS, 0.0)

    def report(self, stats: EngineStats) -> None:
        """Set all gauges, because Ray drops a gauge that is not set again; add to the counters."""
        for stage, seconds in self._stages.items():
            self._cold_start.set(seconds, {**self._tags, "stage": stage})
        for name, (_, value) in _GAUGES.items():
            measured = value(stats)
            self._gauges[name].set(measured if math.isfinite(measured) else 0.0, self._tags)
        for name, (_, value) in _COUNTERS.items():
            total = value(stats)
            if total > self._counted[name]:
                self._counters[name].inc(total - self._counted[name], self._tags)
                self._counted[name] = total


_Row = tuple[str, Callable[[EngineStats], float]]  # description, and the value in the statistics
_GAUGES: dict[str, _Row] = {
    "slots": ("Tracks that the replica can generate at a time.", lambda stats: stats.slots),
    "admitted_slots": (
        "Tracks that the replica takes at a time while more wait: as many as keep up with the music.",
        lambda stats: stats.admitted_slots,
    ),
    "slots_used": ("Tracks that the replica is generating.", lambda stats: stats.slots_used),
    "queued_requests": (
        "Requests in the replica that wait for a slot.",
        lambda stats: stats.queued_requests,
    ),
    "background_requests": (
        "Requests in the replica, waiting or running, that are tracks of jobs.",
        lambda stats: stats.background_requests,
    ),
    "queued_audio_seconds": (
        "Seconds of music of the requests that wait for a slot.",
        lambda stats: stats.queued_audio_s,
    ),
    "running_audio_seconds": (
        "Seconds of music left to generate of the running tracks.",
        lambda stats: stats.running_audio_s,
    ),
    "steps_per_second": (
        "Decoding steps per second, over the last few seconds.",
        lambda stats: stats.steps_per_s,
    ),
    "real_time_factor": (
        "Seconds of music generated per second by all slots together, over the last few seconds.",
        lambda stats: stats.real_time_factor,
    ),
    "step_seconds": (
        "Duration of a decoding step, which generates one frame of every running track.",
        lambda stats: stats.step_s,
    ),
    "kv_cache_bytes": ("Memory of the KV cache.", lambda stats: stats.kv_cache_bytes),
}
_COUNTERS: dict[str, _Row] = {
    "steps_total": ("Decoding steps.", lambda stats: stats.steps_total),
    "eager_steps_total": (
        "Decoding steps on a GPU that ran without a CUDA graph, and were slower for it.",
        lambda stats: stats.eager_steps_total,
    ),
    "streamed_chunks_total": (
        "Chunks of audio of tracks that are played while they are made.",
        lambda stats: stats.streamed_chunks_total,
    ),
    "late_chunks_total": (
        "Chunks among these that came after the end of the audio before them: playback paused.",
        lambda stats: stats.late_chunks_total,
    ),
    "codec_seconds_total": ("Seconds of codec decoding.", lambda stats: stats.codec_s),
    "text_encoder_seconds_total": ("Seconds of text encoding.", lambda stats: stats.text_encoder_s),
}


def _histogram(name: str, text: str) -> Histogram:
    return Histogram(name, text, boundaries=_SECONDS, tag_keys=("model",))
