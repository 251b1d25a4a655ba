"""ElevenLabs' composition plans, as far as one description of the whole track can follow them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve_app.api.schemas.absent_nulls import AbsentNulls
from serve_app.api.schemas.refusal import refusal

Styles = Annotated[list[str], Field(max_length=50)]
_NO_NEGATIVES = "the model takes no negative styles: leave it empty"


def _only_empty(values: list[str], reason: str) -> list[str]:
    if any(text.strip() for text in values):
        raise refusal(reason)
    return []


class Section(AbsentNulls, frozen=True):
    """The section of a plan."""

    model_config = ConfigDict(extra="forbid", strict=True)

    section_name: Annotated[
        str, Field(max_length=100, description="Its name, in the answer only.")
    ] = "Track"
    positive_local_styles: Styles = Field(default_factory=list, description="Part of the prompt.")
    negative_local_styles: Styles = Field(default_factory=list, description="Only empty.")
    duration_ms: Annotated[int, Field(ge=3000, le=600_000, description="Duration in milliseconds.")]
    lines: list[str] = Field(
        default_factory=list, max_length=30, description="Only empty: no lyrics."
    )

    @field_validator("negative_local_styles")
    @classmethod
    def _no_negatives(cls, styles: list[str]) -> list[str]:
        return _only_empty(styles, _NO_NEGATIVES)

    @field_validator("lines")
    @classmethod
    def _no_lyrics(cls, lines: list[str]) -> list[str]:
        return _only_empty(lines, "the model sings no lyrics: leave it empty")


class CompositionPlan(AbsentNulls, frozen=True):
    """A plan of one section: its styles become the prompt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    positive_global_styles: Annotated[Styles, Field(description="Part of the prompt.")]
    negative_global_styles: Styles = Field(default_factory=list, description="Only empty.")
    sections: Annotated[list[Section], Field(description="One section.")]

    @model_validator(mode="before")
    @classmethod
    def _not_of_v2(cls, values: Any) -> Any:
        if isinstance(values, dict) and "chunks" in values:
            raise refusal(
                "chunks are not supported: the model follows one description for the whole track. "
                "Send a prompt, or a plan of music_v1 with one section"
            )
        return values

    @field_validator("negative_global_styles")
    @classmethod
    def _no_negatives(cls, styles: list[str]) -> list[str]:
        return _only_empty(styles, _NO_NEGATIVES)

    @field_validator("sections")
    @classmethod
    def _one_section(cls, sections: list[Section]) -> list[Section]:
        if len(sections) != 1:
            raise refusal(
                f"{len(sections)} sections are not supported, only 1: the model follows one "
                "description for the whole track"
            )
        return sections

    @property
    def prompt(self) -> str:
        """All styles as one description."""
        return ", ".join([*self.positive_global_styles, *self.sections[0].positive_local_styles])

    @property
    def duration_ms(self) -> int:
        return self.sections[0].duration_ms


def plan_of(prompt: str, duration_s: float) -> CompositionPlan:
    """Build the plan that amounts to a prompt, for answers."""
    section = Section.model_construct(duration_ms=round(1000 * duration_s))
    return CompositionPlan.model_construct(positive_global_styles=[prompt], sections=[section])


class SongMetadata(BaseModel, frozen=True):
    """ElevenLabs' facts of a song; no model here names or classifies tracks."""

    title: Annotated[None, Field(description="No title is made up.")] = None
    description: Annotated[str, Field(description="The prompt.")]
    genres: list[str] = []
    languages: Annotated[list[str], Field(description="Empty: nobody sings.")] = []
    is_explicit: Annotated[bool, Field(description="Nobody sings.")] = False
