"""Models scale with the requested seconds of music, by the policy of the configurations."""

import asyncio
from typing import Any

import httpx
import pytest
import yaml

from serve_app.app import build_app
from tests.cluster.conftest import (
    INGRESS_NODE,
    MODEL_NODE,
    PATIENCE_S,
    Fleet,
    application,
    model,
    settings,
)
from tests.conftest import CONFIGS

PATH = "/v1/audio/generations"
BUSY = "MusicGen:busy"
RARE = "MusicGen:rare"
ASKED_OF_RARE: dict[str, Any] = {"prompt": "lofi beat", "duration_s": 1, "model": "rare"}

pytestmark = pytest.mark.long


def scaled(model_id: str, least: int, most: int, **engine: Any) -> dict[str, Any]:
    """A model with the policy of configs/all.yaml and shorter delays."""
    [application] = yaml.safe_load((CONFIGS / "all.yaml").read_text())["applications"]
    policy = application["args"]["models"][0]["deployment_config"]["autoscaling_config"]["policy"]
    policy["policy_kwargs"]["drain_s"] = 5  # so that a few requests already need more replicas
    scaling = {
        "min_replicas": least,
        "max_replicas": most,
        "metrics_interval_s": 1,
        "look_back_period_s": 2,
        "upscale_delay_s": 1,
        "downscale_delay_s": 3,
        "policy": policy,
    }
    part_of_a_node = {name: amount / 4 for name, amount in MODEL_NODE.items()}
    return model(
        model_id,
        {"pin_batch_shape": False, "max_slots": 4} | engine,
        autoscaling_config=scaling,
        ray_actor_options={"num_cpus": 1, "resources": part_of_a_node},
    )


def call(client: httpx.AsyncClient, duration_s: float) -> asyncio.Task[httpx.Response]:
    body = {"prompt": "lofi beat", "duration_s": duration_s, "model": "busy"}
    return asyncio.create_task(client.post(PATH, json=body))


async def call_on(client: httpx.AsyncClient, duration_s: float) -> None:
    """Ask for one track after another."""
    while True:
        await call(client, duration_s)


# Serve deprecates the option in favour of a variable that holds for a whole machine.
@pytest.mark.filterwarnings("ignore:.*metrics_interval_s.*")
async def test_running_tracks_start_no_replica(fleet: Fleet, client: httpx.AsyncClient) -> None:
    """They stay in the slots of theirs, of whose full rate two of eight make a quarter."""
    if not fleet.nodes:
        fleet.add_node()
    busy = scaled("busy", 1, 3, pin_batch_shape=True, max_slots=8)
    await asyncio.to_thread(fleet.deploy, application(busy))
    callers = [call(client, 20) for _ in range(2)]
    targets = set()
    while not all(caller.done() for caller in callers):
        targets.add(await asyncio.to_thread(fleet.target, BUSY))
    assert {caller.result().status_code for caller in callers} == {200}
    assert targets == {1}


@pytest.mark.filterwarnings("ignore:.*metrics_interval_s.*")
async def test_models_scale_on_their_own(fleet: Fleet, client: httpx.AsyncClient) -> None:
    """One model goes from 1 replica to 3 and back, the other from 0 to 1 and back."""
    if not fleet.nodes:
        fleet.add_node()
    await asyncio.to_thread(fleet.deploy, application(scaled("busy", 1, 3), scaled("rare", 0, 1)))
    assert (len(fleet.replicas(BUSY)), len(fleet.replicas(RARE))) == (1, 0)

    callers = [asyncio.create_task(call_on(client, 120)) for _ in range(12)]
    await fleet.until(lambda: len(fleet.replicas(BUSY)) == 3)
    assert fleet.replicas(RARE) == []
    for caller in callers:
        caller.cancel()

    async with asyncio.timeout(PATIENCE_S):
        seen = 0  # the replica may be gone again before a busy machine looks
        while not seen:
            answer = await client.post(PATH, json=ASKED_OF_RARE)
            assert answer.status_code == 200
            seen = len(await asyncio.to_thread(fleet.replicas, RARE))
    assert seen == 1
    await fleet.until(lambda: len(fleet.replicas(BUSY)) == 1)
    await fleet.until(lambda: fleet.replicas(RARE) == [])


@pytest.mark.filterwarnings("ignore:.*metrics_interval_s.*")
async def test_the_ingress_scales_on_its_cpu(fleet: Fleet, client: httpx.AsyncClient) -> None:
    """Callers are few, so that the number of requests never asks for a second replica."""
    if not fleet.nodes:
        fleet.add_node()
    args = settings(model("nano"))
    args["ingress_deployment_config"] = {
        "ray_actor_options": {"num_cpus": 0, "resources": INGRESS_NODE},
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": 2,
            "metrics_interval_s": 1,
            "look_back_period_s": 2,
            "upscale_delay_s": 1,
            "downscale_delay_s": 3,
            "policy": {
                "policy_function": "serve_app.deployments.autoscaling:CpuPolicy",
                "policy_kwargs": {"target_cpu": 0.15, "target_requests": 1000},
            },
        },
    }
    await asyncio.to_thread(fleet.deploy, build_app(args))
    await fleet.until(lambda: fleet.target("Ingress") == 1)

    async def call_often() -> None:
        for _ in range(10):
            assert (await client.get("/v1/models")).status_code == 200

    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(fleet.target, "Ingress") < 2:
            await asyncio.gather(*(call_often() for _ in range(5)))
