"""Requests of OpenAI's `POST /v1/audio/speech`, with this API's own options beside its fields."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from serve_app.api.schemas.absent_nulls import AbsentNulls
from serve_app.api.schemas.generation import Generation
from serve_app.api.schemas.refusal import only, only_empty, refusal
from serve_app.audio.file_format import FORMATS, PCM, Encoding
from serve_app.audio.file_options import FORMATS_TEXT, FormatName

if TYPE_CHECKING:
    InstructionsField = str
    SpeedField = float
else:
    InstructionsField = Annotated[
        str, Field(max_length=0, description="Only empty: put the style of the music into `input`.")
    ]
    SpeedField = Annotated[
        FiniteFloat, Field(description="Only 1.", json_schema_extra={"const": 1.0})
    ]

_PCM_RATE = 24_000  # which OpenAI's clients take `pcm` to have


def only_normal_speed(speed: float) -> float:
    """Return a speed of 1. Raises for another."""
    return only(1.0, speed, "name the tempo in the prompt")


def offered_format(name: Any) -> Any:
    """Return the format. Raises for `aac`, which the encoder lacks."""
    if name == "aac":
        raise refusal(f"aac is not available: use one of {', '.join(FORMATS)}")
    return name


class Voice(BaseModel, frozen=True):
    """A voice by its id."""

    id: str


class Speech(AbsentNulls, Generation, frozen=True):
    """Music to make, in the form of a request for speech."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [{"input": "calm ambient piano", "voice": "none", "duration_s": 8}]
        },
    )

    prompt: Annotated[str, Field(alias="input", description="Text that describes the music.")]
    voice: Annotated[
        str | Voice | None,
        Field(description="Without effect: OpenAI's clients must send it, and no voice sings."),
    ] = None
    instructions: InstructionsField = ""
    response_format: Annotated[
        FormatName,
        Field(description=f"Format of the file. {FORMATS_TEXT}; at {_PCM_RATE} Hz by default."),
    ] = "mp3"
    speed: SpeedField = 1.0
    stream_format: Annotated[
        Literal["audio", "sse"] | None,
        Field(
            description="Send the music while it is made: as the file's bytes, or as server-sent "
            "events (`speech.audio.delta`, `speech.audio.done`, `error`)."
        ),
    ] = None

    _only_normal_speed = field_validator("speed")(only_normal_speed)
    _offered_format = field_validator("response_format", mode="before")(offered_format)

    @field_validator("voice", mode="before")
    @classmethod
    def _any_voice(cls, voice: Any) -> Any:
        is_id = isinstance(voice, dict) and isinstance(voice.get("id"), str)
        if voice is None or isinstance(voice, str) or is_id:
            return voice
        raise refusal("must be a name, or an object with an id")

    @field_validator("instructions", mode="before")
    @classmethod
    def _no_instructions(cls, text: Any) -> Any:
        return only_empty(text, "there is no voice to instruct: describe the music in input")

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that have no effect."""
        return ["voice"] if self.voice is not None else []

    def encoding(self) -> Encoding:
        """Collect the options of the encoder.

        Raises InvalidRequest for options that the format lacks.
        """
        encoding = super().encoding()
        if encoding.file_format is PCM and encoding.sample_rate is None:
            return Encoding(PCM, _PCM_RATE, encoding.sample_format)
        return encoding
