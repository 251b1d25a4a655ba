"""Requests for tracks. Their sampling parameters are the fields of `SamplingParams`."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from serve_app.api.schemas.conversion import without_empty_texts
from serve_app.api.schemas.refusal import refusal
from serve_app.audio.file_format import FORMATS, FormatSpec
from serve_app.audio.file_options import FORMATS_TEXT, FileOptions, FormatName
from serve_app.audio.upload_format import UPLOAD_FORMATS
from serve_app.types import (
    ENCODEC,
    MAX_SEED,
    Decoder,
    DurationS,
    ExtendStrideS,
    SamplingParams,
)

if TYPE_CHECKING:
    FormatOrJson = str
    StreamFormatName = str
else:  # derived from the table, which a type checker cannot evaluate
    FormatOrJson = Literal[(*FORMATS, "json")]
    StreamFormatName = Literal[tuple(name for name, spec in FORMATS.items() if spec.streamable)]

OF_JOBS = ("webhook", "upload", "priority", "metadata", "expires_in_s", "deadline_s")


class Generation(FileOptions, SamplingParams, frozen=True):
    """A track to make."""

    prompt: Annotated[str, Field(description="Text that describes the music.")]
    model: Annotated[
        str | None,
        Field(
            description="Id or alias of a served model; the default model when absent; "
            "`auto`: the largest model that is expected to finish the track within max_wait_s."
        ),
    ] = None
    max_wait_s: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=3600.0,
            allow_inf_nan=False,
            description="Seconds within which the track should be finished; 60 for `auto` when "
            "absent. A named model that is expected to take longer answers 429 at once, one "
            "without a replica 503. When absent, the request waits.",
        ),
    ] = None
    duration_s: Annotated[
        DurationS, Field(description="Duration in seconds, including the audio prompt.")
    ] = 30.0
    extend_stride_s: Annotated[
        ExtendStrideS | None,
        Field(
            description="Seconds by which the model's window slides in a track longer than the "
            "window; when absent 18, of an AudioGen 2."
        ),
    ] = None
    decoder: Annotated[
        Decoder,
        Field(
            description="Decoder of the codes. encodec; multiband_diffusion: better sound and many "
            "times the computation, for whole tracks of models that are configured with it."
        ),
    ] = ENCODEC

    def sampling(self) -> SamplingParams:
        """Collect the sampling parameters."""
        return SamplingParams.model_validate(
            self.model_dump(include=set(SamplingParams.model_fields))
        )


class PromptedGeneration(Generation, frozen=True):
    """A track to make from a text, from the beginning or a melody in an audio file, or from several."""

    prompt: Annotated[
        str,
        Field(
            description="Text that describes the music. Optional with an audio prompt or a melody."
        ),
    ] = ""
    audio_prompt: Annotated[
        str | None,
        Field(
            description="Beginning of the track, which the model continues: "
            f"a {UPLOAD_FORMATS} file, in base64, or as a form's file, or the address of a file that "
            "this service keeps (`/v1/jobs/ID/audio/N`, `/v1/files/ID`)."
        ),
    ] = None
    melody: Annotated[
        str | None,
        Field(
            description="Audio whose melody the track follows, for models with the capability "
            "`melody`: a file, sent likewise."
        ),
    ] = None


class GenerationBody(PromptedGeneration, frozen=True):
    """A track to make."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [{"prompt": "calm ambient piano, 70 bpm", "duration_s": 8, "seed": 7}]
        },
    )

    n: Annotated[
        int,
        Field(
            ge=1,
            le=8,
            description="Number of variations, with the seed and the following ones; above 1 it "
            "needs response_format `json`.",
        ),
    ] = 1
    response_format: Annotated[
        FormatOrJson,
        Field(
            description=f"Format of the file, or `json`: JSON with base64 files. {FORMATS_TEXT}."
        ),
    ] = "wav"
    audio_format: Annotated[
        FormatName | None, Field(description="Format of the files in `json`; wav when absent.")
    ] = None
    stream: Annotated[
        bool, Field(description="Whether to send the audio while it is being made.")
    ] = False
    stream_format: Annotated[
        Literal["audio", "sse"],
        Field(
            description="Form of a stream: the file's bytes, or server-sent events "
            "(`progress`, `audio`, `done`, `error`)."
        ),
    ] = "audio"

    @model_validator(mode="before")
    @classmethod
    def _is_no_job(cls, fields: object) -> object:
        for name in OF_JOBS:
            if isinstance(fields, dict) and name in fields:
                raise refusal("is a field of jobs: send the request to /v1/jobs", name)
        return fields

    @property
    def file_format(self) -> FormatSpec:
        if self.response_format == "json":
            return FORMATS[self.audio_format or "wav"]
        return super().file_format

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        is_json = self.response_format == "json"
        if self.stream_format == "sse" and not self.stream:
            raise refusal("'sse' needs stream: true", "stream_format")
        if self.stream and is_json:
            raise refusal("'json' cannot be streamed; stream_format 'sse' can", "response_format")
        if self.stream:
            refuse_whole_tracks(self.decoder)
        if self.n > 1 and not is_json:
            raise refusal("above 1 it needs response_format 'json'", "n")
        if self.audio_format is not None and not is_json:
            raise refusal("needs response_format 'json'", "audio_format")
        if self.seed + self.n - 1 > MAX_SEED:
            raise refusal(f"must be at most {MAX_SEED + 1 - self.n} for n variations", "seed")
        return self


class GenerationForm(GenerationBody, frozen=True):
    """A track to make, sent as a form, whose fields are text. An empty field counts as absent."""

    model_config = ConfigDict(strict=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_fields(cls, fields: object) -> object:
        return without_empty_texts(fields)


def refuse_whole_tracks(decoder: Decoder) -> None:
    """Refuse a decoder of whole tracks for a stream."""
    if decoder != ENCODEC:
        raise refusal(
            f"'{decoder}' decodes whole tracks only and makes no streams: ask for the whole file, or "
            f"for '{ENCODEC}'",
            "decoder",
        )


class StreamQuery(Generation, frozen=True):
    """A track to play while it is being made. An empty field counts as absent."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_fields(cls, fields: object) -> object:
        return without_empty_texts(fields)

    @model_validator(mode="after")
    def _is_streamable(self) -> Self:
        refuse_whole_tracks(self.decoder)
        return self

    response_format: Annotated[
        StreamFormatName,
        Field(
            description=f"Format of the file. {FORMATS_TEXT}. A service may have another default "
            "(`api.stream_default_format`)."
        ),
    ] = "mp3"
