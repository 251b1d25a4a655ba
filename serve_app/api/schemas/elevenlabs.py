"""Requests of ElevenLabs' music and sound routes, with this API's sampling parameters beside them."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from serve_app.api.schemas.absent_nulls import AbsentNulls
from serve_app.api.schemas.elevenlabs_plan import CompositionPlan
from serve_app.api.schemas.generation import Generation
from serve_app.api.schemas.refusal import refusal
from serve_app.types import SamplingParams

# Names of ElevenLabs' own models, which its clients send: the default model answers to them.
_THEIR_MODELS = ("music_v1", "music_v2", "music_v2_5", "eleven_text_to_sound_v2")
_SOUND_S = 10.0
_GUIDANCE = 10.0  # ElevenLabs' default influence, 0.3, is the default guidance, 3
_ModelId = Annotated[
    str | None,
    Field(
        description="Id or alias of a served model, or `auto`; the default model for ElevenLabs' own "
        f"names ({', '.join(_THEIR_MODELS)})."
    ),
]


class _Request(AbsentNulls, SamplingParams, frozen=True):
    """The fields that music and sounds share."""

    model_config = ConfigDict(strict=True)

    model_id: _ModelId = None

    def names_their_model(self, served: list[str]) -> bool:
        """Test for a name of ElevenLabs' own that no served model has."""
        return self.model_id in _THEIR_MODELS and self.model_id not in served

    def _generation(self, prompt: str, duration_s: float | None, served: list[str]) -> Generation:
        sampling = self.model_dump(include=set(SamplingParams.model_fields))
        model = None if self.names_their_model(served) else self.model_id
        duration = {} if duration_s is None else {"duration_s": duration_s}
        return Generation.model_validate({"prompt": prompt, "model": model, **duration, **sampling})


class Music(_Request, frozen=True):
    """Music to make, by a prompt or by a plan."""

    prompt: Annotated[str | None, Field(description="Text that describes the music.")] = None
    composition_plan: Annotated[
        CompositionPlan | None,
        Field(description="In place of a prompt: a plan of one section without lyrics."),
    ] = None
    music_length_ms: Annotated[
        int | None,
        Field(
            ge=3000,
            le=600_000,
            description="Duration in milliseconds, with a prompt; 30 s when absent.",
        ),
    ] = None
    force_instrumental: Annotated[
        bool, Field(description="false: without effect, all tracks are instrumental.")
    ] = True
    respect_sections_durations: Annotated[
        bool, Field(description="Without effect: the duration of a plan is always kept.")
    ] = True
    finetune_id: Annotated[None, Field(description="Not supported.")] = None
    store_for_inpainting: Annotated[
        bool, Field(description="Only false: no song is kept.", json_schema_extra={"const": False})
    ] = False
    sign_with_c2pa: Annotated[
        bool, Field(description="true: only where the service signs whole files of the format.")
    ] = False

    @field_validator("finetune_id", mode="before")
    @classmethod
    def _no_finetune(cls, _: Any) -> None:
        raise refusal("there are no finetunes here: name a served model in model_id")

    @field_validator("store_for_inpainting")
    @classmethod
    def _nothing_is_stored(cls, value: bool) -> bool:
        if value:
            raise refusal("no song is kept for inpainting: leave it out")
        return value

    @model_validator(mode="after")
    def _one_description(self) -> Self:
        if (self.prompt is None) is (self.composition_plan is None):
            field = "prompt" if self.prompt is None else "composition_plan"
            raise refusal("give a prompt or a composition_plan, and not both", field)
        if self.composition_plan is not None and self.music_length_ms is not None:
            raise refusal("goes with a prompt: a composition_plan has its own", "music_length_ms")
        return self

    @property
    def description(self) -> tuple[str, str]:
        """Name of the field that describes the music, and the description."""
        if self.composition_plan is not None:
            return "composition_plan", self.composition_plan.prompt
        return "prompt", self.prompt or ""

    @property
    def names(self) -> dict[str, str]:
        """Names of its fields, by those of this project's API."""
        if self.composition_plan is None:
            return {"duration_s": "music_length_ms"}
        return {
            "prompt": "composition_plan",
            "duration_s": "composition_plan.sections.duration_ms",
        }

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that have no effect."""
        sent = self.model_fields_set & {"respect_sections_durations"}
        return [*sent, *([] if self.force_instrumental else ["force_instrumental"])]

    def generation(self, served: list[str]) -> Generation:
        """Build the track to make. served: names of the served models."""
        _, prompt = self.description
        plan = self.composition_plan
        length_ms = self.music_length_ms if plan is None else plan.duration_ms
        return self._generation(prompt, None if length_ms is None else length_ms / 1000, served)


class DetailedMusic(Music, frozen=True):
    """Music to make, whose facts are told beside the file."""

    with_timestamps: Annotated[
        bool, Field(description="true: the list of the sung words, which is empty.")
    ] = False
    with_waveform_visual: Annotated[
        bool, Field(description="Only false.", json_schema_extra={"const": False})
    ] = False

    @field_validator("with_waveform_visual")
    @classmethod
    def _no_waveform(cls, value: bool) -> bool:
        if value:
            raise refusal("no waveform is drawn here: leave it out")
        return value


class Sound(_Request, frozen=True):
    """A sound to make: music, by a text."""

    text: Annotated[str, Field(description="Text that describes the music.")]
    duration_seconds: Annotated[
        float,
        Field(
            ge=0.5,
            le=30.0,
            allow_inf_nan=False,
            description="Duration in seconds.",
        ),
    ] = _SOUND_S
    prompt_influence: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=1.0,
            allow_inf_nan=False,
            description=f"Guidance scale, cfg_coef, over {_GUIDANCE:g}, at least 1.",
        ),
    ] = None
    loop: Annotated[bool, Field(description="Only false.", json_schema_extra={"const": False})] = (
        False
    )

    @field_validator("loop")
    @classmethod
    def _no_loop(cls, value: bool) -> bool:
        if value:
            raise refusal("no seamless loops are made here: leave it out")
        return value

    @model_validator(mode="after")
    def _one_guidance(self) -> Self:
        if self.prompt_influence is not None and "cfg_coef" in self.model_fields_set:
            raise refusal("give prompt_influence or cfg_coef, and not both", "prompt_influence")
        return self

    @property
    def names(self) -> dict[str, str]:
        """Names of its fields, by those of this project's API."""
        return {"prompt": "text", "duration_s": "duration_seconds"}

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that have no effect: none."""
        return []

    def generation(self, served: list[str]) -> Generation:
        """Build the track to make. served: names of the served models."""
        generation = self._generation(self.text, self.duration_seconds, served)
        if self.prompt_influence is None:
            return generation
        guidance = max(1.0, _GUIDANCE * self.prompt_influence)
        return generation.model_copy(update={"cfg_coef": guidance})
