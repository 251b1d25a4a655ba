"""What the v1 API's documentation says of its answers."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from serve_app.api.error_handlers import PROBLEM_MEDIA_TYPE
from serve_app.api.schemas import Problem, Variations
from serve_app.audio.file_format import FileFormat
from serve_app.errors import (
    DeadlineExceeded,
    DurationTooLong,
    GenerationFailed,
    InvalidAudio,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    PayloadTooLarge,
    PromptTooLong,
    QueueFull,
    RateLimited,
    ReplicaFailed,
    ServeAppError,
    Unauthorized,
)

_ERRORS: tuple[type[ServeAppError], ...] = (
    InvalidRequest, PromptTooLong, DurationTooLong, InvalidAudio, Unauthorized, ModelNotFound, PayloadTooLarge,
    QueueFull, RateLimited, GenerationFailed, ServeAppError, ReplicaFailed, ModelLoading, DeadlineExceeded,
)  # fmt: skip

HEADERS = {
    "x-musicgen-model": "The model that made the music.",
    "x-musicgen-seed": "The seed that makes it again.",
    "x-musicgen-license": "The licence of the model's weights.",
    "x-musicgen-sample-rate": "Samples a second.",
    "x-musicgen-duration-s": "Seconds of music.",
    "x-musicgen-queue-s": "Seconds the request waited for a slot.",
    "x-musicgen-time-to-first-audio-s": "Seconds until the first audio was there.",
    "x-musicgen-generation-s": "Seconds from the slot to the last sample.",
    "x-musicgen-real-time-factor": "Seconds of music per second of generation.",
    "x-musicgen-compute-s": "Seconds of the replica: this piece's share, where others were made besides.",
    "x-musicgen-cost-usd": "US dollars, where a replica's price is known.",
}


TIMEOUT = {
    "name": "x-request-timeout-seconds",
    "in": "header",
    "required": False,
    "description": "How long the caller waits. What is not finished by then is given up, wherever it is: `504`.",
    "schema": {"type": "number", "minimum": 1, "maximum": 3600},
}
Responses = dict[int | str, dict[str, Any]]


def body(content: dict[str, Any]) -> dict[str, Any]:
    """An operation whose body the route reads by itself."""
    return {"requestBody": {"required": True, "content": content}}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema without references."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(one) for one in part]
        if not isinstance(part, dict):
            return part
        named = definitions.get(part.get("$ref", "").rpartition("/")[2], {})
        return {name: inlined(one) for name, one in (named | part).items() if name != "$ref"}

    found: dict[str, Any] = inlined(schema)
    return found


def errors(*kinds: type[ServeAppError]) -> Responses:
    """Each status with its problems' codes."""
    documented: Responses = {}
    for status in sorted({error.status for error in kinds}):
        text = "; ".join(
            f"`{error.code}`: {error.title}" for error in kinds if error.status == status
        )
        documented[status] = {
            "description": text,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": schema_of(Problem)}},
        }
    return documented


def stream_responses() -> Responses:
    """The file, and what its headers tell."""
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
    }
    return {200: {"description": "The music", "content": _files(), "headers": headers}} | errors(
        *_ERRORS
    )


def generation_responses() -> Responses:
    """Besides the file, events or JSON."""
    documented = stream_responses()
    documented[200]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return documented | {200: documented[200] | {"model": Variations}}


def conversion_responses() -> Responses:
    """The file, or what is wrong with the one that was sent."""
    file = {200: {"description": "The file", "content": _files()}}
    return file | errors(InvalidRequest, InvalidAudio, Unauthorized, PayloadTooLarge)


def contract_responses(ok: dict[str, Any], failure: str, statuses: Sequence[int]) -> Responses:
    """Of an existing caller's route: `ok` is the content of its 200, `failure` the field that says what went wrong."""
    documented: Responses = {200: {"description": "As the contract has it", "content": ok}}
    documented |= errors(Unauthorized, PayloadTooLarge)
    schema = {"type": "object", "required": [failure], "properties": {failure: {"type": "string"}}}
    for status in statuses:
        documented[status] = {
            "description": f"`{failure}` says what went wrong",
            "content": json_content(schema),
        }
    return documented


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _files() -> dict[str, Any]:
    return {
        file_format.media_type: {"schema": {"type": "string", "format": "binary"}}
        for file_format in FileFormat
    }
