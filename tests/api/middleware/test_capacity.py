"""The bound on requests at a time."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator, RecordingObserver

PATH = "/v1/audio/generations"
BODY = {"prompt": "a", "duration_s": 1}


async def test_requests_beyond_the_bound_are_refused_until_others_have_ended() -> None:
    generator = FakeGenerator()
    observer = RecordingObserver()
    api = create_api(generator, generator, [SMALL], None, ApiConfig(), observer, max_requests=2)
    transport = httpx.ASGITransport(api)
    sending = asyncio.Event()
    begun: asyncio.Queue[None] = asyncio.Queue()

    async def slow_body() -> AsyncIterator[bytes]:
        begun.put_nowait(None)
        await sending.wait()
        yield b'{"prompt": "a", "duration_s": 1}'

    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        calls = [
            asyncio.create_task(client.post(PATH, content=slow_body(), headers=headers))
            for _ in range(2)
        ]
        for _ in calls:
            await begun.get()
        page = {"origin": "http://localhost:3000"}
        refused = await client.post(PATH, json=BODY, headers=page)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert observer.overloads == 1
        assert refused.headers["access-control-allow-origin"] == page["origin"]
        sending.set()
        assert [(await call).status_code for call in calls] == [200, 200]
        assert (await client.post(PATH, json=BODY)).status_code == 200
