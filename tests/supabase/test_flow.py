"""Tracks of users from the page's call to the stored file: functions in Deno, the real service, a real database."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import soundfile
from psycopg.rows import dict_row

from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.service.conftest import suspended
from tests.supabase.functions import running_function
from tests.supabase.platform import PUBLISHABLE, SECRET, Platform, running_platform

pytestmark = pytest.mark.long

PATIENCE_S = 60
FIELDS: dict[str, Any] = {"mood": "calm", "genres": ["ambient"], "energy": 2, "duration": 2}


@dataclass
class World:
    """The functions' addresses, and the platform around them."""

    platform: Platform
    generate: str
    cancel: str
    http: httpx.AsyncClient

    def sign_in(self, user: str | None = None) -> dict[str, str]:
        """Headers of a page whose user has just signed in."""
        user = user or str(uuid4())
        with psycopg.connect(self.platform.dsn) as connection:
            connection.execute("insert into auth.users values (%s) on conflict do nothing", [user])
        return {"apikey": PUBLISHABLE, "authorization": f"Bearer {self.platform.sign_in(user)}"}

    def row(self, track: str) -> dict[str, Any]:
        with psycopg.connect(self.platform.dsn, row_factory=dict_row) as connection:
            row = connection.execute("select * from tracks where id = %s", [track]).fetchone()
        assert row is not None
        return row

    async def row_with(self, track: str, *statuses: str) -> dict[str, Any]:
        """The track's row once it has one of the statuses."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                row = self.row(track)
                if row["status"] in statuses:
                    return row
                await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def platform(dsn: str) -> Iterator[Platform]:
    with running_platform(dsn) as platform:
        yield platform


@pytest.fixture
async def world(platform: Platform, service: Service) -> AsyncIterator[World]:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        answer = await http.get(f"{service.url}/v1/webhooks/secret")
        secrets = platform.environment | {
            "MUSICGEN_API_URL": service.url,
            "MUSICGEN_WEBHOOK_SECRET": answer.json()["secret"],
        }
        with ExitStack() as stack:
            start = stack.enter_context
            webhook = start(running_function("music-webhook", **secrets))
            secrets["MUSICGEN_WEBHOOK_URL"] = webhook
            generate = start(running_function("generate-music", **secrets))
            cancel = start(running_function("cancel-music", **secrets))
            yield World(platform, generate, cancel, http)


async def test_a_track_outlives_the_page(world: World) -> None:
    track = str(uuid4())
    user = world.sign_in()
    body = {**FIELDS, "id": track}
    first = await world.http.post(world.generate, json=body, headers=user)
    assert (first.status_code, first.json()["id"]) == (202, track)
    again = await world.http.post(world.generate, json=body, headers=user)
    assert again.status_code == 202, "a second click adds nothing"
    row = await world.row_with(track, "ready", "failed")
    assert (row["status"], row["error"]) == ("ready", None)
    assert row["path"] == f"{row['user_id']}/{track}.mp3"
    content, media_type = world.platform.files[row["path"]]
    assert media_type == "audio/mpeg"
    samples, rate = soundfile.read(io.BytesIO(content))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.1)
    with psycopg.connect(world.platform.dsn) as connection:
        messages = connection.execute(
            "select payload -> 'record' ->> 'status' from realtime.messages where topic = %s order by id",
            [f"track:{track}"],
        ).fetchall()
    assert (messages[0], messages[-1]) == (("queued",), ("ready",))


async def test_strangers_get_nothing(world: World) -> None:
    track = str(uuid4())
    body = {**FIELDS, "id": track}
    page = await world.http.post(world.generate, json=body, headers={"apikey": PUBLISHABLE})
    assert (page.status_code, page.json()["success"]) == (401, False)
    assert (await world.http.post(world.generate, json=body, headers=world.sign_in())).is_success
    stranger = world.sign_in()
    taken = await world.http.post(world.generate, json=body, headers=stranger)
    assert (taken.status_code, taken.json()["error"]) == (409, "This id is taken")
    canceled = await world.http.post(world.cancel, json={"id": track}, headers=stranger)
    assert canceled.status_code == 404
    resend = await world.http.post(
        world.generate, json={"resend": True}, headers={"apikey": PUBLISHABLE}
    )
    assert resend.status_code == 401
    assert (await world.row_with(track, "ready"))["status"] == "ready"


async def test_a_track_is_canceled(world: World, service: Service) -> None:
    track = str(uuid4())
    user = world.sign_in()
    long = {**FIELDS, "id": track, "duration": 30}
    with suspended(service):
        assert (await world.http.post(world.generate, json=long, headers=user)).status_code == 202
        answer = await world.http.post(world.cancel, json={"id": track}, headers=user)
    assert answer.json() == {"success": True, "id": track, "status": "canceled"}
    job = f"{service.url}/v1/jobs/{world.row(track)['job_id']}"
    wait = {"prefer": "wait=30"}
    assert (await world.http.get(job, headers=wait)).json()["status"] == "canceled"
    assert world.row(track)["status"] == "canceled"


async def test_forged_messages_change_nothing(world: World) -> None:
    forged = {
        "webhook-id": "1",
        "webhook-timestamp": "1764000000",
        "webhook-signature": "v1,c2lnbmF0dXJl",
    }
    webhook = {"data": {"status": "failed", "metadata": {"track_id": str(uuid4())}}}
    with running_function(
        "music-webhook",
        MUSICGEN_WEBHOOK_SECRET="whsec_c2VjcmV0c2VjcmV0c2VjcmV0",
        **world.platform.environment,
    ) as url:
        for headers in ({}, forged):
            answer = await world.http.post(url, json=webhook, headers=headers)
            assert answer.status_code == 401


async def test_a_service_that_is_down_gets_the_track_later(world: World) -> None:
    """The answer comes soon, and the database's call sends the job."""
    track = str(uuid4())
    user = world.sign_in()
    down = world.platform.environment | {"MUSICGEN_API_URL": f"http://127.0.0.1:{free_port()}/"}
    with running_function("generate-music", **down) as url:
        answer = await world.http.post(url, json={**FIELDS, "id": track}, headers=user)
        assert answer.json() == {"success": True, "id": track, "status": "queued"}
    assert world.row(track)["job_id"] is None
    resent = await world.http.post(
        world.generate, json={"resend": True}, headers={"apikey": SECRET}
    )
    assert resent.json()["success"] is True
    assert (await world.row_with(track, "ready", "failed"))["status"] == "ready"


async def test_what_the_service_refuses_fails(world: World, service: Service) -> None:
    """Here for a wrong address: the row tells it, and it is not sent again."""
    track = str(uuid4())
    wrong = world.platform.environment | {"MUSICGEN_API_URL": f"{service.url}/elsewhere/"}
    with running_function("generate-music", **wrong) as url:
        body = {**FIELDS, "id": track}
        answer = await world.http.post(url, json=body, headers=world.sign_in())
    assert answer.status_code == 404
    assert answer.json()["error"] == "The music service refused the request"
    row = world.row(track)
    assert (row["status"], row["job_id"]) == ("failed", None)
    assert row["error"] == answer.json()["details"]
