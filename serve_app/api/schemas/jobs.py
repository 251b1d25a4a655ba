"""Requests for jobs, and the answers that are not a job."""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from serve_app.api.schemas.conversion import without_empty_texts
from serve_app.api.schemas.generation import PromptedGeneration
from serve_app.jobs.description import JobDescription
from serve_app.jobs.job import MAX_PRIORITY, EventName, JobRequest, Webhook

MOST_METADATA_BYTES = 4096
MOST_DEADLINE_S = 604_800.0
_MOST_URL_CHARS = 2048
_MOST_HEADERS = 20
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}", re.ASCII)
_OWN_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te"}
_NESTED = ("webhook", "upload", "metadata")

Url = Annotated[
    str, Field(max_length=_MOST_URL_CHARS, pattern=r"^https?://", description="Its address.")
]


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """Refuse headers that would change the request, or cannot be sent."""
    if len(headers) > _MOST_HEADERS:
        raise ValueError(f"at most {_MOST_HEADERS} headers are sent")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise ValueError(f"header '{name[:100]}' cannot be set")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of header '{name}' must be printable ASCII")
    return headers


class WebhookBody(BaseModel, frozen=True, extra="forbid", strict=True):
    """The receiver of messages on the job, signed by Standard Webhooks."""

    url: Url
    events: Annotated[
        list[EventName],
        Field(
            min_length=1,
            max_length=3,
            description="`started`, `progress` (at most every two seconds) and `completed`, also of a "
            "job that failed or was canceled.",
        ),
    ] = ["completed"]

    def webhook(self) -> Webhook:
        return Webhook(url=self.url, events=tuple(dict.fromkeys(self.events)))


class UploadBody(BaseModel, frozen=True, extra="forbid", strict=True):
    """A signed address that takes the file by PUT, instead of the service's own store."""

    url: Url
    headers: Annotated[
        dict[str, str],
        AfterValidator(_checked_headers),
        Field(description="Headers of the PUT, at most 20."),
    ] = {}


def _checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError("must hold finite numbers: JSON has no NaN and no infinity") from error
    size = len(text.encode(errors="surrogatepass"))
    if size > MOST_METADATA_BYTES:
        raise ValueError(f"has {size} bytes as JSON, and the limit is {MOST_METADATA_BYTES}")
    return metadata


class JobBody(PromptedGeneration, frozen=True):
    """A job to make. The fields of a generation, and those of the job itself."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"prompt": "calm ambient piano, 70 bpm", "duration_s": 8, "response_format": "mp3"}
            ]
        },
    )

    n: Annotated[
        int,
        Field(
            ge=1, le=8, description="Number of variations, with the seed and the following ones."
        ),
    ] = 1
    priority: Annotated[
        int,
        Field(
            ge=-MAX_PRIORITY,
            le=MAX_PRIORITY,
            description="Of one key, jobs of a higher priority start before those of a lower one.",
        ),
    ] = 0
    webhook: Annotated[
        WebhookBody | None, Field(description="Receiver of messages on the job.")
    ] = None
    upload: Annotated[
        UploadBody | None,
        Field(description="Signed address that takes the file by PUT; only with n = 1."),
    ] = None
    metadata: Annotated[
        dict[str, Any],
        AfterValidator(_checked_metadata),
        Field(description="Any JSON object of at most 4 KB, which the job's JSON repeats."),
    ] = Field(default_factory=dict)
    expires_in_s: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=1e9,
            allow_inf_nan=False,
            description="Seconds for which the files are kept after the end; a day when absent.",
        ),
    ] = None
    deadline_s: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=MOST_DEADLINE_S,
            allow_inf_nan=False,
            description="Seconds from now within which the job must have ended, else it fails.",
        ),
    ] = None

    def request(self) -> JobRequest:
        """Collect the fields of the tracks; the model as it is named."""
        fields = self.model_dump(include=set(JobRequest.model_fields) - {"audio_prompt", "melody"})
        return JobRequest.model_validate(fields | {"model": self.model or ""})


class JobForm(JobBody, frozen=True):
    """A job to make, sent as a form; objects are JSON texts. An empty field counts as absent."""

    model_config = ConfigDict(strict=False)

    @model_validator(mode="before")
    @classmethod
    def _read_texts(cls, fields: object) -> object:
        given = without_empty_texts(fields)
        if not isinstance(given, dict):
            return given
        return given | {name: _parsed(given[name]) for name in _NESTED if name in given}


def _parsed(text: object) -> object:
    """Parse the JSON of a field; leave a text that is none to the field's own rule."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class JobList(BaseModel):
    """A page of jobs, the newest first."""

    object: Literal["list"] = "list"
    data: list[JobDescription]
    next_cursor: Annotated[
        str | None, Field(description="`cursor` of the next page; null on the last one.")
    ]


class WebhookSecrets(BaseModel):
    """Secrets that sign the webhooks of one API key."""

    secret: Annotated[str, Field(description="The newest secret, `whsec_` and base64.")]
    secrets: Annotated[
        list[str], Field(description="All secrets in force: each message is signed with each.")
    ]


class Redelivery(BaseModel):
    """Messages that are sent again."""

    deliveries: Annotated[int, Field(description="Number of messages.")]
