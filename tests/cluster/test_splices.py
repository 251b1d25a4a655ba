"""Tracks that outlive their replica, in every format, with the same bits; replicas that end on purpose."""

import asyncio
import base64
import json
import logging
import os
import signal
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx
import pytest

from serve_app import app
from serve_app.app import build_app
from serve_app.config.deployment import DeploymentConfig
from tests.cluster.conftest import PATIENCE_S, START_S, Fleet, model, settings
from tests.cluster.fragile import ENDLESS, ENGINE_FAILURE, POISON, Fragile
from tests.cluster.gate import closed_gate, no_starts, waiting
from tests.service.conftest import samples_of
from tools.recovery_bounds import ended_replica_s

PATH = "/v1/audio/generations"
DEPLOYMENT = "MusicGen:nano"
DURATION_S = 12.0
PAUSE_S = ended_replica_s(DeploymentConfig()) + START_S  # until a lost replica's track goes on
GRACE_S = 2
RESUME = "x-musicgen-resume"
LOOSE = {"pcm", "sse", "whole"}
FORMATS: dict[str, dict[str, Any]] = {
    "pcm": {"response_format": "pcm", "stream": True},
    "wav": {"response_format": "wav", "stream": True},
    "mp3": {"response_format": "mp3", "stream": True},
    "opus": {"response_format": "opus", "stream": True},
    "sse": {"response_format": "pcm", "stream": True, "stream_format": "sse"},
    "whole": {"response_format": "wav"},
    "prompted": {"response_format": "pcm", "stream": True},
}

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


def deploy(fleet: Fleet, **deployment: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MusicGenReplica", Fragile)
        fleet.deploy(build_app(settings(model(num_replicas=2, **deployment), ingresses=2)))


@pytest.fixture(scope="module")
def two(fleet: Fleet) -> Fleet:
    """Two replicas on a node each, and two ingress replicas."""
    while len(fleet.nodes) < 2:
        fleet.add_node()
    deploy(fleet, graceful_shutdown_timeout_s=GRACE_S)
    return fleet


@dataclass
class Answer:
    """The answer of one call as it arrives. longest_s: the longest time without a byte."""

    request_id: str
    content: bytearray = field(default_factory=bytearray)
    longest_s: float = 0.0
    headers: httpx.Headers = field(default_factory=httpx.Headers)

    async def receive(self, client: httpx.AsyncClient, body: dict[str, Any]) -> bytes:
        headers = {"x-request-id": self.request_id}
        async with client.stream("POST", PATH, json=body, headers=headers) as response:
            response.raise_for_status()
            self.headers = response.headers
            heard_at = monotonic()
            async for part in response.aiter_bytes():
                self.longest_s = max(self.longest_s, monotonic() - heard_at)
                heard_at = monotonic()
                self.content += part
        return bytes(self.content)


def start(
    client: httpx.AsyncClient, label: str, bodies: dict[str, dict[str, Any]]
) -> dict[str, tuple[Answer, asyncio.Task[bytes]]]:
    calls = {}
    for name, body in bodies.items():
        answer = Answer(f"{label}-{name}")
        calls[name] = (answer, asyncio.create_task(answer.receive(client, body)))
    return calls


async def bodies(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    short = {"prompt": "bells", "duration_s": 2.0, "seed": 3, "response_format": "wav"}
    prompt = (await client.post(PATH, json=short)).content
    base: dict[str, Any] = {"prompt": "lofi beat", "duration_s": DURATION_S, "seed": 7}
    found = {name: base | options for name, options in FORMATS.items()}
    found["prompted"]["audio_prompt"] = base64.b64encode(prompt).decode()
    return found


def sound(name: str, content: bytes) -> bytes:
    """The audio of an answer, without what differs between two runs: times in the events."""
    if name != "sse":
        return content
    return b"".join(base64.b64decode(one["audio"]) for one in events(content) if "audio" in one)


def events(content: bytes) -> list[dict[str, Any]]:
    lines = content.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line[:6] == "data: "]


async def with_music(fleet: Fleet, calls: dict[str, tuple[Answer, asyncio.Task[bytes]]]) -> None:
    """Wait until all streams have begun, and none has ended."""
    streams = [answer for name, (answer, _) in calls.items() if name != "whole"]
    await fleet.until(lambda: all(answer.content for answer in streams))
    assert not any(task.done() for _, task in calls.values())


async def lost(client: httpx.AsyncClient) -> None:
    """Wait until `/health` tells that no replica is left."""
    async with asyncio.timeout(PATIENCE_S):
        while (await client.get("/health")).json()["model_loaded"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_every_format_outlives_its_replica(two: Fleet, client: httpx.AsyncClient) -> None:
    """Both replicas die, one after the other: each request has lost one at least."""
    wanted = await bodies(client)
    undisturbed = {name: await task for name, (_, task) in start(client, "calm", wanted).items()}
    with closed_gate(), no_starts():
        calls = start(client, "torn", wanted)
        await with_music(two, calls)
        await two.until(lambda: waiting() == {f"torn-{name}" for name in FORMATS})
        first, second = two.replicas(DEPLOYMENT)
        for replica in (first, second):
            os.kill(replica["pid"], signal.SIGKILL)
        await lost(client)
    answers = {name: await task for name, (_, task) in calls.items()}
    for name, content in answers.items():
        assert sound(name, content) == sound(name, undisturbed[name]), name
    assert {f"torn-{name}" for name in FORMATS} <= two.retried()
    pause_s = max(answer.longest_s for answer, _ in calls.values())
    logger.info("Both replicas died: the longest pause of a stream was %.1f s", pause_s)
    assert pause_s < PAUSE_S
    assert {answer.headers[RESUME] for answer, _ in calls.values()} == {"exact"}
    assert events(answers["sse"])[-1]["resume"] == "exact"
    assert len(samples_of(answers["whole"])) == DURATION_S * 32_000


async def test_a_replica_whose_engine_fails_ends(two: Fleet, client: httpx.AsyncClient) -> None:
    """Its tracks go on with another replica, and Serve starts a new one."""
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)
    before = {replica["pid"] for replica in two.replicas(DEPLOYMENT)}
    body: dict[str, Any] = {"prompt": ENGINE_FAILURE, "duration_s": 2.0, "seed": 1}
    undisturbed = (await client.post(PATH, json=body)).content
    Fragile.arm()
    answer = await client.post(PATH, json=body, headers={"x-request-id": "failing"})
    assert (answer.status_code, answer.content) == (200, undisturbed)
    assert "failing" in two.retried()

    def replaced() -> set[int]:
        """The replicas that have ended, once there are two again."""
        after = {replica["pid"] for replica in two.replicas(DEPLOYMENT)}
        return before - after if len(after) == 2 else set()

    await two.until(lambda: bool(replaced()))
    assert len(replaced()) == 1


async def test_a_request_that_kills_replicas_is_refused(
    two: Fleet, client: httpx.AsyncClient
) -> None:
    """The ingress replicas search for it together: the tracks of neither are failed with it."""
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)
    async with asyncio.timeout(PATIENCE_S):
        while ingresses_with(two, "known") < 2:
            await client.get("/v1/models", headers={"x-request-id": "known"})
    base: dict[str, Any] = {"prompt": "bells", "duration_s": 4.0, "response_format": "pcm"}
    bodies = {str(seed): base | {"seed": seed, "stream": seed % 2 == 0} for seed in range(8)}
    calls = start(client, "beside", bodies)
    await two.until(lambda: any(answer.content for answer, _ in calls.values()))
    response = await client.post(PATH, json=base | {"prompt": POISON})
    assert (response.status_code, response.json()["code"]) == (500, "generation_failed")
    lengths = {len(await task) for _, task in calls.values()}
    assert lengths == {4 * 32_000 * 2}
    await two.until(lambda: ingresses_with(two, "beside-") >= 2)


def ingresses_with(fleet: Fleet, request_id: str) -> int:
    """Ingress replicas, lost ones too, that have logged a request."""
    return sum(request_id in log for log in fleet.ingress_logs())


async def test_a_track_outlives_the_grace_of_an_update(
    two: Fleet, client: httpx.AsyncClient
) -> None:
    """It lasts longer than `graceful_shutdown_timeout_s`: one of the new replicas takes it over."""
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)
    body = {
        "prompt": ENDLESS,
        "duration_s": 5.0,
        "seed": 9,
        "response_format": "pcm",
        "stream": True,
    }
    undisturbed = await Answer("alone").receive(client, body)
    Fragile.arm()
    calls = start(client, "updated", {"pcm": body})
    await with_music(two, calls)
    before = {replica["pid"] for replica in two.replicas(DEPLOYMENT)}
    await asyncio.to_thread(
        deploy, two, graceful_shutdown_timeout_s=GRACE_S, max_ongoing_requests=7
    )
    answer, task = calls["pcm"]
    assert await task == undisturbed
    assert before.isdisjoint(replica["pid"] for replica in two.replicas(DEPLOYMENT))
    assert "updated-pcm" in two.retried()
    assert answer.longest_s < PAUSE_S


async def test_a_batch_shape_that_is_not_pinned_is_told(
    two: Fleet, client: httpx.AsyncClient
) -> None:
    """A stream says with its beginning that its rest may differ; last here, for it replaces the replicas."""
    unpinned = {"pin_batch_shape": False}
    await asyncio.to_thread(deploy, two, engine=unpinned, graceful_shutdown_timeout_s=GRACE_S)
    wanted = {name: body for name, body in (await bodies(client)).items() if name in LOOSE}
    with closed_gate(), no_starts():
        calls = start(client, "loose", wanted)
        await with_music(two, calls)
        await two.until(lambda: waiting() == {f"loose-{name}" for name in LOOSE})
        begun = {name: answer.headers.get(RESUME) for name, (answer, _) in calls.items()}
        assert begun == {"pcm": "approximate", "sse": "approximate", "whole": None}
        for replica in two.replicas(DEPLOYMENT):
            os.kill(replica["pid"], signal.SIGKILL)
        await lost(client)
    answers = {name: await task for name, (_, task) in calls.items()}
    assert {f"loose-{name}" for name in LOOSE} <= two.retried()
    assert calls["whole"][0].headers[RESUME] == "approximate"
    *_, end = events(answers["sse"])
    assert end["resume"] == "approximate"
    assert len(samples_of(answers["whole"])) == DURATION_S * 32_000
    assert len(answers["pcm"]) == len(sound("sse", answers["sse"])) == DURATION_S * 32_000 * 2
