"""Nodes whose cloud takes them away, and updates of the ingress: requests under way reach their ends."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import ray

from tests.cluster.conftest import PATIENCE_S, Fleet, model, settings
from tests.cluster.fragile import build_app
from tests.cluster.gate import PASSING, closed_gate, waiting
from tests.node.metadata_service import metadata_service

PATH = "/v1/audio/generations"
DEPLOYMENT = "MusicGen:nano"
SPOT = "/latest/meta-data/spot/instance-action"
LONG = "a long goodbye"  # prompt of the track that ends when the test says
LEFT_S = 120  # between the notice and the end, as on AWS
DURATION_S = 4
GRACE_S = 3.0
LASTING_S = 60  # longer than an update of the ingress

pytestmark = pytest.mark.long


@contextmanager
def watch(node_id: str, address: str) -> Iterator[None]:
    """Run the watch, told by a stand-in for AWS's metadata service that the node ends in two minutes."""
    ends_at = datetime.now(UTC) + timedelta(seconds=LEFT_S)
    program = [sys.executable, "-m", "serve_app.cli.app", "watch-preemption", "aws"]
    with metadata_service() as service:
        service.values[SPOT] = json.dumps({"action": "terminate", "time": ends_at.isoformat()})
        options = ["--metadata", service.url, "--node-id", node_id, "--address", address]
        process = subprocess.Popen([*program, *options], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


async def call(
    client: httpx.AsyncClient,
    duration_s: float,
    prompt: str = PASSING,
    started: asyncio.Event | None = None,
) -> int:
    """Stream a track; return the number of its samples."""
    body = {
        "prompt": prompt,
        "duration_s": duration_s,
        "seed": 1,
        "response_format": "pcm",
        "stream": True,
    }
    received = 0
    async with client.stream("POST", PATH, json=body) as response:
        response.raise_for_status()
        async for part in response.aiter_bytes():
            received += len(part)
            if started is not None:
                started.set()
    return received // 2


async def test_a_reclaimed_node_loses_no_request(fleet: Fleet, client: httpx.AsyncClient) -> None:
    while len(fleet.nodes) < 2:
        fleet.add_node()
    address = fleet.cluster.address
    gcs = ray._raylet.GcsClient(address=address)
    fleet.deploy(build_app(settings(model(num_replicas=1))))
    await fleet.until(lambda: len(fleet.replicas(DEPLOYMENT)) == 1)
    [replica] = fleet.replicas(DEPLOYMENT)
    node_id = str(replica["node_id"])

    def moved() -> bool:
        nodes = {one["node_id"] for one in fleet.replicas(DEPLOYMENT)}
        return bool(nodes) and node_id not in nodes

    draining: dict[str, int] = {}

    def drains() -> bool:
        draining.update(gcs.get_draining_nodes())
        return node_id in draining

    with closed_gate():
        track = asyncio.create_task(call(client, DURATION_S, LONG))
        await fleet.until(lambda: len(waiting()) == 1)
        with watch(node_id, address):
            await fleet.until(drains)
            await fleet.until(moved)
    assert await track == DURATION_S * 32_000
    left_s = draining[node_id] / 1000 - datetime.now(UTC).timestamp()
    assert left_s < LEFT_S
    assert await call(client, 1) == 32_000, "the replacement answers"
    await fleet.until(lambda: not alive(node_id))
    fleet.remove_node(node_id)


def deploy(fleet: Fleet, max_prompt_chars: int, grace_s: float = 600.0) -> None:
    """Deploy another version: `serve.run` replaces the replicas of the model, too.

    grace_s: `graceful_shutdown_timeout_s` of all replicas.
    """
    args = settings(model(num_replicas=1, graceful_shutdown_timeout_s=grace_s))
    args["ingress_deployment_config"] |= {
        "max_surge_percent": 100,
        "graceful_shutdown_timeout_s": grace_s,
    }
    fleet.deploy(build_app(args | {"api": {"max_prompt_chars": max_prompt_chars}}))


async def test_an_update_of_the_ingress_loses_no_request(
    fleet: Fleet, client: httpx.AsyncClient
) -> None:
    """A new ingress replica starts before the old one stops, which finishes what it has."""

    while len(fleet.nodes) < 2:  # one for the model's old replica, one for its new one
        fleet.add_node()
    await asyncio.to_thread(deploy, fleet, 100)
    [old] = fleet.replicas("Ingress")
    started = asyncio.Event()
    track = asyncio.create_task(call(client, LASTING_S, started=started))
    async with asyncio.timeout(PATIENCE_S):
        await started.wait()
    update = asyncio.create_task(asyncio.to_thread(deploy, fleet, 101))
    answered = 0
    while not update.done() or answered < 3:
        assert await call(client, 0.5) == 16_000
        answered += 1
    await update
    assert await track == LASTING_S * 32_000
    await fleet.until(lambda: old["pid"] not in {one["pid"] for one in fleet.replicas("Ingress")})
    assert await call(client, 0.5) == 16_000


async def test_a_track_that_lasts_keeps_an_update_from_its_end_but_nobody_else(
    fleet: Fleet, client: httpx.AsyncClient
) -> None:
    """Serve calls an application RUNNING when its old replicas have ended."""
    while len(fleet.nodes) < 2:
        fleet.add_node()
    await asyncio.to_thread(deploy, fleet, 102)
    with closed_gate():
        track = await held(fleet, client)
        update = asyncio.create_task(asyncio.to_thread(deploy, fleet, 103))
        await fleet.until(lambda: len(fleet.replicas("Ingress", "STOPPING")) == 1)
        await fleet.until(lambda: len(fleet.replicas(DEPLOYMENT)) == 1)
        assert await call(client, 0.5) == 16_000, "the new ones answer"
        assert not update.done()
        assert not track.done()
    assert await track == DURATION_S * 32_000
    await update


async def test_an_update_ends_with_the_grace_of_old_replicas(
    fleet: Fleet, client: httpx.AsyncClient
) -> None:
    """A track whose ingress replica has ended by then breaks off."""
    while len(fleet.nodes) < 2:
        fleet.add_node()
    await asyncio.to_thread(deploy, fleet, 104, GRACE_S)
    with closed_gate():
        track = await held(fleet, client)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.to_thread(deploy, fleet, 105, GRACE_S)
        with pytest.raises(httpx.RemoteProtocolError):
            await track
    assert await call(client, 0.5) == 16_000


async def held(fleet: Fleet, client: httpx.AsyncClient) -> asyncio.Task[int]:
    """Start a track; return it when it waits at the gate for its end."""
    track = asyncio.create_task(call(client, DURATION_S, LONG))
    await fleet.until(lambda: len(waiting()) == 1)
    return track


def alive(node_id: str) -> bool:
    nodes: list[dict[str, Any]] = ray.nodes()
    return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)
