"""The body of a generation: JSON, or a form that may bring a file."""

import asyncio
import base64
import binascii
import json
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from serve_app.api.schemas import GenerationBody, GenerationForm
from serve_app.audio.reader import read_audio
from serve_app.errors import InvalidAudio, InvalidRequest
from serve_app.types import AudioPrompt

_FORM = "multipart/form-data"
_AUDIO = "audio_prompt"


def request_body() -> dict[str, Any]:
    """What OpenAPI says of it."""
    schema = GenerationBody.model_json_schema()
    form = schema | {"properties": dict(schema["properties"])}
    form["properties"][_AUDIO] = {"type": "string", "format": "binary", "description": "What the piece begins with."}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema}, _FORM: {"schema": form}},
    }


async def read_generation(request: Request) -> GenerationBody:
    """A form's file becomes base64. Raises RequestValidationError, and InvalidRequest for neither JSON nor a form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        return _valid(GenerationForm, await _form(request))
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The request's body must be a JSON object, or a form (multipart/form-data)") from error
    return _valid(GenerationBody, body)


async def read_audio_prompt(text: str | None, max_duration_s: float) -> AudioPrompt | None:
    """The audio of a body, off the event loop. Raises InvalidAudio."""
    return None if text is None else await asyncio.to_thread(_read_audio_prompt, text, max_duration_s)


def _read_audio_prompt(text: str, max_duration_s: float) -> AudioPrompt:
    try:
        content = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidAudio("audio_prompt is not base64") from error
    return read_audio(content, max_duration_s)


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=1, max_fields=50) as form:
        if repeated := {name for name in form if len(form.getlist(name)) > 1}:
            raise InvalidRequest(f"{', '.join(sorted(repeated))} may be there only once")
        fields: dict[str, str] = {}
        for name, value in form.items():
            if isinstance(value, UploadFile):
                if name != _AUDIO:
                    raise InvalidRequest(f"{name} cannot be a file")
                value = await asyncio.to_thread(_base64, await value.read())
            fields[name] = value
        return fields


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _valid(schema: type[GenerationBody], body: Any) -> GenerationBody:
    try:
        generation = schema.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from error
    if not generation.prompt and generation.audio_prompt is None:
        raise RequestValidationError([{"loc": ("body", "prompt"), "msg": "Field required"}])
    return generation
