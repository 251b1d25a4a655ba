"""The bodies of the v1 API."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve_app.audio.file_format import Encoding, FileFormat, SampleFormat
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.types import CfgCoef, DurationS, LoadedModel, ModelCard, SamplingParams, Seed, Temperature, TopK, TopP

_DEFAULTS = SamplingParams()

ResponseFormat = Annotated[
    Literal["wav", "flac", "mp3", "opus", "pcm"],
    Field(description="The file to answer with: opus in Ogg, pcm bare little-endian samples."),
]


class Generation(BaseModel):
    """A piece of music to make."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(min_length=1, description="What the music should be like.")]
    model: Annotated[str | None, Field(description="A served model's id or alias; the default model when absent.")] = (
        None
    )
    duration_s: Annotated[DurationS, Field(description="Seconds of music.")] = 30.0
    temperature: Annotated[Temperature, Field(description="0 takes the likeliest code always.")] = _DEFAULTS.temperature
    top_k: Annotated[TopK, Field(description="Draw from so many of the likeliest codes; 0: all.")] = _DEFAULTS.top_k
    top_p: Annotated[TopP, Field(description="Draw from the likeliest codes of this mass; replaces top_k above 0.")] = (
        _DEFAULTS.top_p
    )
    cfg_coef: Annotated[CfgCoef, Field(description="How closely to follow the prompt; 1: no guidance.")] = (
        _DEFAULTS.cfg_coef
    )
    seed: Annotated[Seed | None, Field(description="The same seed makes the same music; drawn when absent.")] = None
    response_format: ResponseFormat = "wav"
    sample_rate: Annotated[int | None, Field(description="In Hz; the model's own, or what the format has.")] = None
    sample_format: Annotated[Literal["int16", "float32"], Field(description="Of wav and pcm.")] = "int16"
    bitrate_kbps: Annotated[int | None, Field(description="Of mp3 (default: 192) and opus (default: 128).")] = None
    normalization: Annotated[
        Literal["none", "clip", "peak", "rms", "loudness"],
        Field(description="Peak at -1 dBFS, root mean square at -18 dBFS, or loudness_lufs; never beyond -1 dBFS."),
    ] = "none"
    loudness_lufs: Annotated[
        float, Field(ge=-40.0, le=-5.0, description="What `loudness` brings the piece to.")
    ] = -14.0
    fade_in_s: Annotated[float, Field(ge=0.0, le=30.0, description="Seconds.")] = 0.0
    fade_out_s: Annotated[float, Field(ge=0.0, le=30.0, description="Seconds.")] = 0.0

    def sampling(self) -> SamplingParams:
        return SamplingParams(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, cfg_coef=self.cfg_coef, seed=self.seed
        )

    def encoding(self) -> Encoding:
        """Raises InvalidRequest for what the format cannot hold."""
        file_format, sample_format = FileFormat(self.response_format), SampleFormat(self.sample_format)
        return Encoding(file_format, self.sample_rate, sample_format, self.bitrate_kbps)

    def mastering(self) -> Mastering:
        return Mastering(Normalization(self.normalization), self.loudness_lufs, self.fade_in_s, self.fade_out_s)


class GenerationBody(Generation):
    """A piece of music to make."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"prompt": "calm ambient piano, 70 bpm", "duration_s": 8, "seed": 7}]},
    )

    stream: Annotated[bool, Field(description="Send the audio while it is being made.")] = False
    stream_format: Annotated[
        Literal["audio", "sse"],
        Field(
            description="A stream's: the file's bytes, or server-sent events (`progress`, `audio`, `done`, `error`)."
        ),
    ] = "audio"

    @model_validator(mode="after")
    def _only_streams_have_a_format(self) -> Self:
        if self.stream_format == "sse" and not self.stream:
            raise ValueError("stream_format 'sse' needs stream: true")
        return self


class StreamQuery(Generation):
    """A piece of music to play while it is being made."""

    response_format: ResponseFormat = "mp3"


class Model(BaseModel):
    """A served model. What only a loaded model knows is null while no replica runs."""

    id: Annotated[str, Field(description="The name to ask for it by.")]
    object: Literal["model"] = "model"
    aliases: Annotated[list[str], Field(description="Further names it answers to.")]
    source: Annotated[str, Field(description="Where its weights come from.")]
    license: Annotated[str, Field(description="The licence of its weights; CC-BY-NC-4.0 forbids commercial use.")]
    loaded: Annotated[bool, Field(description="Whether a replica is ready for requests.")]
    sample_rate: Annotated[int | None, Field(description="Samples a second.")] = None
    channels: Annotated[int | None, Field(description="1 for mono, 2 for stereo.")] = None
    max_duration_s: Annotated[float | None, Field(description="The longest piece, in seconds.")] = None

    @classmethod
    def of(cls, card: ModelCard, loaded: LoadedModel | None) -> "Model":
        return cls(
            id=card.model_id,
            aliases=list(card.aliases),
            source=card.source,
            license=card.license,
            loaded=loaded is not None,
            sample_rate=loaded.sample_rate if loaded else None,
            channels=loaded.channels if loaded else None,
            max_duration_s=loaded.max_duration_s if loaded else None,
        )


class ModelList(BaseModel):
    """The served models, the default first."""

    object: Literal["list"] = "list"
    data: list[Model]


class Problem(BaseModel):
    """An error, as RFC 9457 problem details."""

    type: str
    title: Annotated[str, Field(description="What kind of error it is.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong with this request.")]
    code: Annotated[str, Field(description="The kind of error, stable, for programs.")]
