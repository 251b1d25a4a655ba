"""Accepted requests survive the death of replicas, nodes and the controller, and an update."""

import asyncio
import logging
import os
import signal
from time import monotonic
from typing import Any

import httpx
import psutil
import pytest
from ray import serve

from serve_app import app
from serve_app.deployments.ingress import RayGenerator
from serve_app.deployments.node_watch import NodeWatch
from serve_app.errors import ReplicaUnreachable
from serve_app.types import GenerationRequest, StreamItem
from tests.cluster.conftest import APP, PATIENCE_S, PROXY_BACK_S, Fleet, application, model
from tests.cluster.fragile import Fragile
from tests.cluster.gate import closed_gate, waiting

PATH = "/v1/audio/generations"
DEPLOYMENT = "MusicGen:nano"
QUEUE_AUDIO_S = 40.0
MOST_HELD = 20 + 2 * 9  # tracks of 2 s: in the queue, and in two replicas of 8 slots
PROMPTS = ("lofi beat", "calm bells, 70 bpm", "energetic bass, 140 bpm", "sad strings")

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def two(fleet: Fleet) -> Fleet:
    """Two replicas on a node each, for all tests of this file."""
    while len(fleet.nodes) < 2:
        fleet.add_node()
    deploy(fleet)
    return fleet


def deploy(fleet: Fleet, **engine: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MusicGenReplica", Fragile)
        fleet.deploy(
            application(
                model(num_replicas=2, engine=engine) | {"max_queued_audio_s": QUEUE_AUDIO_S}
            )
        )


def body(number: int) -> dict[str, Any]:
    """A request; every other one streams."""
    return {
        "prompt": PROMPTS[number % 4],
        "duration_s": 1 + number % 3 / 2,
        "seed": number,
        "response_format": "pcm",
        "stream": number % 2 == 0,
    }


def is_whole(answer: bytes, number: int) -> bool:
    return len(answer) == int(body(number)["duration_s"] * 32_000) * 2


class Caller:
    """A request under way, with the bytes received so far."""

    def __init__(self, client: httpx.AsyncClient, number: int) -> None:
        self.received = bytearray()
        self.task = asyncio.create_task(self._call(client, number))

    async def _call(self, client: httpx.AsyncClient, number: int) -> bytes:
        async with client.stream("POST", PATH, json=body(number)) as response:
            async for part in response.aiter_bytes():
                self.received += part
            response.raise_for_status()
        return bytes(self.received)


async def callers_with_music(fleet: Fleet, client: httpx.AsyncClient, count: int) -> list[Caller]:
    """Start `count` requests and wait until one has received audio."""
    callers = [Caller(client, number) for number in range(count)]
    await fleet.until(lambda: any(caller.received for caller in callers))
    return callers


async def test_answers_outlive_a_replica_and_a_node(two: Fleet, client: httpx.AsyncClient) -> None:
    undisturbed = await asyncio.gather(*(Caller(client, number).task for number in range(24)))
    before = two.retried()
    with closed_gate():
        callers = await callers_with_music(two, client, 24)
        await two.until(lambda: len(waiting()) > 9)  # at both replicas
        killed, other = two.replicas(DEPLOYMENT)
        os.kill(killed["pid"], signal.SIGKILL)
        await two.until(lambda: bool(two.retried() - before))
        two.remove_node(other["node_id"])
        two.add_node()
    answers = await asyncio.gather(*(caller.task for caller in callers))
    assert all(is_whole(answer, number) for number, answer in enumerate(answers))
    assert answers == undisturbed
    assert len(two.retried() - before) > 1


async def test_a_lost_node_is_told_from_a_dead_replica(two: Fleet) -> None:
    """A lost node raises ReplicaUnreachable, which marks no request as a poison pill."""
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)
    handles = {"nano": serve.get_deployment_handle(DEPLOYMENT, APP)}
    generator = RayGenerator(handles, NodeWatch({}))
    with closed_gate():
        tracks = [asyncio.create_task(whole(generator, number)) for number in range(12)]
        await two.until(lambda: len(waiting()) == 12)  # at both replicas
        two.remove_node(two.replicas(DEPLOYMENT)[0]["node_id"])
        two.add_node()
        done, others = await asyncio.wait(tracks, return_when=asyncio.FIRST_EXCEPTION)
        assert {type(track.exception()) for track in done} == {ReplicaUnreachable}
        for track in others:
            track.cancel()


async def whole(generator: RayGenerator, number: int) -> list[StreamItem]:
    request = GenerationRequest(
        request_id=str(number), model="nano", prompt="piano", duration_s=3.0
    )
    return [chunk async for chunk in generator.generate(request)]


async def test_of_too_many_callers_some_are_served_and_the_others_refused(
    two: Fleet, client: httpx.AsyncClient
) -> None:
    """The queue has room for twenty of these requests."""
    [ingress] = two.replicas("Ingress")
    process = psutil.Process(ingress["pid"])
    memory = process.memory_info().rss
    request: dict[str, Any] = {
        "prompt": "lofi beat",
        "duration_s": QUEUE_AUDIO_S / 20,
        "response_format": "pcm",
    }
    with closed_gate():
        calls = [asyncio.create_task(client.post(PATH, json=request)) for _ in range(200)]
        await two.until(lambda: sum(call.done() for call in calls) >= 200 - MOST_HELD)
    answers = await asyncio.gather(*calls)
    served = [answer for answer in answers if answer.status_code == 200]
    assert 20 <= len(served) <= MOST_HELD
    assert {len(answer.content) for answer in served} == {int(request["duration_s"] * 32_000) * 2}
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {
        (429, "queue_full")
    }
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert "requests for" in refused[0].json()["detail"], "the message gives the queue's length"
    assert is_whole(await Caller(client, 0).task, 0), "the service has recovered"
    assert process.memory_info().rss - memory < 100 * 2**20


async def test_the_controller_may_die(two: Fleet, client: httpx.AsyncClient) -> None:
    with closed_gate():
        callers = await callers_with_music(two, client, 6)
        two.kill("ray::ServeController")
    answers = await asyncio.gather(*(caller.task for caller in callers))
    assert all(is_whole(answer, number) for number, answer in enumerate(answers))
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)


@pytest.mark.parametrize("process", ["ray::ServeReplica:musicgen:Ingress", "ray::ProxyActor"])
async def test_the_death_of_an_ingress_or_a_proxy_breaks_its_connections(
    two: Fleet, client: httpx.AsyncClient, process: str
) -> None:
    """Callers get a 500 or a broken connection, never a short answer that looks whole.

    The service recovers. tests/test_two_proxies.py has two of each.
    """
    with closed_gate():
        callers = await callers_with_music(two, client, 24)
        two.kill(process)
        killed_at = monotonic()
    ends = await asyncio.gather(*(caller.task for caller in callers), return_exceptions=True)
    broken = [isinstance(end, httpx.HTTPError) for end in ends]
    assert any(broken)
    statuses = {end.response.status_code for end in ends if isinstance(end, httpx.HTTPStatusError)}
    assert statuses <= {500}
    assert all(is_whole(end, number) for number, end in enumerate(ends) if isinstance(end, bytes))
    assert all(isinstance(end, bytes | httpx.HTTPError) for end in ends), ends
    async with asyncio.timeout(PATIENCE_S):
        while not await answers_again(client):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.1)
    back_s = monotonic() - killed_at
    logger.info("%s died: the service was back after %.1f s", process, back_s)
    assert back_s < PROXY_BACK_S


async def answers_again(client: httpx.AsyncClient) -> bool:
    try:
        return is_whole(await Caller(client, 0).task, 0)
    except httpx.HTTPError:
        return False


async def test_an_update_under_load_fails_no_request(two: Fleet, client: httpx.AsyncClient) -> None:
    """Last in this file, because it replaces the replicas."""
    undisturbed = await asyncio.gather(*(Caller(client, number).task for number in range(2)))
    before = {replica["pid"] for replica in two.replicas(DEPLOYMENT)}
    updated = asyncio.Event()

    async def keep_calling(number: int) -> int:
        calls = 0
        while not updated.is_set():
            assert await Caller(client, number).task == undisturbed[number]
            calls += 1
        return calls

    callers = asyncio.gather(*(keep_calling(number) for number in range(2)))
    await asyncio.to_thread(deploy, two, prompt_cache_size=8)
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)
    updated.set()
    assert min(await callers) >= 1
    assert before.isdisjoint(replica["pid"] for replica in two.replicas(DEPLOYMENT))
