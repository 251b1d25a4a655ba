"""Request bodies that may carry audio: JSON with base64, or a form with a file."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from serve_app.api.openapi import json_content, schema_of
from serve_app.api.repeated_fields import refuse_repeated
from serve_app.api.schemas.conversion import Conversion
from serve_app.api.schemas.generation import GenerationBody, GenerationForm, PromptedGeneration
from serve_app.api.schemas.jobs import JobBody, JobForm
from serve_app.audio.upload_format import UPLOAD_FORMATS
from serve_app.errors import InvalidRequest, PayloadTooLarge
from serve_app.provenance_report import MOST_MANIFEST_BYTES

FORM = "multipart/form-data"
_NEITHER = f"The request's body must be a JSON object, or a form ({FORM})"
_FILES = ("audio_prompt", "melody")  # of a generation
_Body = TypeVar("_Body", bound=BaseModel)


class _NoFields(BaseModel, extra="forbid"):
    """Fields of a form with files alone: none."""


def generation_content() -> dict[str, Any]:
    """Document the body of a generation."""
    return _json_or_form(schema_of(GenerationBody))


def job_content() -> dict[str, Any]:
    """Document the body of a job."""
    return _json_or_form(schema_of(JobBody))


def conversion_content() -> dict[str, Any]:
    """Document the body of a conversion."""
    return _content_with_audio(schema_of(Conversion))


def check_content() -> dict[str, Any]:
    """Document the body of a check."""
    manifest = {
        "type": "string",
        "format": "binary",
        "description": "Detached manifest (`.c2pa`) of the file, at most 1 MiB; it is read instead of "
        "the file's own, and fits bare samples (`pcm`), too.",
    }
    properties = {"manifest": manifest}
    return _content_with_audio(
        {"type": "object", "properties": properties, "additionalProperties": False}
    )


async def read_generation(request: Request) -> GenerationBody:
    """Read a generation's body; a form's files become base64.

    Raises RequestValidationError, and InvalidRequest for a body that is neither JSON nor a form.
    """
    fields = await _fields_of(request)
    schema = GenerationForm if _content_type(request) == FORM else GenerationBody
    generation: GenerationBody = _valid(schema, fields)
    _require_prompt(generation)
    return generation


async def read_job(request: Request) -> tuple[JobBody, dict[str, Any]]:
    """Read a job's body likewise; return with it the fields as they were sent."""
    fields = await _fields_of(request)
    job: JobBody = _valid(JobForm if _content_type(request) == FORM else JobBody, fields)
    _require_prompt(job)
    return job, fields


async def _fields_of(request: Request) -> dict[str, Any]:
    """Read the fields of JSON or of a form, whose files become base64. Raises InvalidRequest."""
    if _content_type(request) != FORM:
        return await _json(request, _NEITHER)
    fields = await _form(request, _FILES)
    return {name: await asyncio.to_thread(_base64, value) for name, value in fields.items()}


def _require_prompt(wanted: PromptedGeneration) -> None:
    """Raise RequestValidationError for a track without any prompt."""
    if wanted.prompt or wanted.audio_prompt is not None or wanted.melody is not None:
        return
    is_given = "prompt" in wanted.model_fields_set
    message = "Empty, and there is no audio_prompt or melody" if is_given else "Field required"
    raise RequestValidationError([{"loc": ("body", "prompt"), "msg": message}])


async def read_json(request: Request, schema: type[_Body]) -> _Body:
    """Read a body that must be a JSON object. Raises RequestValidationError and InvalidRequest."""
    return _valid(schema, await _json(request, "The request's body must be a JSON object"))


async def read_conversion(request: Request) -> tuple[Conversion, bytes]:
    """Read a conversion's options and its file.

    Raises RequestValidationError and InvalidRequest.
    """
    fields = await _form_with_audio(request, ("audio",))
    content = fields.pop("audio", None)
    conversion = _valid(Conversion, fields)
    return conversion, _required(content)


async def read_check(request: Request) -> tuple[bytes, bytes | None]:
    """Read a file to check, and its detached manifest, if one is sent.

    Raises RequestValidationError, InvalidRequest and PayloadTooLarge.
    """
    fields = await _form_with_audio(request, ("audio", "manifest"))
    content = fields.pop("audio", None)
    manifest = fields.pop("manifest", None)
    _valid(_NoFields, fields)
    if manifest is not None:
        manifest = _required(manifest, "manifest")
        _check_size(manifest)
    return _required(content), manifest


def _check_size(manifest: bytes) -> None:
    if len(manifest) > MOST_MANIFEST_BYTES:
        raise PayloadTooLarge(
            f"The manifest has {len(manifest)} bytes, and the limit is {MOST_MANIFEST_BYTES}: "
            "send the `.c2pa` file of the audio"
        )


async def _json(request: Request, refusal: str) -> dict[str, Any]:
    """Parse a JSON body. Raises InvalidRequest for any other, and for JSON that is no object."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest(refusal)
    return body


async def _form(request: Request, file_fields: Sequence[str]) -> dict[str, str | bytes]:
    """Read the fields of a form; only `file_fields` may be files. Raises InvalidRequest."""
    try:
        form = await request.form(max_files=len(file_fields), max_fields=50)
    except (UnicodeError, LookupError) as error:  # charset=undefined, charset=hex
        raise InvalidRequest(
            "The form's text does not have the charset that it names: use UTF-8"
        ) from error
    except HTTPException as error:
        raise InvalidRequest(
            f"The form cannot be read: {error.detail}. Send {FORM} with the fields of the API"
        ) from error
    try:
        return await _fields(form, file_fields)
    finally:
        await form.close()


async def _form_with_audio(request: Request, file_fields: Sequence[str]) -> dict[str, str | bytes]:
    """Read the fields of a body that must be a form. Raises InvalidRequest."""
    if _content_type(request) != FORM:
        raise InvalidRequest(f"The request's body must be a form ({FORM})")
    return await _form(request, file_fields)


def _required(content: str | bytes | None, field: str = "audio") -> bytes:
    """Return the file of a field. Raises RequestValidationError without one."""
    if not isinstance(content, bytes):
        raise RequestValidationError([{"loc": ("body", field), "msg": "A file is required"}])
    return content


async def _fields(form: FormData, file_fields: Sequence[str]) -> dict[str, str | bytes]:
    refuse_repeated(form, "form")
    fields: dict[str, str | bytes] = {}
    for name, value in form.items():
        if isinstance(value, UploadFile) and not value.filename:
            continue  # a file input of a page that was left blank
        if isinstance(value, UploadFile) and name not in file_fields:
            raise InvalidRequest(f"{name} cannot be a file: send it as text")
        fields[name] = await value.read() if isinstance(value, UploadFile) else value
    return fields


def _valid(schema: type[_Body], body: Any) -> _Body:
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        ) from error


def _base64(value: str | bytes) -> str:
    return value if isinstance(value, str) else base64.b64encode(value).decode("ascii")


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _content_with_audio(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {FORM: {"schema": _with_file(schema, "audio") | {"required": ["audio"]}}}


def _json_or_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Document a body whose audio is base64 in JSON, or a file of a form."""
    form: Mapping[str, Any] = schema
    for field in _FILES:
        form = _with_file(form, field)
    return json_content(schema) | {FORM: {"schema": form}}


def _with_file(schema: Mapping[str, Any], field: str) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "description": f"A {UPLOAD_FORMATS} file."}
    return {**schema, "properties": {**schema["properties"], field: file}}
