"""What was accepted is answered, whatever dies: replicas, nodes, and what an update replaces."""

import asyncio
import os
import signal
from typing import Any

import httpx
import psutil
import pytest
from ray import serve

from serve_app import app
from serve_app.deployments.ingress import RayFleet, RayGenerator
from serve_app.errors import ReplicaUnreachable
from serve_app.types import GenerationRequest, StreamItem
from tests.cluster.conftest import APP, Fleet, application, model
from tests.cluster.fragile import POISON, Fragile

PATH, DEPLOYMENT = "/v1/audio/generations", "MusicGen:nano"
ROOM_S = 40.0  # of music that may wait
PROMPTS = ("lofi beat", "calm bells, 70 bpm", "energetic bass, 140 bpm", "sad strings")


@pytest.fixture(scope="module")
def two(fleet: Fleet) -> Fleet:
    """Two replicas, on a node each, for the whole file."""
    while len(fleet.nodes) < 2:
        fleet.add_node()
    deploy(fleet)
    return fleet


def deploy(fleet: Fleet, **engine: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MusicGenReplica", Fragile)
        fleet.deploy(
            application(model(num_replicas=2, engine=engine) | {"max_queued_audio_s": ROOM_S})
        )


def body(number: int) -> dict[str, Any]:
    """Every other one is a stream."""
    return {
        "prompt": PROMPTS[number % 4], "duration_s": 1 + number % 3 / 2, "seed": number, "response_format": "pcm",
        "stream": number % 2 == 0,
    }  # fmt: skip


def is_whole(answer: bytes, number: int) -> bool:
    return len(answer) == int(body(number)["duration_s"] * 32_000) * 2


class Caller:
    """A request under way: what has come so far."""

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
    """That many under way, at least one of which has begun to receive."""
    callers = [Caller(client, number) for number in range(count)]
    await fleet.until(lambda: any(caller.received for caller in callers))
    return callers


async def test_answers_outlive_a_replica_and_a_node(two: Fleet, client: httpx.AsyncClient) -> None:
    undisturbed = await asyncio.gather(*(Caller(client, number).task for number in range(24)))
    callers = await callers_with_music(two, client, 24)
    killed, other = two.replicas(DEPLOYMENT)
    os.kill(killed["pid"], signal.SIGKILL)
    await two.until(lambda: any(caller.task.done() for caller in callers))
    two.remove_node(other["node_id"])
    two.add_node()
    answers = await asyncio.gather(*(caller.task for caller in callers))
    assert all(is_whole(answer, number) for number, answer in enumerate(answers))
    assert answers == undisturbed


async def test_a_request_that_kills_replicas_is_refused(
    two: Fleet, client: httpx.AsyncClient
) -> None:
    callers = await callers_with_music(two, client, 8)
    response = await client.post(PATH, json={"prompt": POISON, "duration_s": 1})
    assert (response.status_code, response.json()["code"]) == (500, "generation_failed")
    answers = await asyncio.gather(*(caller.task for caller in callers))
    assert all(is_whole(answer, number) for number, answer in enumerate(answers))


async def test_a_lost_node_is_told_from_a_dead_replica(two: Fleet) -> None:
    """Of the latter a request may be guilty; the test before this one shows what becomes of it."""
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)
    handles = {"nano": serve.get_deployment_handle(DEPLOYMENT, APP)}
    fleet = RayFleet(handles)
    backend = RayGenerator(handles)
    pieces = [asyncio.create_task(whole(backend, number)) for number in range(12)]
    async with asyncio.timeout(60):
        while sum(replica.stats.slots_used > 0 for replica in await fleet.replicas("nano")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    two.remove_node(two.replicas(DEPLOYMENT)[0]["node_id"])
    two.add_node()
    done, others = await asyncio.wait(pieces, return_when=asyncio.FIRST_EXCEPTION)
    assert {type(piece.exception()) for piece in done} == {ReplicaUnreachable}
    for piece in others:
        piece.cancel()


async def whole(backend: RayGenerator, number: int) -> list[StreamItem]:
    request = GenerationRequest(
        request_id=str(number), model="nano", prompt="piano", duration_s=30.0
    )
    return [chunk async for chunk in backend.generate(request)]


async def test_of_too_many_callers_some_are_served_and_the_others_told(
    two: Fleet, client: httpx.AsyncClient
) -> None:
    """There is room for twenty of these."""
    [ingress] = two.replicas("Ingress")
    process = psutil.Process(ingress["pid"])
    memory = process.memory_info().rss
    piece: dict[str, Any] = {
        "prompt": "lofi beat",
        "duration_s": ROOM_S / 20,
        "response_format": "pcm",
    }
    answers = await asyncio.gather(*(client.post(PATH, json=piece) for _ in range(200)))
    served = [answer for answer in answers if answer.status_code == 200]
    assert len(served) >= 20
    assert {len(answer.content) for answer in served} == {int(piece["duration_s"] * 32_000) * 2}
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {
        (429, "queue_full")
    }
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert "requests for" in refused[0].json()["detail"], "it tells how long the line is"
    assert is_whole(await Caller(client, 0).task, 0), "and then all is as before"
    assert process.memory_info().rss - memory < 100 * 2**20


async def test_the_controller_may_die(two: Fleet, client: httpx.AsyncClient) -> None:
    callers = await callers_with_music(two, client, 6)
    two.kill("ray::ServeController")
    answers = await asyncio.gather(*(caller.task for caller in callers))
    assert all(is_whole(answer, number) for number, answer in enumerate(answers))
    await two.until(lambda: len(two.replicas(DEPLOYMENT)) == 2)


@pytest.mark.parametrize("who", ["ray::ServeReplica:musicgen:Ingress", "ray::ProxyActor"])
async def test_an_ingress_or_a_proxy_takes_its_callers_along(
    two: Fleet, client: httpx.AsyncClient, who: str
) -> None:
    """They see a 500 or an answer that ends too early, and never a short one that looks whole. Soon all is well."""
    callers = await callers_with_music(two, client, 24)
    two.kill(who)
    ends = await asyncio.gather(*(caller.task for caller in callers), return_exceptions=True)
    broken = [isinstance(end, httpx.HTTPError) for end in ends]
    assert any(broken)
    assert all(is_whole(end, number) for number, end in enumerate(ends) if isinstance(end, bytes))
    assert all(isinstance(end, bytes | httpx.HTTPError) for end in ends), ends
    async with asyncio.timeout(120):
        while not await answers_again(client):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.1)


async def answers_again(client: httpx.AsyncClient) -> bool:
    try:
        return is_whole(await Caller(client, 0).task, 0)
    except httpx.HTTPError:
        return False


async def test_an_update_under_load_fails_no_request(two: Fleet, client: httpx.AsyncClient) -> None:
    """Last in this file: the replicas are others from here on."""
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
