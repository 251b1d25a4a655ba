"""Through Serve: requests go to the replica on which they are expected to wait least."""

import asyncio
from typing import Any

import httpx
import pytest
import ray

from tests.cluster.conftest import MODEL_NODE, Fleet, application, model

PATH = "/v1/audio/generations"
MODEL = "MusicGen:routed"

pytestmark = pytest.mark.long


def held(fleet: Fleet) -> dict[str, tuple[int, float]]:
    """Return each replica's number of tracks, and the seconds of music that they leave."""
    found = {}
    for replica in fleet.replicas(MODEL):
        actor = ray.get_actor(replica["actor_name"], namespace="serve")
        stats: dict[str, Any] = ray.get(actor.record_routing_stats.remote())["stats"]
        left_s = stats["queued_audio_s"] + stats["running_audio_s"]
        found[replica["replica_id"]] = (stats["slots_used"] + stats["queued_requests"], left_s)
    return found


async def test_less_music_comes_before_fewer_requests(
    fleet: Fleet, client: httpx.AsyncClient
) -> None:
    """One replica has a track of 120 s. Five of 15 s all go to the other one, request by request."""
    if not fleet.nodes:
        fleet.add_node()
    part_of_a_node = {name: amount / 4 for name, amount in MODEL_NODE.items()}
    routed = model(
        "routed",
        {"pin_batch_shape": False, "max_slots": 6},
        num_replicas=2,
        ray_actor_options={"num_cpus": 1, "resources": part_of_a_node},
    )
    await asyncio.to_thread(fleet.deploy, application(routed))
    calls: list[asyncio.Task[httpx.Response]] = []

    async def send(duration_s: float, tracks: int) -> None:
        body = {"prompt": "lofi beat", "duration_s": duration_s, "model": "routed"}
        calls.append(asyncio.create_task(client.post(PATH, json=body)))
        await fleet.until(lambda: sum(count for count, _ in held(fleet).values()) == tracks)

    await send(120, 1)
    [long] = [name for name, (count, _) in held(fleet).items() if count]
    for number in range(5):
        await send(15, number + 2)
    counts = {name: count for name, (count, _) in held(fleet).items()}
    assert counts.pop(long) == 1
    assert list(counts.values()) == [5], (
        "by the number of requests, most would have gone to the first"
    )
    calls.pop(0).cancel()
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}
