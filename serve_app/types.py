"""What a caller asks for and what comes back: plain values, without torch and without ray."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

MAX_SEED = 2**63 - 1

Temperature = Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)]
TopK = Annotated[int, Field(ge=0, le=1_000_000)]
TopP = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
CfgCoef = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
ExtendStrideS = Annotated[float, Field(ge=1.0, le=60.0, allow_inf_nan=False)]
DurationS = Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False)]


class SamplingParams(BaseModel, frozen=True, extra="forbid"):
    """How codes are drawn. The defaults are AudioCraft's.

    temperature: 0 takes the likeliest code always; top_k: 0 means all; top_p: replaces top_k when above 0;
    cfg_coef: classifier-free guidance, 1 means none; seed: drawn when absent.
    """

    temperature: Temperature = 1.0
    top_k: TopK = 250
    top_p: TopP = 0.0
    cfg_coef: CfgCoef = 3.0
    seed: Seed | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded audio. samples: float32 [channels, n], of one or two channels."""

    samples: NDArray[np.float32]
    sample_rate: int

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate)


class GenerationRequest(BaseModel, frozen=True, extra="forbid", arbitrary_types_allowed=True):
    """One piece of music to make: `duration_s` seconds of what `prompt` says, by the model of the id `model`.

    audio_prompt: what it begins with, and is part of its `duration_s`; extend_stride_s: how far the model's window
    slides at once in a piece that is longer than it, None: 0.6 of it; progress: whether to be told of it, between the
    chunks of audio; caller: the name of the API key; deadline: Unix time after which the request is given up.
    """

    request_id: str
    model: str
    prompt: str
    duration_s: DurationS
    sampling: SamplingParams = SamplingParams()
    audio_prompt: Audio | None = None
    extend_stride_s: ExtendStrideS | None = None
    progress: bool = False
    caller: str = ""
    deadline: float | None = None


class FinishReason(StrEnum):
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds one request took: waiting for a slot, until its first audio, and from its slot to its end.

    compute_s: its share of the replica's time, which sequences of a batch divide among themselves; text_encoder_s,
    first_step_s, codec_s: what reading its prompt, its first step and its decoding to audio took.
    """

    queue_s: float
    time_to_first_audio_s: float
    generation_s: float
    compute_s: float
    text_encoder_s: float
    first_step_s: float
    codec_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one request is.

    queue_position: how many wait before it, and it; 0 once it runs. audio_s: seconds of music made; remaining_s: an
    estimate of the seconds until its end, None while there is none.
    """

    queue_position: int
    audio_s: float
    remaining_s: float | None


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A stretch of one request's audio, in order and without gaps.

    samples: float32 [channels, n]; n is 0 where there is `progress` to tell, to a request that asked for it.
    The last chunk has a `finish_reason` and the `timings`.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    seed: int
    finish_reason: FinishReason | None = None
    timings: Timings | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A replica's state at one moment. Rates are over the last few seconds; audio is in seconds of music.

    step_s: seconds that a step takes, which makes one frame of every running piece; mean_audio_s: of the pieces that
    were asked for lately. codec_s, text_encoder_s: that these have worked so far.
    """

    slots: int
    slots_used: int = 0
    queued_requests: int = 0
    queued_audio_s: float = 0.0
    running_audio_s: float = 0.0
    steps_total: int = 0
    steps_per_s: float = 0.0
    real_time_factor: float = 0.0
    step_s: float = 0.0
    mean_audio_s: float = 0.0
    codec_s: float = 0.0
    text_encoder_s: float = 0.0
    kv_cache_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a replica knows of the model that it has loaded."""

    sample_rate: int
    channels: int
    frame_rate: float
    max_duration_s: float
    parameters: int
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica of a model: what it has loaded, and what it is doing."""

    model: LoadedModel
    stats: EngineStats


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A served model as the configuration has it.

    source: a hub id, or a folder's name without its path; fallbacks: the ids of the models that answer in its stead
    when its queue is full; price_per_hour: of a replica, in US dollars, where it is known; max_queued_audio_s: of
    music that may wait for it in an ingress replica.
    """

    model_id: str
    source: str
    aliases: tuple[str, ...]
    license: str
    fallbacks: tuple[str, ...] = ()
    price_per_hour: float | None = None
    max_queued_audio_s: float | None = None

    def cost_usd(self, timings: Timings) -> float | None:
        """What a piece cost; None where the price is not known."""
        return (
            None
            if self.price_per_hour is None
            else round(self.price_per_hour * timings.compute_s / 3600, 8)
        )


def num_frames(duration_s: float, frame_rate: float) -> int:
    """Frames of `duration_s` seconds, at least one; rounding first keeps 0.1 * 3 * 50 from becoming 16."""
    return max(1, math.ceil(round(duration_s * frame_rate, 6)))
