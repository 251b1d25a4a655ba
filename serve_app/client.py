"""A client of the service, sync and async: whole tracks, tracks while they are being made, the served models.

client = MusicGenClient("http://127.0.0.1:8000")
client.generate("lofi beat", duration_s=8, response_format="mp3").save("track.mp3")
"""

import base64
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_sse import EventSource, ServerSentEvent

GENERATIONS, MODELS = "/v1/audio/generations", "/v1/models"
_TIMEOUT = httpx.Timeout(10.0, read=600.0)


class ApiError(Exception):
    """The service refused or failed. `code` is stable; retry_after_s: when the same request may be sent again."""

    def __init__(
        self, status: int, code: str, detail: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.retry_after_s = (
            status,
            code,
            detail,
            retry_after_s,
        )


@dataclass(frozen=True)
class Track:
    """A finished piece. content: the file's bytes; cost_usd: None where the service does not know it."""

    content: bytes
    model: str
    seed: int
    license: str
    sample_rate: int
    duration_s: float
    queue_s: float
    time_to_first_audio_s: float
    generation_s: float
    compute_s: float
    cost_usd: float | None = None

    @property
    def real_time_factor(self) -> float:
        return self.duration_s / max(self.generation_s, 1e-9)

    def save(self, file: str | Path) -> None:
        Path(file).write_bytes(self.content)


@dataclass(frozen=True)
class Progress:
    """How far a piece is. queue_position: 0 once it runs; remaining_s: an estimate, None while there is none."""

    fraction: float
    queue_position: int
    audio_s: float
    remaining_s: float | None


@dataclass(frozen=True)
class Audio:
    """The next bytes of the file."""

    content: bytes


Event = Progress | Audio | Track


class MusicGenClient:
    """url: the service's; key: an API key, by default that in the environment variable MUSICGEN_API_KEY."""

    def __init__(
        self, url: str, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers=_headers(key), timeout=_TIMEOUT, transport=transport
        )

    def generate(self, prompt: str, **fields: Any) -> Track:
        """A whole piece. fields: those of `POST /v1/audio/generations`. Raises ApiError and httpx.HTTPError."""
        response = self._http.post(GENERATIONS, json={"prompt": prompt, **fields})
        _check(response)
        return _track(response.content, _told(response))

    def stream(self, prompt: str, **fields: Any) -> Iterator[Event]:
        """Progress and audio while it is being made; the Track, whole, at the end. Leaving early cancels it."""
        body = {"prompt": prompt, **fields, "stream": True, "stream_format": "sse"}
        with self._http.stream("POST", GENERATIONS, json=body) as response:
            if response.is_error:
                response.read()
            _check(response)
            reader = _Reader()
            for event in EventSource(response).iter_sse():
                yield reader.read(event)

    def models(self) -> list[dict[str, Any]]:
        """The served models, the default first."""
        response = self._http.get(MODELS)
        _check(response)
        data: list[dict[str, Any]] = response.json()["data"]
        return data

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncMusicGenClient:
    """As MusicGenClient, for asyncio."""

    def __init__(
        self, url: str, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=_TIMEOUT, transport=transport
        )

    async def generate(self, prompt: str, **fields: Any) -> Track:
        response = await self._http.post(GENERATIONS, json={"prompt": prompt, **fields})
        _check(response)
        return _track(response.content, _told(response))

    async def stream(self, prompt: str, **fields: Any) -> AsyncIterator[Event]:
        body = {"prompt": prompt, **fields, "stream": True, "stream_format": "sse"}
        async with self._http.stream("POST", GENERATIONS, json=body) as response:
            if response.is_error:
                await response.aread()
            _check(response)
            reader = _Reader()
            async for event in EventSource(response).aiter_sse():
                yield reader.read(event)

    async def models(self) -> list[dict[str, Any]]:
        response = await self._http.get(MODELS)
        _check(response)
        data: list[dict[str, Any]] = response.json()["data"]
        return data

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Reader:
    """Server-sent events -> ours; the audio is kept for the Track."""

    def __init__(self) -> None:
        self._content = bytearray()

    def read(self, event: ServerSentEvent) -> Event:
        data = json.loads(event.data)
        if event.event == "progress":
            return Progress(**{name: data[name] for name in Progress.__dataclass_fields__})
        if event.event == "audio":
            content = base64.b64decode(data["audio"])
            self._content += content
            return Audio(content)
        if event.event == "done":
            return _track(bytes(self._content), data)
        raise ApiError(data["status"], data["code"], data["detail"])


def _headers(key: str | None) -> dict[str, str]:
    key = key or os.environ.get("MUSICGEN_API_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


def _check(response: httpx.Response) -> None:
    if not response.is_error:
        return
    try:
        body: Mapping[str, Any] = response.json()
    except ValueError:
        body = {}
    detail = (
        body.get("detail") or f"The server answered {response.status_code} {response.reason_phrase}"
    )
    after = response.headers.get("retry-after", "")
    raise ApiError(
        response.status_code,
        body.get("code", "unknown"),
        str(detail),
        float(after) if after.isdecimal() else None,
    )


def _told(response: httpx.Response) -> dict[str, str]:
    """The headers that tell of the track, by its fields' names."""
    return {
        name.removeprefix("x-musicgen-").replace("-", "_"): value
        for name, value in response.headers.items()
    }


def _track(content: bytes, told: Mapping[str, Any]) -> Track:
    """What the service tells besides is left out."""
    cost_usd = told.get("cost_usd")
    return Track(
        content=content,
        model=told["model"],
        seed=int(told["seed"]),
        license=told["license"],
        sample_rate=int(told["sample_rate"]),
        duration_s=float(told["duration_s"]),
        queue_s=float(told["queue_s"]),
        time_to_first_audio_s=float(told["time_to_first_audio_s"]),
        generation_s=float(told["generation_s"]),
        compute_s=float(told["compute_s"]),
        cost_usd=None if cost_usd is None else float(cost_usd),
    )
