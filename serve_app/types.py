"""Requests and audio: plain values, without torch and without ray."""

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field, FiniteFloat

MAX_SEED = 2**63 - 1


def draw_seed() -> int:
    """Draw the seed of a request that names none."""
    return secrets.randbits(32)


def _document_null(schema: dict[str, Any]) -> None:
    """Document that null is accepted: it means the same as an absent seed."""
    number = {name: schema.pop(name) for name in ("type", "minimum", "maximum")}
    schema["anyOf"] = [number, {"type": "null"}]


Temperature = Annotated[
    FiniteFloat,
    Field(ge=0.0, le=10.0, description="Softmax temperature of sampling; 0: greedy decoding."),
]
TopK = Annotated[
    int, Field(ge=0, le=1_000_000, description="Sample from the k likeliest codes; 0: from all.")
]
TopP = Annotated[
    FiniteFloat,
    Field(
        ge=0.0,
        le=1.0,
        description="Sample from the likeliest codes of this total probability (nucleus sampling); "
        "replaces top_k when above 0.",
    ),
]
CfgCoef = Annotated[
    FiniteFloat,
    Field(ge=0.0, le=100.0, description="Classifier-free guidance scale; 1: no guidance."),
]
Seed = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_SEED,
        description="The same seed makes the same track; drawn when absent.",
        json_schema_extra=_document_null,
    ),
    BeforeValidator(lambda seed: draw_seed() if seed is None else seed),
]
Content = Literal["music", "audio"]  # of a model's tracks: audio of an AudioGen, sounds of any kind
ExtendStrideS = Annotated[FiniteFloat, Field(ge=1.0, le=60.0)]
DurationS = Annotated[FiniteFloat, Field(gt=0.0, le=3600.0)]
Decoder = Literal["encodec", "multiband_diffusion"]
ENCODEC: Decoder = "encodec"
MULTIBAND_DIFFUSION: Decoder = "multiband_diffusion"


class SamplingParams(BaseModel, frozen=True, extra="forbid"):
    """The sampling parameters: the one table of them, with AudioCraft's defaults.

    The engine's slot tensors, the API's schemas, the command's options and the page are derived
    from these fields. A request that names no seed gets one here, once.
    """

    temperature: Temperature = 1.0
    top_k: TopK = 250
    top_p: TopP = 0.0
    cfg_coef: CfgCoef = 3.0
    seed: Seed = Field(default_factory=draw_seed)


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded audio. samples: float32 [channels, n], 1 or 2 channels; file_sha256: of its file."""

    samples: NDArray[np.float32]
    sample_rate: int
    file_sha256: str = ""

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate)


class GenerationRequest(BaseModel, frozen=True, extra="forbid", arbitrary_types_allowed=True):
    """A request for one track: `duration_s` seconds of music by the model with the id `model`.

    audio_prompt: the beginning of the track, part of its `duration_s`; melody: audio whose melody
    the track follows, for a model that takes one;
    decoder: of the codes; all but EnCodec's decode whole tracks only;
    extend_stride_s: stride of the model's window in a longer track; None: as in AudioCraft, which
    is 0.6 of the window for music and 2 s for an AudioGen;
    progress: whether the stream has Progress items; streamed: whether it is played as it is made;
    caller: the name of the API key; deadline: Unix time at which the request is given up;
    background: whether interactive requests go first, until it has waited `patience_s` for a slot;
    sample_bits: of a sample, that its file keeps: with 16, samples may be rounded to int16.
    """

    request_id: str
    model: str
    prompt: str
    duration_s: DurationS
    sampling: SamplingParams = Field(default_factory=SamplingParams)
    audio_prompt: Audio | None = None
    melody: Audio | None = None
    decoder: Decoder = ENCODEC
    extend_stride_s: ExtendStrideS | None = None
    progress: bool = False
    streamed: bool = False
    caller: str = ""
    deadline: float | None = None
    background: bool = False
    patience_s: float = 60.0
    sample_bits: Literal[16, 32] = 32


class FinishReason(StrEnum):
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations of one request, in seconds.

    queue_s, time_to_first_audio_s: from arrival in the engine to a slot, to the first audio;
    generation_s: from the slot to the last sample;
    compute_s: the request's share of the replica's time (a step is split evenly over its batch);
    text_encoder_s, first_step_s, codec_s: text encoding, first decoding step, codes to audio.
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
    """Progress of one request.

    queue_position: 1 is next, 0 is running; audio_s: seconds of audio made;
    remaining_s: estimated seconds until the end, None while there is no estimate.
    """

    queue_position: int
    audio_s: float
    remaining_s: float | None


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """The next stretch of one track's audio; chunks come in order and without gaps.

    samples: float32 [channels, n], n > 0; track_samples: number in the whole track; None: unknown.
    The last chunk has the `finish_reason` and the `timings`.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    finish_reason: FinishReason | None = None
    timings: Timings | None = None
    track_samples: int | None = None

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate)


StreamItem = Progress | AudioChunk
