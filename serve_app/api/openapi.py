"""OpenAPI documentation of bodies and answers that FastAPI cannot derive."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from serve_app.api.errors import (
    OriginNotAllowed,
    Overloaded,
    RangeNotSatisfiable,
    UnsupportedEncoding,
)
from serve_app.api.schemas.problem import ApiProblem, ElevenLabsProblem, Problem
from serve_app.api.schemas.tracks import Variations
from serve_app.audio.file_format import FORMATS
from serve_app.error_bodies import PROBLEM_MEDIA_TYPE
from serve_app.errors import (
    DeadlineExceeded,
    DurationTooLong,
    FormatNotSigned,
    GenerationFailed,
    InvalidAudio,
    InvalidRequest,
    MelodyNotSupported,
    ModelLoading,
    ModelNotFound,
    PayloadTooLarge,
    PromptTooLong,
    QueueFull,
    RateLimited,
    ReplicaFailed,
    RequestTimeout,
    ServeAppError,
    SigningFailed,
    StreamNotFound,
    Unauthorized,
)
from serve_app.jobs.errors import JobStoreUnavailable, ResultsUnavailable
from serve_app.track_fields import HEADERS

_ERRORS: tuple[type[ServeAppError], ...] = (
    InvalidRequest, PromptTooLong, DurationTooLong, InvalidAudio, Unauthorized, OriginNotAllowed,
    ModelNotFound, RequestTimeout, PayloadTooLarge, QueueFull, Overloaded, RateLimited, GenerationFailed,
    ServeAppError, ReplicaFailed, ModelLoading, DeadlineExceeded, UnsupportedEncoding,
    FormatNotSigned, SigningFailed,
)  # fmt: skip
_FILE_ERRORS: tuple[type[ServeAppError], ...] = (
    InvalidRequest, InvalidAudio, Unauthorized, OriginNotAllowed, RequestTimeout, PayloadTooLarge,
    Overloaded, QueueFull, RateLimited, DeadlineExceeded, UnsupportedEncoding,
)  # fmt: skip


def header_parameter(
    name: str, description: str, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Document an optional header. schema: None: a text."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema or {"type": "string"},
    }


TIMEOUT = header_parameter(
    "x-musicgen-timeout-seconds",
    "Deadline of the request, in seconds from now. A track or file that is not finished by then is "
    "aborted, whether it waits or runs: `504`.",
    {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
)
WAIT = header_parameter(
    "prefer",
    "`wait=N` (RFC 7240): a deadline of N seconds for the track. The soonest deadline counts.",
)
TRACK_DEADLINES = [TIMEOUT, WAIT]
Responses = dict[int | str, dict[str, Any]]


def body(content: dict[str, Any]) -> dict[str, Any]:
    """Document an operation whose body the route reads by itself."""
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Document an operation that makes a track from a JSON body, and the headers of its deadline."""
    return body(json_content(schema_of(model))) | {"parameters": TRACK_DEADLINES}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the model's JSON schema with its references inlined."""
    return copy.deepcopy(_inlined_schema(model))


@functools.cache
def _inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
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


def errors(
    *kinds: type[ServeAppError],
    body: type[BaseModel] = ApiProblem,
    media_type: str = PROBLEM_MEDIA_TYPE,
) -> Responses:
    """Document each status with the codes of its problems, whose form is `body`."""
    documented: Responses = {}
    schema = schema_of(body)
    for status in sorted({error.status for error in kinds}):
        text = "; ".join(
            f"`{error.code}`: {error.title}" for error in kinds if error.status == status
        )
        documented[status] = {
            "description": text,
            "content": {media_type: {"schema": schema}},
        }
    return documented


def stream_responses() -> Responses:
    """Document a streamed file and its headers."""
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
    }
    ok = {"description": "The track", "content": file_content(), "headers": headers}
    return {200: ok} | errors(*_ERRORS)


def redirect_responses() -> Responses:
    """Document the redirect to a stream."""
    location = {"description": "Address of the stream", "schema": {"type": "string"}}
    found = {"description": "The stream", "content": {}, "headers": {"location": location}}
    return {303: found} | errors(*_ERRORS)


def playback_responses() -> Responses:
    """Document the file of a stream, whole or in part."""
    documented = stream_responses()
    part = {"description": "The range that was asked for", "content": file_content()}
    return documented | {206: part} | errors(*_ERRORS, StreamNotFound, RangeNotSatisfiable)


def elevenlabs_responses(*, multipart: bool = False) -> Responses:
    """Document the answers of ElevenLabs' routes: a file, alone or beside its facts."""
    documented = stream_responses()[200]
    if multipart:
        documented["content"] = {"multipart/mixed": {"schema": {"type": "string"}}}
    failures = errors(*_ERRORS, body=ElevenLabsProblem, media_type="application/json")
    return {200: documented} | failures


def generation_responses() -> Responses:
    """Document a generation's answers: a file, server-sent events, or JSON."""
    documented = speech_responses()
    failures = errors(*_ERRORS, MelodyNotSupported, JobStoreUnavailable, ResultsUnavailable)
    return documented | failures | {200: documented[200] | {"model": Variations}}


def speech_responses() -> Responses:
    """Document the answers to a request for speech: a file, or server-sent events."""
    documented = stream_responses()
    documented[200]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return documented


def conversion_responses() -> Responses:
    """Document a conversion's answers: a file, or an error of the uploaded file."""
    file = {200: {"description": "The file", "content": file_content()}}
    return file | errors(*_FILE_ERRORS, FormatNotSigned, SigningFailed)


def check_responses() -> Responses:
    """Document the answers of a check: errors of the uploaded file beside the report."""
    return errors(*_FILE_ERRORS)


def contract_responses(ok: dict[str, Any], failure: str, statuses: Sequence[int]) -> Responses:
    """Document a route with a contract of its own.

    ok: content of its 200; failure: the field that tells the error, in answers of these statuses.
    """
    documented: Responses = {200: {"description": "The answer of the contract", "content": ok}}
    documented |= errors(
        Unauthorized,
        OriginNotAllowed,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedEncoding,
        body=Problem,
    )
    schema = {"type": "object", "required": [failure], "properties": {failure: {"type": "string"}}}
    for status in statuses:
        documented[status] = {
            "description": f"`{failure}` tells the error",
            "content": json_content(schema),
        }
    return documented


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def file_content() -> dict[str, Any]:
    """Document a file of any format."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {spec.media_type: binary for spec in FORMATS.values()}
