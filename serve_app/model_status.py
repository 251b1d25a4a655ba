"""Served models, their replicas and the state of these: plain values."""

import re
from dataclasses import dataclass

from serve_app.types import ENCODEC, Content, Decoder, Timings

_HUB_ID = re.compile(r"[^/:\s]+/[^/:\s]+")


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Snapshot of a replica's engine. Rates: averages over a few seconds; audio: seconds of music.

    admitted_slots: filled while requests wait, 0: unknown; queued_audio_s, running_audio_s: left of
    waiting, of running tracks, with those that wait for a decoder of whole tracks;
    background_requests: those among them; late_chunks_total: of those of streams; step_s: of a step,
    one frame of every track; lone_pace_s, full_pace_s: from step to step of one sequence, of all
    admitted slots; mean_audio_s: of recent tracks; codec_s, text_encoder_s: busy so far;
    eager_steps_total: without a graph.
    """

    slots: int
    admitted_slots: int = 0
    slots_used: int = 0
    queued_requests: int = 0
    background_requests: int = 0
    queued_audio_s: float = 0.0
    running_audio_s: float = 0.0
    steps_total: int = 0
    steps_per_s: float = 0.0
    real_time_factor: float = 0.0
    streamed_chunks_total: int = 0
    late_chunks_total: int = 0
    step_s: float = 0.0
    lone_pace_s: float = 0.0
    full_pace_s: float = 0.0
    mean_audio_s: float = 0.0
    codec_s: float = 0.0
    text_encoder_s: float = 0.0
    kv_cache_bytes: int = 0
    eager_steps_total: int = 0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Properties that a replica tells of its model.

    sample_rate: in Hz; frame_rate: in frames per second of audio; parameters: number of weights;
    melody: whether it takes a melody; content: of its tracks, audio where these are not music;
    window_s: seconds that it makes at a time.
    """

    sample_rate: int
    channels: int
    frame_rate: float
    max_duration_s: float
    parameters: int
    device: str
    precision: str
    melody: bool = False
    content: Content = "music"
    window_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica of a model: the loaded model and the engine's state."""

    model: LoadedModel
    stats: EngineStats


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A served model as configured.

    source: a hub id, or the name of a folder without its path, and the same of each adapter after
    ` + `; license: of the weights;
    fallbacks: ids of the models that answer instead when this model's queue is full;
    price_per_hour: of one replica, in US dollars; None: unknown; max_queued_audio_s: seconds of
    music that may wait in one ingress replica; None: no bound; scales_to_zero: may have no replica;
    decoders: of the codes, by which a request may ask for its track; max_prompt_tokens: of a prompt;
    pins_batch_shape: a seed makes the same bits on each replica, whatever else it makes.
    """

    model_id: str
    source: str
    aliases: tuple[str, ...]
    license: str
    fallbacks: tuple[str, ...] = ()
    price_per_hour: float | None = None
    max_queued_audio_s: float | None = None
    scales_to_zero: bool = False
    max_prompt_tokens: int = 256
    decoders: tuple[Decoder, ...] = (ENCODEC,)
    pins_batch_shape: bool = False

    @property
    def resume(self) -> str:
        """Whether a lost replica's track goes on with the same bits: `exact`, or `approximate`."""
        return "exact" if self.pins_batch_shape else "approximate"

    @property
    def is_repository(self) -> bool:
        """Whether the source is one hub repository: not a folder, nor a merge with adapters."""
        return _HUB_ID.fullmatch(self.source) is not None

    def cost_usd(self, timings: Timings) -> float | None:
        """Cost of a track in US dollars; None when the price is unknown."""
        if self.price_per_hour is None:
            return None
        return round(self.price_per_hour * timings.compute_s / 3600, 8)
