"""Clients of the service, sync and async: whole tracks, streamed tracks, the served models.

client = MusicGenClient("http://127.0.0.1:8000")
client.generate("lofi beat", duration_s=8, response_format="mp3").save("track.mp3")
"""

import base64
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import httpx
from httpx_sse import EventSource, ServerSentEvent
from pydantic import Field, ValidationError

from serve_app.track_fields import TrackHeaders, from_headers

GENERATIONS = "/v1/audio/generations"
MODELS = "/v1/models"
_TIMEOUT = httpx.Timeout(10.0, read=600.0)


@dataclass(eq=False)
class ApiError(Exception):
    """Refusal or failure of the service.

    status: HTTP status; code: kind of error, stable; detail: explanation for people;
    retry_after_s: seconds after which the same request may be sent again, None where not given.
    """

    status: int
    code: str
    detail: str
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.detail


class Track(TrackHeaders, frozen=True):
    """A finished track: the bytes of its file, and the facts that the service tells of it."""

    content: Annotated[bytes, Field(repr=False)]
    cost_usd: float | None = None

    def save(self, file: str | Path) -> None:
        """Write the file. Raises OSError."""
        Path(file).write_bytes(self.content)


@dataclass(frozen=True)
class Progress:
    """Progress of a track.

    fraction: part made, 0 to 1; queue_position: 1 is next, 0 is running; audio_s: seconds of music
    made; remaining_s: estimated seconds until the end, None while there is no estimate.
    """

    fraction: float
    queue_position: int
    audio_s: float
    remaining_s: float | None


@dataclass(frozen=True)
class Audio:
    """Next part of a file. content: its bytes."""

    content: bytes


Event = Progress | Audio | Track


class MusicGenClient:
    """Client with blocking calls; a context manager.

    url: URL of the service; key: API key, by default the environment variable MUSICGEN_API_KEY;
    transport: replacement of the HTTP transport, for tests.
    """

    def __init__(
        self, url: str, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(**_settings(url, key), transport=transport)

    def generate(self, prompt: str, **fields: Any) -> Track:
        """Make a track; `fields` as in the API. Raises ApiError and httpx.HTTPError."""
        response = self._http.post(GENERATIONS, json={"prompt": prompt, **fields})
        return _track(response.content, _facts(response))

    def stream(self, prompt: str, **fields: Any) -> Iterator[Event]:
        """Yield Progress and Audio while the track is made, then the whole Track.

        Closing the iterator early cancels the request. Raises ApiError and httpx.HTTPError.
        """
        body = _streamed(prompt, fields)
        with self._http.stream("POST", GENERATIONS, json=body) as response:
            if response.is_error:
                response.read()
            _check(response)
            reader = _Reader()
            for event in EventSource(response).iter_sse():
                yield reader.read(event)

    def models(self) -> list[dict[str, Any]]:
        """List the served models, the default first. Raises ApiError and httpx.HTTPError."""
        return _models(self._http.get(MODELS))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncMusicGenClient:
    """Client for asyncio, with the methods and errors of MusicGenClient."""

    def __init__(
        self, url: str, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(**_settings(url, key), transport=transport)

    async def generate(self, prompt: str, **fields: Any) -> Track:
        response = await self._http.post(GENERATIONS, json={"prompt": prompt, **fields})
        return _track(response.content, _facts(response))

    async def stream(self, prompt: str, **fields: Any) -> AsyncIterator[Event]:
        body = _streamed(prompt, fields)
        async with self._http.stream("POST", GENERATIONS, json=body) as response:
            if response.is_error:
                await response.aread()
            _check(response)
            reader = _Reader()
            async for event in EventSource(response).aiter_sse():
                yield reader.read(event)

    async def models(self) -> list[dict[str, Any]]:
        return _models(await self._http.get(MODELS))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Reader:
    """Parser of server-sent events. Keeps the audio for the Track."""

    def __init__(self) -> None:
        self._content = bytearray()

    def read(self, event: ServerSentEvent) -> Event:
        data = json.loads(event.data)
        if event.event == "progress":
            return Progress(**{name: data[name] for name in Progress.__dataclass_fields__})
        if event.event == "audio":
            part = Audio(base64.b64decode(data["audio"]))
            self._content += part.content
            return part
        if event.event == "done":
            return _track(bytes(self._content), data)
        raise ApiError(data["status"], data["code"], data["detail"])


def _settings(url: str, key: str | None) -> dict[str, Any]:
    """Settings of both HTTP clients."""
    key = key or os.environ.get("MUSICGEN_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return {"base_url": url, "headers": headers, "timeout": _TIMEOUT}


def _streamed(prompt: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": prompt, **fields, "stream": True, "stream_format": "sse"}


def _models(response: httpx.Response) -> list[dict[str, Any]]:
    _check(response)
    try:
        return list(response.json()["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise _bad_answer("the list of models") from error


def _check(response: httpx.Response) -> None:
    """Raise the ApiError of a failed request; the body may be a proxy's, of any form."""
    if not response.is_error:
        return
    try:
        body = response.json()
    except ValueError:
        body = None
    problem: Mapping[str, Any] = body if isinstance(body, dict) else {}
    status = f"{response.status_code} {response.reason_phrase}"
    detail = str(problem.get("detail") or f"The server answered {status}")
    after = response.headers.get("retry-after", "")
    retry_after_s = float(after) if after.isdecimal() else None
    raise ApiError(response.status_code, problem.get("code", "unknown"), detail, retry_after_s)


def _facts(response: httpx.Response) -> Mapping[str, Any]:
    """Read the facts of a track from the headers of an answer. Raises ApiError."""
    _check(response)
    return from_headers(response.headers)


def _track(content: bytes, facts: Mapping[str, Any]) -> Track:
    """Build a track from the facts of headers (text) or of the event `done` (JSON).

    The only place that parses them. Facts without a field are ignored. Raises ApiError for a fact
    that is missing or malformed.
    """
    try:
        return Track.model_validate({**facts, "content": content})
    except ValidationError as error:
        lacking = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise _bad_answer(f"a valid {lacking}") from error


def _bad_answer(lacking: str) -> ApiError:
    detail = f"The service's answer lacks {lacking}: is the URL that of a musicgen-serve?"
    return ApiError(502, "bad_answer", detail)
