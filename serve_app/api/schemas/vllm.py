"""Requests of vLLM-Omni's `POST /v1/audio/generate`, with this API's own options beside its fields."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, FiniteFloat, field_validator

from serve_app.api.schemas.absent_nulls import AbsentNulls
from serve_app.api.schemas.generation import Generation
from serve_app.api.schemas.openai import SpeedField, offered_format, only_normal_speed
from serve_app.api.schemas.refusal import only, only_empty
from serve_app.types import CfgCoef, DurationS

if TYPE_CHECKING:
    EmptyText = str
else:
    EmptyText = Annotated[str, Field(max_length=0)]


class AudioGeneration(AbsentNulls, Generation, frozen=True):
    """A track to make, in the form of vLLM-Omni's request."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [{"input": "calm ambient piano", "audio_length": 8.0, "seed": 7}]
        },
    )

    prompt: Annotated[str, Field(alias="input", description="Text that describes the music.")]
    duration_s: Annotated[
        DurationS, Field(alias="audio_length", description="Duration in seconds.")
    ] = 30.0
    cfg_coef: Annotated[CfgCoef, Field(alias="guidance_scale")] = 3.0
    speed: SpeedField = 1.0
    audio_start: Annotated[
        FiniteFloat,
        Field(
            description="Only 0: a track begins at its beginning.", json_schema_extra={"const": 0.0}
        ),
    ] = 0.0
    negative_prompt: Annotated[
        EmptyText, Field(description="Only empty: the model takes no negative prompt.")
    ] = ""
    num_inference_steps: Annotated[
        int | None,
        Field(ge=1, description="Without effect: the model is no diffusion model."),
    ] = None

    _only_normal_speed = field_validator("speed")(only_normal_speed)
    _offered_format = field_validator("response_format", mode="before")(offered_format)

    @field_validator("audio_start")
    @classmethod
    def _from_the_beginning(cls, start_s: float) -> float:
        return only(0.0, start_s, "a track begins at its beginning")

    @field_validator("negative_prompt", mode="before")
    @classmethod
    def _no_negative_prompt(cls, text: Any) -> Any:
        return only_empty(
            text, "the model takes no negative prompt: say in input what the music should be like"
        )

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that have no effect."""
        return ["num_inference_steps"] if self.num_inference_steps is not None else []
