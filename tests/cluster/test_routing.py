"""Through Serve: requests go to the replica on which they are expected to wait least."""

import asyncio
from typing import Any

import httpx
import pytest
import ray

from serve_app import app
from tests.cluster.conftest import MODEL_NODE, Fleet, application, model
from tests.cluster.held import HELD, Counting

PATH = "/v1/audio/generations"
MODEL = "MusicGen:routed"

pytestmark = pytest.mark.long


def held(fleet: Fleet) -> dict[str, int]:
    """Return each replica's number of requests."""
    found = {}
    for replica in fleet.replicas(MODEL):
        actor = ray.get_actor(replica["actor_name"], namespace="serve")
        stats: dict[str, Any] = ray.get(actor.record_routing_stats.remote())["stats"]
        found[replica["replica_id"]] = stats["queued_requests"]
    return found


async def test_less_music_comes_before_fewer_requests(
    fleet: Fleet, client: httpx.AsyncClient
) -> None:
    """One replica has a track of 120 s. Five of 15 s all go to the other one, request by request.

    None of them is begun, so that they stay as long as the test looks.
    """
    if not fleet.nodes:
        fleet.add_node()
    part_of_a_node = {name: amount / 4 for name, amount in MODEL_NODE.items()}
    routed = model(
        "routed",
        {"pin_batch_shape": False, "max_slots": 6},
        num_replicas=2,
        ray_actor_options={"num_cpus": 1, "resources": part_of_a_node},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MusicGenReplica", Counting)
        await asyncio.to_thread(fleet.deploy, application(routed))
    calls: list[asyncio.Task[httpx.Response]] = []

    async def send(duration_s: float, tracks: int) -> None:
        calls.append(post(client, HELD, duration_s))
        await fleet.until(lambda: sum(held(fleet).values()) == tracks)

    await send(120, 1)
    [long] = [name for name, count in held(fleet).items() if count]
    for number in range(5):
        await send(15, number + 2)
    counts = held(fleet)
    assert counts.pop(long) == 1
    assert list(counts.values()) == [5], (
        "by the number of requests, most would have gone to the first"
    )
    for call in calls:
        call.cancel()
    answers = await asyncio.gather(*(post(client, "lofi beat", 1.0) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}


def post(client: httpx.AsyncClient, prompt: str, duration_s: float) -> asyncio.Task[httpx.Response]:
    body = {"prompt": prompt, "duration_s": duration_s, "model": "routed"}
    return asyncio.create_task(client.post(PATH, json=body))
