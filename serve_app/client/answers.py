"""Answers of the service as values: tracks, files and models."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field, TypeAdapter, ValidationError

from serve_app.client.fields import ServedModel
from serve_app.client.problems import UNREADABLE, bad_answer, cut_off
from serve_app.client.wav_header import lacks_its_end
from serve_app.provenance_report import ProvenanceReport
from serve_app.track_fields import TrackHeaders, from_headers

_JSON = "application/json"
_MODELS = TypeAdapter(list[ServedModel])


class Track(TrackHeaders, frozen=True):
    """A finished track: the bytes of its file, and the facts that the service tells of it.

    sample_rate: the model's, in Hz. The file may have another one, if it was asked for.
    manifest: signed C2PA manifest of a file that cannot hold one, where the service signs.
    """

    content: Annotated[bytes, Field(repr=False)]
    manifest: Annotated[bytes | None, Field(repr=False)] = None
    cost_usd: float | None = None
    digital_source_type: str = ""  # empty: of a service of an earlier version, as is `resume`
    resume: str = ""

    def save(self, file: str | Path) -> None:
        """Write the file. Raises OSError."""
        Path(file).write_bytes(self.content)

    def __repr__(self) -> str:
        made = f"model={self.model!r}, seed={self.seed}, duration_s={self.duration_s:g}"
        return f"Track({made}, {len(self.content)} bytes)"

    __str__ = __repr__


@dataclass(frozen=True)
class AudioFile:
    """A converted file: its bytes and its media type."""

    content: bytes
    media_type: str

    def save(self, file: str | Path) -> None:
        """Write the file. Raises OSError."""
        Path(file).write_bytes(self.content)

    def __repr__(self) -> str:
        return f"AudioFile({self.media_type!r}, {len(self.content)} bytes)"


def track_of(response: httpx.Response) -> Track:
    """Read a track from a file and its headers. Raises ApiError."""
    content = file_of(response).content
    return build_track(content, from_headers(response.headers))


def file_of(response: httpx.Response) -> AudioFile:
    """Read an audio file. Raises ApiError."""
    check_media_type(response, "audio/")
    if not response.content:
        raise bad_answer("any audio")
    if lacks_its_end(response.content):  # a connection that ends without a length tells nothing
        raise cut_off()
    return AudioFile(response.content, media_type_of(response))


def variations_of(response: httpx.Response, n: int) -> list[Track]:
    """Read the `n` tracks of an answer in JSON. Raises ApiError."""
    body = _json(response)
    try:
        tracks = [_variation(facts) for facts in body["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise bad_answer("a list of tracks") from error
    if len(tracks) != n:
        raise bad_answer(f"{n} tracks (it has {len(tracks)})")
    return tracks


def models_of(response: httpx.Response) -> list[ServedModel]:
    """Read the list of the served models. Raises ApiError."""
    body = _json(response)
    try:
        return _MODELS.validate_python(body["data"])
    except (KeyError, TypeError, ValidationError) as error:
        raise bad_answer("the list of models") from error


def report_of(response: httpx.Response) -> ProvenanceReport:
    """Read the report of a file's marks. Raises ApiError."""
    body = _json(response)
    try:
        return ProvenanceReport.model_validate(body)
    except ValidationError as error:
        raise bad_answer("a report of a file's marks") from error


def build_track(content: bytes, facts: Mapping[str, Any]) -> Track:
    """Build a track from the facts of headers (text) or of JSON.

    The only place that parses them. Facts without a field are ignored. Raises ApiError for a fact
    that is missing or malformed.
    """
    try:
        return Track.model_validate({**facts, "content": content})
    except ValidationError as error:
        lacking = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise bad_answer(f"a valid {lacking}") from error


def check_media_type(response: httpx.Response, wanted: str) -> None:
    """Raise ApiError for an answer of another media type, such as a proxy's page."""
    found = media_type_of(response)
    if not found.startswith(wanted):
        kind = wanted.removesuffix("/")
        raise bad_answer(f"the media type {kind} (it has {found or 'none'})")


def media_type_of(response: httpx.Response) -> str:
    """Return the media type without its parameters."""
    value: str = response.headers.get("content-type", "")
    return value.partition(";")[0].strip().lower()


def _json(response: httpx.Response) -> Any:
    check_media_type(response, _JSON)
    try:
        return response.json()
    except UNREADABLE as error:
        raise bad_answer("valid JSON") from error


def _variation(facts: Mapping[str, Any]) -> Track:
    content = base64.b64decode(facts["audio"], validate=True)
    if not content:
        raise bad_answer("any audio")
    given = {**facts, "sample_rate": facts["model_sample_rate"]}
    if (manifest := facts.get("manifest")) is not None:
        given["manifest"] = base64.b64decode(manifest, validate=True)
    return build_track(content, given)
