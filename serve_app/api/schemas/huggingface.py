"""Requests of Hugging Face's Inference API, as its task `text-to-audio` defines them.

Its schema nests the parameters of `transformers`' `generate` in `generation_parameters`; clients
send them there, in `generate_kwargs` or flat. Parameters with a meaning are used, those that leave
the result as it is are accepted, and others are errors. A null is an absent field.
"""

import math
from typing import Any

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from serve_app.api.schemas.absent_nulls import AbsentNulls, without_nulls
from serve_app.api.schemas.neutral_parameters import WITHOUT_EFFECT, NeutralParameters
from serve_app.errors import InvalidRequest
from serve_app.model_status import LoadedModel
from serve_app.types import DurationS, SamplingParams

_DURATION_S = 30.0
_FRAME_RATE = 50.0  # of the published models
_NESTS = ("generation_parameters", "generate_kwargs", "forward_params")
_LENGTHS = ("duration", "max_new_tokens", "max_length")
_OF_SAMPLING = {"temperature", "top_k", "top_p"}  # without effect on greedy decoding
_START_TOKENS = 1  # which max_length and min_length count beside the frames
_NO_OBJECT = "must be a JSON object"
_OPTIONS_WITHOUT_EFFECT = {"use_cache", "use_gpu", "retry_on_error"}
_SAID = {
    "extra_forbidden": "is not supported",
    "model_type": _NO_OBJECT,
    "model_attributes_type": _NO_OBJECT,
}


def failures(error: ValidationError) -> list[str]:
    """Say of each wrong field what is wrong, by its name."""
    return [
        f"{'.'.join(map(str, e['loc']))}: {_said(e['type'], e['loc'][-1:], e['msg'])}"
        for e in error.errors()
    ]


def _said(kind: str, name: tuple[int | str, ...], message: str) -> str:
    if name and name[0] in _NESTS:
        return _NO_OBJECT
    return _SAID.get(kind, message.removeprefix("Value error, "))


class Parameters(SamplingParams, NeutralParameters, frozen=True):
    """The sampling parameters under the names of `transformers`' `generate`, and the duration."""

    model_config = ConfigDict(
        strict=True, alias_generator=lambda name: {"cfg_coef": "guidance_scale"}.get(name, name)
    )

    duration: DurationS | None = Field(
        default=None, description="Duration in seconds; 30 without max_new_tokens and max_length."
    )
    max_new_tokens: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Duration in frames, 50 a second. Without effect beside duration.",
    )
    max_length: int | None = Field(
        default=None,
        ge=1 + _START_TOKENS,
        le=100_000,
        description="The same with the start token: one frame less. Without effect beside duration or "
        "max_new_tokens.",
    )
    min_new_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Up to the duration, without effect: a track has its whole duration.",
    )
    min_length: int | None = Field(
        default=None, ge=0, description="The same with the start token, as max_length."
    )
    do_sample: bool = Field(
        default=True,
        description="false: greedy decoding, where temperature, top_k and top_p have no effect.",
    )

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, values: Any) -> Any:
        """Take the nested parameters out, and drop nulls."""
        if not isinstance(values, dict):
            return values
        fields = without_nulls(values)
        nested = [fields.pop(name) for name in _NESTS if isinstance(fields.get(name), dict)]
        for name, value in [pair for nest in nested for pair in without_nulls(nest).items()]:
            if fields.setdefault(name, value) != value:
                raise ValueError(f"{name} is given twice, as {fields[name]} and as {value}")
        return fields

    def sampling(self) -> SamplingParams:
        """Collect the sampling parameters.

        A top_p of 1 means no nucleus sampling, as 0 does here.
        """
        sampling = self.model_dump(include=set(SamplingParams.model_fields))
        if not self.do_sample:
            sampling["temperature"] = 0.0
        if self.top_p == 1.0:
            sampling["top_p"] = 0.0
        return SamplingParams.model_validate(sampling)

    def duration_s(self, loaded: LoadedModel | None) -> float:
        """Compute the requested duration. Raises InvalidRequest for a minimum that exceeds it.

        A model that is not loaded yet is assumed to be a published one.
        """
        frame_rate = loaded.frame_rate if loaded else _FRAME_RATE
        duration_s = self._asked_s(frame_rate)
        if duration_s is None:
            duration_s = min(_DURATION_S, loaded.max_duration_s) if loaded else _DURATION_S
        self._check_minimum(math.ceil(duration_s * frame_rate))
        return duration_s

    @property
    def lengths(self) -> list[str]:
        """Parameters of the duration that were sent; the first one counts."""
        return [name for name in _LENGTHS if getattr(self, name) is not None]

    @property
    def ignored(self) -> set[str]:
        """Parameters that have no effect: by themselves, or beside others."""
        of_sampling = set() if self.do_sample else _OF_SAMPLING
        unused = self.model_fields_set & (WITHOUT_EFFECT | of_sampling)
        return unused | set(self.lengths[1:])

    def _asked_s(self, frame_rate: float) -> float | None:
        if self.duration is not None:
            return self.duration
        if self.max_new_tokens is not None:
            return self.max_new_tokens / frame_rate
        if self.max_length is not None:
            return (self.max_length - _START_TOKENS) / frame_rate
        return None

    def _check_minimum(self, frames: int) -> None:
        if self.min_new_tokens is not None and self.min_new_tokens > frames:
            raise InvalidRequest(
                f"parameters.min_new_tokens: {self.min_new_tokens} exceeds the track's {frames} "
                "frames. Raise max_new_tokens."
            )
        if self.min_length is not None and self.min_length > frames + _START_TOKENS:
            raise InvalidRequest(
                f"parameters.min_length: {self.min_length} exceeds the track's {frames} frames "
                "and the start token. Raise max_length."
            )


class Options(AbsentNulls, frozen=True):
    """Options of the Inference API and of its clients."""

    model_config = ConfigDict(extra="forbid", strict=True)

    wait_for_model: bool | None = Field(
        default=None,
        description="true: wait for a loading model without a limit; false: 503 at once.",
    )
    dont_load_model: bool = Field(
        default=False, description="Whether to answer 503 instead of starting a model."
    )
    use_cache: bool = Field(default=False, description="Without effect: answers are never cached.")
    use_gpu: bool = Field(default=False, description="Without effect: the model has its device.")
    retry_on_error: bool = Field(default=True, description="Without effect: it is the client's.")


class Body(AbsentNulls, frozen=True):
    """A request as Hugging Face's clients send it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str = Field(description="Text that describes the music.")
    parameters: Parameters = Field(default_factory=Parameters)
    options: Options = Options()
    stream: bool = Field(default=False, description="Only false: the answer is the whole file.")

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that have no effect."""
        options = self.options.model_fields_set & _OPTIONS_WITHOUT_EFFECT
        named = [f"parameters.{name}" for name in self.parameters.ignored]
        return named + [f"options.{name}" for name in options]

    @property
    def names(self) -> dict[str, str]:
        """Names of its fields, by those of this project's API."""
        length = next(iter(self.parameters.lengths), _LENGTHS[0])
        return {"prompt": "inputs", "duration_s": f"parameters.{length}"}

    @field_validator("stream")
    @classmethod
    def _is_false(cls, stream: bool) -> bool:
        if stream:
            raise ValueError("streaming is not part of this API: use /v1/audio/generations")
        return stream
