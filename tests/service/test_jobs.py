"""Jobs through Serve and the edge: accepted at once, made by a worker, told by a signed webhook."""

import asyncio
import json
import re
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from serve_app.launcher import Service
from tests.jobs.receiver import receiver
from tests.service.conftest import LONG_S, PATIENCE_S, samples_of, suspended
from tests.sources import ROOT

BODY = {"prompt": "lofi beat", "duration_s": 1, "seed": 7}


async def finished(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A job that has succeeded."""
    response = await client.post("/v1/jobs", json=BODY | fields)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    while job["status"] in ("queued", "running"):
        url = response.headers["location"]
        job = (await client.get(url, headers={"prefer": "wait=30"})).json()
    assert job["status"] == "succeeded", job
    return job


async def test_a_job_makes_the_track_of_its_seed(client: httpx.AsyncClient) -> None:
    job = await finished(client, n=2)
    first, second = job["result"]
    assert (first["seed"], second["seed"], first["type"]) == (7, 8, "audio/wav")
    contents = [(await client.get(one["url"])).content for one in (first, second)]
    assert [len(samples_of(content)) for content in contents] == [32_000, 32_000]
    assert contents[0] != contents[1]
    assert [one["size_bytes"] for one in (first, second)] == [len(one) for one in contents]
    part = await client.get(first["url"], headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    head = await client.head(first["url"])
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(contents[0])))
    assert job["cost_usd"] is not None


async def test_a_wait_ends_with_the_job(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": f'"{uuid.uuid4()}"', "prefer": "wait=60"}
    first = await client.post("/v1/jobs", json=BODY, headers=key)
    assert (first.status_code, first.json()["status"]) == (200, "succeeded")
    again = await client.post("/v1/jobs", json=BODY, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_events_arrive_while_the_job_runs(
    client: httpx.AsyncClient, service: Service
) -> None:
    """The model stands still until the first event has come."""
    names = []
    with ExitStack() as standstill:
        standstill.enter_context(suspended(service))
        job = (await client.post("/v1/jobs", json=BODY)).json()
        url = f"/v1/jobs/{job['id']}/events"
        async with client.stream("GET", url) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                    standstill.close()
    assert names[-1] == "completed"
    assert set(names[:-1]) == {"progress"}


async def test_a_webhook_is_signed(client: httpx.AsyncClient) -> None:
    with receiver() as hook:
        job = await finished(client, webhook={"url": hook.url, "events": ["started", "completed"]})
        secret = (await client.get("/v1/webhooks/secret")).json()["secret"]
        async with asyncio.timeout(PATIENCE_S):
            while len({one.headers["webhook-id"] for one in hook.received}) < 2:
                await client.get("/health/live")
    types = {}
    for message in hook.received:
        event = Webhook(secret).verify(message.body, message.headers)
        assert event == json.loads(message.body)
        types[event["type"]] = event["data"]
    assert set(types) == {"job.started", "job.completed"}
    assert types["job.completed"]["id"] == job["id"]
    assert types["job.completed"]["result"][0]["sha256"] == job["result"][0]["sha256"]


@pytest.mark.long
@pytest.mark.parametrize("page", ["jobs.md", "clients/replicate.md"])
def test_the_documented_program_runs(service: Service, tmp_path: Path, page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    [program, *_] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    program = program.replace("http://127.0.0.1:8000", service.url)
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    [track] = tmp_path.iterdir()
    assert track.stat().st_size > 100_000


async def test_a_running_job_is_cancelled_and_erased(client: httpx.AsyncClient) -> None:
    job = (await client.post("/v1/jobs", json=BODY | {"duration_s": LONG_S})).json()
    url = f"/v1/jobs/{job['id']}"
    await client.post(f"{url}/cancel")
    ended = (await client.get(url, headers={"prefer": "wait=60"})).json()
    assert (ended["status"], ended["result"]) == ("canceled", [])
    assert (await client.get(f"{url}/audio")).json()["code"] == "job_has_no_result"
    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 404
