"""The bodies of the v1 API."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve_app.audio.file_format import Encoding, FileFormat, SampleFormat
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.types import (
    MAX_SEED,
    CfgCoef,
    DurationS,
    ExtendStrideS,
    LoadedModel,
    ModelCard,
    SamplingParams,
    Seed,
    Temperature,
    TopK,
    TopP,
)

_DEFAULTS = SamplingParams()

AudioFormat = Literal["wav", "flac", "mp3", "opus", "pcm"]


class FileOptions(BaseModel):
    """The file to answer with."""

    model_config = ConfigDict(extra="forbid")

    response_format: Annotated[
        AudioFormat,
        Field(description="The file to answer with: opus in Ogg, pcm bare little-endian samples."),
    ] = "wav"
    sample_rate: Annotated[
        int | None, Field(description="In Hz; the model's own, or what the format has.")
    ] = None
    sample_format: Annotated[Literal["int16", "float32"], Field(description="Of wav and pcm.")] = (
        "int16"
    )
    bitrate_kbps: Annotated[
        int | None, Field(description="Of mp3 (default: 192) and opus (default: 128).")
    ] = None
    normalization: Annotated[
        Literal["none", "clip", "peak", "rms", "loudness"],
        Field(
            description="Peak at -1 dBFS, root mean square at -18 dBFS, or loudness_lufs; never beyond -1 dBFS."
        ),
    ] = "none"
    loudness_lufs: Annotated[
        float, Field(ge=-40.0, le=-5.0, description="What `loudness` brings the piece to.")
    ] = -14.0
    fade_in_s: Annotated[float, Field(ge=0.0, le=30.0, description="Seconds.")] = 0.0
    fade_out_s: Annotated[float, Field(ge=0.0, le=30.0, description="Seconds.")] = 0.0

    @property
    def file_format(self) -> FileFormat:
        return FileFormat(self.response_format)

    def encoding(self) -> Encoding:
        """Raises InvalidRequest for what the format cannot hold."""
        return Encoding(
            self.file_format, self.sample_rate, SampleFormat(self.sample_format), self.bitrate_kbps
        )

    def mastering(self) -> Mastering:
        return Mastering(
            Normalization(self.normalization), self.loudness_lufs, self.fade_in_s, self.fade_out_s
        )


class Generation(FileOptions):
    """A piece of music to make."""

    prompt: Annotated[str, Field(description="What the music should be like.")]
    model: Annotated[
        str | None,
        Field(
            description="A served model's id or alias; the default model when absent; `auto`: the largest that is "
            "expected to have made the piece within max_wait_s."
        ),
    ] = None
    max_wait_s: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=3600.0,
            allow_inf_nan=False,
            description="Seconds that the piece may take, 60 for `auto` when absent. Where another model is expected "
            "to take longer (429) or has no replica yet (503), it says so at once; when absent, the request waits.",
        ),
    ] = None
    duration_s: Annotated[
        DurationS, Field(description="Seconds of music, those of an audio prompt included.")
    ] = 30.0
    extend_stride_s: Annotated[
        ExtendStrideS | None,
        Field(
            description="Seconds that the model's window slides at once in a piece longer than it; 18 when absent."
        ),
    ] = None
    temperature: Annotated[Temperature, Field(description="0 takes the likeliest code always.")] = (
        _DEFAULTS.temperature
    )
    top_k: Annotated[
        TopK, Field(description="Draw from so many of the likeliest codes; 0: all.")
    ] = _DEFAULTS.top_k
    top_p: Annotated[
        TopP,
        Field(description="Draw from the likeliest codes of this mass; replaces top_k above 0."),
    ] = _DEFAULTS.top_p
    cfg_coef: Annotated[
        CfgCoef, Field(description="How closely to follow the prompt; 1: no guidance.")
    ] = _DEFAULTS.cfg_coef
    seed: Annotated[
        Seed | None, Field(description="The same seed makes the same music; drawn when absent.")
    ] = None

    def sampling(self) -> SamplingParams:
        return SamplingParams(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            cfg_coef=self.cfg_coef,
            seed=self.seed,
        )


class GenerationBody(Generation):
    """A piece of music to make."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [{"prompt": "calm ambient piano, 70 bpm", "duration_s": 8, "seed": 7}]
        },
    )

    prompt: Annotated[
        str,
        Field(
            description="What the music should be like. May be left out where there is an audio prompt."
        ),
    ] = ""
    audio_prompt: Annotated[
        str | None,
        Field(
            description="What the piece begins with: a wav, flac, mp3 or ogg file, in base64, or a form's file."
        ),
    ] = None
    n: Annotated[
        int, Field(ge=1, le=8, description="Variations: of the seed and the next ones. Needs json.")
    ] = 1
    response_format: Annotated[
        Literal["wav", "flac", "mp3", "opus", "pcm", "json"],
        Field(
            description="The file to answer with: opus in Ogg, pcm bare samples; json has the files in base64."
        ),
    ] = "wav"  # type: ignore[assignment]
    audio_format: Annotated[
        AudioFormat | None, Field(description="Of the files in json; wav when absent.")
    ] = None
    stream: Annotated[bool, Field(description="Send the audio while it is being made.")] = False
    stream_format: Annotated[
        Literal["audio", "sse"],
        Field(
            description="A stream's: the file's bytes, or server-sent events (`progress`, `audio`, `done`, `error`)."
        ),
    ] = "audio"

    @property
    def file_format(self) -> FileFormat:
        return (
            FileFormat(self.audio_format or "wav")
            if self.response_format == "json"
            else super().file_format
        )

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        is_json = self.response_format == "json"
        if self.stream_format == "sse" and not self.stream:
            raise ValueError("stream_format 'sse' needs stream: true")
        if self.stream and is_json:
            raise ValueError("response_format 'json' cannot be streamed; stream_format 'sse' can")
        if self.n > 1 and not is_json:
            raise ValueError("n above 1 needs response_format 'json'")
        if self.audio_format is not None and not is_json:
            raise ValueError("audio_format needs response_format 'json'")
        if self.seed is not None and self.seed + self.n - 1 > MAX_SEED:
            raise ValueError(f"seed must be at most {MAX_SEED + 1 - self.n} for n variations")
        return self


class GenerationForm(GenerationBody):
    """A piece of music to make, from a form: its fields are text."""

    model_config = ConfigDict(strict=False)


class StreamQuery(Generation):
    """A piece of music to play while it is being made."""

    response_format: AudioFormat = "mp3"


class Conversion(FileOptions):
    """A file that is to become another kind of file."""


class Variation(BaseModel):
    """One of the pieces that were made."""

    seed: Annotated[int, Field(description="The seed that makes it again.")]
    audio: Annotated[str, Field(description="The file, in base64.")]
    size_bytes: Annotated[int, Field(description="The file's length.")]
    duration_s: Annotated[float, Field(description="Seconds of music.")]
    queue_s: Annotated[float, Field(description="Seconds it waited for a slot.")]
    time_to_first_audio_s: Annotated[
        float, Field(description="Seconds until the first audio was there.")
    ]
    generation_s: Annotated[float, Field(description="Seconds from the slot to the last sample.")]
    compute_s: Annotated[
        float,
        Field(description="Seconds of the replica: its share where others were made besides."),
    ]
    text_encoder_s: Annotated[float, Field(description="Seconds that reading the prompt took.")]
    first_step_s: Annotated[float, Field(description="Seconds of its first step.")]
    codec_s: Annotated[
        float, Field(description="Seconds that decoding it to audio took, besides the steps.")
    ]
    real_time_factor: Annotated[
        float, Field(description="Seconds of music per second of generation.")
    ]
    cost_usd: Annotated[
        float | None, Field(description="US dollars; null where a replica's price is not known.")
    ]
    model: Annotated[str, Field(description="The model that made it.")]
    license: Annotated[str, Field(description="The licence of the model's weights.")]


class Variations(BaseModel):
    """The pieces that were made, by their seeds."""

    prompt: Annotated[str, Field(description="As it was taken.")]
    format: Annotated[str, Field(description="Of the files.")]
    sample_rate: Annotated[int, Field(description="Of the files.")]
    data: list[Variation]


class Model(BaseModel):
    """A served model. What only a loaded model knows is null while no replica runs."""

    id: Annotated[str, Field(description="The name to ask for it by.")]
    object: Literal["model"] = "model"
    aliases: Annotated[list[str], Field(description="Further names it answers to.")]
    source: Annotated[str, Field(description="Where its weights come from.")]
    license: Annotated[
        str, Field(description="The licence of its weights; CC-BY-NC-4.0 forbids commercial use.")
    ]
    loaded: Annotated[bool, Field(description="Whether a replica is ready for requests.")]
    sample_rate: Annotated[int | None, Field(description="Samples a second.")] = None
    channels: Annotated[int | None, Field(description="1 for mono, 2 for stereo.")] = None
    max_duration_s: Annotated[float | None, Field(description="The longest piece, in seconds.")] = (
        None
    )

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
