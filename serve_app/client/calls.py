"""Requests of the clients as values: one Call for each method."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from serve_app.client.audio_input import AudioInput, Uploads, read_audio
from serve_app.client.fields import FileFields, GenerationFields
from serve_app.client.problems import UNUSABLE_URL, UnusableUrl

_GENERATIONS = "/v1/audio/generations"
_CONVERSIONS = "/v1/audio/conversions"
_MODELS = "/v1/models"
_PROVENANCE = "/v1/audio/provenance"
_TIMEOUT = httpx.Timeout(10.0, read=600.0)


@dataclass(frozen=True)
class Call:
    """One request.

    content: httpx's arguments of the body; is_streamed: whether the answer is read part by part;
    is_repeatable: whether the request may be sent again although the service may have served it.
    """

    method: str
    path: str
    content: Mapping[str, Any] = field(default_factory=dict)
    is_streamed: bool = False
    is_repeatable: bool = True


def http_settings(url: str, key: str | None) -> dict[str, Any]:
    """Build the settings of an HTTP client. A key of None is read from MUSICGEN_API_KEY.

    Raises UnusableUrl, and ValueError for a key that no header can hold.
    """
    _check_url(url)
    key = (key or os.environ.get("MUSICGEN_API_KEY") or "").strip()
    if not key.isascii() or any(character.isspace() for character in key):
        raise ValueError(
            "The API key has a space or a character outside ASCII. Copy it again, without quotes."
        )
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return {"base_url": url, "headers": headers, "timeout": _TIMEOUT, "follow_redirects": False}


def _check_url(url: str) -> None:
    """Raise UnusableUrl unless the URL is of http or https and has a host."""
    try:
        parsed = httpx.URL(url)
    except UNUSABLE_URL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UnusableUrl(
            f"The URL {url!r} is not one of HTTP: begin it with http:// or https:// and the host, "
            "as in http://127.0.0.1:8000."
        )


def generation_call(
    prompt: str, uploads: Uploads, fields: GenerationFields, **more: object
) -> Call:
    """Build the request for a track. more: fields that choose the form of the answer.

    Raises TypeError for a field that does not exist, ValueError for an empty prompt without an
    upload, for text that UTF-8 cannot have, and for a number that is not finite, and OSError for an
    upload that cannot be read.
    """
    if prompt == "" and not uploads.are_there:
        raise ValueError(
            "The prompt is empty: describe the music, or give an audio_prompt or a melody."
        )
    _check_text("prompt", prompt)
    body: dict[str, Any] = {"prompt": prompt, **_checked(fields, GenerationFields), **more}
    body |= uploads.as_fields()
    return Call(
        "POST",
        _GENERATIONS,
        {"json": body},
        is_streamed="stream" in more,
        is_repeatable="seed" in body,
    )


def variations_call(prompt: str, n: int, uploads: Uploads, fields: GenerationFields) -> Call:
    """Build the request for `n` tracks in JSON. Raises as `generation_call`."""
    file_format = fields.get("response_format", "wav")
    return generation_call(
        prompt, uploads, fields, n=n, response_format="json", audio_format=file_format
    )


def stream_call(prompt: str, uploads: Uploads, fields: GenerationFields) -> Call:
    """Build the request for a track as events. Raises as `generation_call`."""
    return generation_call(prompt, uploads, fields, stream=True, stream_format="sse")


def conversion_call(audio: AudioInput, fields: FileFields) -> Call:
    """Build the request for a conversion: a form. Raises as `generation_call`."""
    checked = _checked(fields, FileFields)
    form = {name: str(value) for name, value in checked.items()}
    return Call(
        "POST", _CONVERSIONS, {"files": {"audio": ("audio", read_audio(audio))}, "data": form}
    )


def check_call(audio: AudioInput, manifest: AudioInput | None) -> Call:
    """Build the request for a check of a file's marks: a form. Raises as `generation_call`."""
    files = {"audio": ("audio", read_audio(audio))}
    if manifest is not None:
        files["manifest"] = ("manifest", read_audio(manifest))
    return Call("POST", _PROVENANCE, {"files": files})


def models_call() -> Call:
    """Build the request for the list of the served models."""
    return Call("GET", _MODELS)


def _checked(fields: Mapping[str, Any], known: type) -> dict[str, Any]:
    """Drop the fields that are None. Raises TypeError and ValueError."""
    if unknown := sorted(fields.keys() - known.__annotations__.keys()):
        hint = " (use variations())" if "n" in unknown else ""
        raise TypeError(
            f"unknown field {', '.join(unknown)}{hint}; see serve_app.client.{known.__name__}"
        )
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value}")
        _check_text(name, value)
    if fields.get("response_format") == "json":
        raise ValueError("response_format 'json' is no file format: use variations() for JSON")
    return {name: value for name, value in fields.items() if value is not None}


def _check_text(name: str, value: object) -> None:
    """Raise ValueError for text with half a surrogate pair, which UTF-8 cannot have."""
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(error.object[error.start]):04X}"
        raise ValueError(
            f"{name} is not valid text: character {error.start + 1} is {found}, half of a surrogate "
            "pair. Remove it, or read the text with its own encoding."
        ) from error
