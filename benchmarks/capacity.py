"""CPU time of each stage for refusals, whole tracks and listeners, and the cores that many need."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.callers import PATH
from benchmarks.recorded import RECORDED
from benchmarks.stages import STAGES, StageClock

FORMATS = ("pcm", "flac", "opus", "mp3")
CARRYING = ("proxy", "ingress", "raylet")  # the goal of this benchmark is their sum for opus
_LISTENERS = 40
_LISTENED_S = 12.0
_REFUSALS = 400
_WHOLE_TRACKS = 60
_CONCURRENCY = 8
_MANY = 10_000  # listeners of the capacity model

Row = dict[str, float]


async def stage_times(url: str) -> dict[str, Row]:
    """Milliseconds of CPU of each stage: per refusal, per whole second, and per streamed second."""
    clock = StageClock()
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await _ask(client, {"duration_s": 1.0})
        await _listen(url, "opus", 1.0, 4)
        await asyncio.sleep(2)  # for what follows the first requests
        await clock.watch_idle()
        rows = {
            "a refusal (400)": await clock.per_unit(
                lambda: _repeat(client, _REFUSALS, {"duration_s": -1.0}), _REFUSALS
            ),
            "1 s of pcm, whole": await clock.per_unit(
                lambda: _repeat(client, _WHOLE_TRACKS, {"duration_s": 1.0}), _WHOLE_TRACKS
            ),
        }
    for name in FORMATS:
        listen = _listening(url, name)
        rows[f"a streamed second, {name}"] = await clock.per_unit(listen, _LISTENERS * _LISTENED_S)
    return rows


def cores_for_many(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Cores that each stage needs for 10,000 listeners in real time, by format.

    A core gives 1000 ms a second; one that is full delays every listener, so plan with more.
    """
    return {
        name.rpartition(" ")[2]: {stage: round(row[stage] * _MANY / 1000, 1) for stage in STAGES}
        for name, row in rows.items()
        if name.startswith("a streamed second")
    }


def carrying_ms(rows: Mapping[str, Row], name: str = "opus") -> float:
    """Milliseconds of CPU per streamed second in proxy, ingress and raylet together."""
    row = rows[f"a streamed second, {name}"]
    return round(sum(row[stage] for stage in CARRYING), 2)


def _body(**fields: Any) -> dict[str, Any]:
    return {"prompt": "lofi beat", "model": RECORDED, "response_format": "pcm"} | fields


async def _ask(client: httpx.AsyncClient, fields: Mapping[str, Any]) -> None:
    response = await client.post(PATH, json=_body(**fields))
    expected = 200 if fields["duration_s"] > 0 else 400
    if response.status_code != expected:
        raise RuntimeError(f"{response.status_code} instead of {expected}: {response.text}")


async def _repeat(client: httpx.AsyncClient, count: int, fields: Mapping[str, Any]) -> None:
    room = asyncio.Semaphore(_CONCURRENCY)

    async def ask() -> None:
        async with room:
            await _ask(client, fields)

    await asyncio.gather(*(ask() for _ in range(count)))


def _listening(url: str, name: str) -> Any:
    return lambda: _listen(url, name, _LISTENED_S, _LISTENERS)


async def _listen(url: str, name: str, duration_s: float, listeners: int) -> None:
    """Let so many listeners receive a track at the same time, at the pace at which it is played."""
    body = _body(response_format=name, stream=True, duration_s=duration_s)
    await asyncio.gather(*(_receive(url, body) for _ in range(listeners)))


async def _receive(url: str, body: Mapping[str, Any]) -> None:
    """Read the answer from a bare socket: this process needs the machine's cores, too."""
    address = urlsplit(url)
    content = json.dumps(body).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: {address.hostname}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head.encode() + content)
    status = (await reader.readline()).split()[1]
    if status != b"200":
        raise RuntimeError(f"{status.decode()}: {(await reader.read()).decode(errors='replace')}")
    while await reader.read(65_536):
        pass
    writer.close()
