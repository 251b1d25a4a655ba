"""Requests of Replicate's clients, and the answers that are not a prediction."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from serve_app.api.schemas.absent_nulls import AbsentNulls
from serve_app.api.schemas.jobs import Url
from serve_app.jobs.prediction import Prediction
from serve_app.types import MAX_SEED, CfgCoef, Temperature, TopK, TopP, draw_seed

WebhookFilter = Literal["start", "output", "logs", "completed"]


def _whole(value: Any) -> Any:
    """Read 8.0 as 8: JSON does not tell them apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WHOLE = BeforeValidator(_whole)  # after the Field, whose bounds would else not be documented


class MusicGenInput(AbsentNulls, frozen=True, protected_namespaces=()):
    """The input of `meta/musicgen` (replicate/cog-musicgen, predict.py)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model_version: Annotated[
        str | None, Field(description="Id or alias of a served model; the default when absent.")
    ] = None
    prompt: Annotated[
        str, Field(description="Text that describes the music. Optional with input_audio.")
    ] = ""
    input_audio: Annotated[
        str | None,
        Field(
            description="Audio to continue, with `continuation`, else audio whose melody the track "
            "follows, for models that take one: a data URL, an address of http or https, or a file "
            "of `/v1/files`."
        ),
    ] = None
    duration: Annotated[
        int,
        Field(ge=1, le=3600, description="Seconds to make, those of input_audio not included."),
        _WHOLE,
    ] = 8
    continuation: Annotated[bool, Field(description="Whether the track continues input_audio.")] = (
        False
    )
    continuation_start: Annotated[
        int,
        Field(ge=0, description="Second of input_audio at which the part that is used begins."),
        _WHOLE,
    ] = 0
    continuation_end: Annotated[
        int | None,
        Field(ge=-1, description="Second at which it ends; -1: the file's end."),
        _WHOLE,
    ] = None
    multi_band_diffusion: Annotated[
        bool,
        Field(description="Whether to decode by MultiBand Diffusion, where it is configured."),
    ] = False
    normalization_strategy: Annotated[
        Literal["loudness", "clip", "peak", "rms"], Field(description="Gain, as `normalization`.")
    ] = "loudness"
    top_k: Annotated[TopK, _WHOLE] = 250
    top_p: TopP = 0.0
    temperature: Temperature = 1.0
    classifier_free_guidance: CfgCoef = 3.0
    output_format: Annotated[Literal["wav", "mp3"], Field(description="Format of the file.")] = (
        "wav"
    )
    seed: Annotated[
        int,
        Field(ge=-1, le=MAX_SEED, description="Drawn when absent, null, -1 or 0."),
        _WHOLE,
    ] = 0

    @property
    def drawn_seed(self) -> int:
        """The seed of the track; each call draws another where none is named."""
        return self.seed if self.seed > 0 else draw_seed()

    @property
    def is_melody(self) -> bool:
        """Whether `input_audio` is a melody."""
        return self.input_audio is not None and not self.continuation

    @property
    def named_part(self) -> str | None:
        """The field that names a part of `input_audio`; None: the whole file is meant."""
        if self.continuation_start:
            return "continuation_start"
        return None if self.continuation_end in (None, -1) else "continuation_end"


class PredictionBody(AbsentNulls, frozen=True):
    """A prediction to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Annotated[dict[str, Any], Field(description="Fields of `meta/musicgen`.")]
    version: Annotated[
        str | None, Field(description="Version id, `owner/name` or `owner/name:id`.")
    ] = None
    stream: Annotated[
        bool, Field(description="Without effect: every prediction has events at `urls.stream`.")
    ] = False
    webhook: Annotated[Url | None, Field(description="Receiver of the prediction's changes.")] = (
        None
    )
    webhook_events_filter: Annotated[
        list[WebhookFilter] | None,
        Field(
            min_length=1,
            description="Changes to tell; all when absent. `output` is told at the end.",
        ),
    ] = None
    webhook_completed: Annotated[
        Url | None, Field(description="Older form of a webhook with the filter `completed`.")
    ] = None

    @model_validator(mode="after")
    def _check_webhooks(self) -> Self:
        if self.webhook is not None and self.webhook_completed is not None:
            raise ValueError("webhook_completed: is an older form of webhook, send one of them")
        filters = self.webhook_events_filter
        if filters is None:
            return self
        if self.webhook is None and self.webhook_completed is None:
            raise ValueError("webhook_events_filter: needs webhook")
        if self.webhook is None and set(filters) != {"completed"}:
            raise ValueError(
                "webhook_events_filter: needs webhook, for webhook_completed has its own"
            )
        return self

    @property
    def ignored(self) -> list[str]:
        """Fields without effect that were sent."""
        return ["stream"] if "stream" in self.model_fields_set else []


class Page(BaseModel):
    """A page of a list in Replicate's form."""

    previous: None = None
    next: Annotated[str | None, Field(description="Path of the next page.")] = None


class PredictionPage(Page):
    """Predictions, the newest first."""

    results: list[Prediction]


class ModelVersion(BaseModel):
    """A version of a model."""

    id: Annotated[str, Field(description="Id of the version.")]
    created_at: Annotated[str, Field(description="Time of the service's start.")]
    cog_version: Annotated[str, Field(description="Without meaning here.")]
    openapi_schema: Annotated[
        dict[str, Any], Field(description="Schemas of the input and the output.")
    ]


class VersionPage(Page):
    """The versions of a model: one."""

    results: list[ModelVersion]


class HostedModel(BaseModel):
    """A served model in Replicate's form."""

    url: Annotated[str, Field(description="Address of this description.")]
    owner: Annotated[str, Field(description="First part of the name.")]
    name: Annotated[str, Field(description="Second part of the name.")]
    description: Annotated[str, Field(description="Source and licence of the weights.")]
    visibility: Literal["public", "private"] = "public"
    github_url: None = None
    paper_url: None = None
    license_url: None = None
    run_count: Annotated[int, Field(description="Not counted: 0.")] = 0
    cover_image_url: None = None
    default_example: None = None
    latest_version: Annotated[ModelVersion | None, Field(description="Null in lists.")] = None


class WebhookKey(BaseModel):
    """The secret of webhooks."""

    key: Annotated[str, Field(description="`whsec_` and base64.")]
