"""Health checks and Hugging Face's route while a model starts, and while it is at zero replicas."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import httpx
import pytest
from ray import serve

from tests.cluster.conftest import APP, PATIENCE_S, Fleet, application, model

LATE_NODE = {"late_node": 1}
REPOSITORY = "/models/facebook/musicgen-nano"
BODY: dict[str, Any] = {"inputs": "a", "parameters": {"max_new_tokens": 25}}

pytestmark = pytest.mark.long


@pytest.fixture
async def late_node(fleet: Fleet) -> AsyncIterator[list[Any]]:
    """Nodes that a test adds; they and the application are gone afterwards."""
    await asyncio.to_thread(serve.delete, APP)
    nodes: list[Any] = []
    yield nodes
    await asyncio.to_thread(serve.delete, APP)
    for node in nodes:
        await asyncio.to_thread(fleet.cluster.remove_node, node)


def late_model(**deployment: Any) -> dict[str, Any]:
    """A model that only a node with LATE_NODE can hold."""
    actor = {"num_cpus": 1, "resources": LATE_NODE}
    return model(engine={"max_slots": 2}, ray_actor_options=actor, **deployment)


async def until_health_is(client: httpx.AsyncClient, status: int) -> httpx.Response:
    """Ask until the ingress answers with `status`; before it runs, Serve's proxy answers in text."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            response = await client.get("/health")
            is_ingress = response.headers.get("content-type", "").startswith("application/json")
            if is_ingress and response.status_code == status:
                return response
            await asyncio.sleep(0.1)


async def test_health_is_starting_until_the_model_has_a_node(
    fleet: Fleet, client: httpx.AsyncClient, late_node: list[Any]
) -> None:
    deploying = asyncio.create_task(asyncio.to_thread(fleet.deploy, application(late_model())))
    response = await until_health_is(client, 503)
    assert response.json()["status"] == "starting"
    assert (await client.head("/health")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
    late_node.append(fleet.cluster.add_node(num_cpus=4, resources=LATE_NODE))
    response = await until_health_is(client, 200)
    assert response.json() == {"status": "healthy", "device": "cpu", "model_loaded": True}
    await deploying


@pytest.mark.filterwarnings("ignore:.*metrics_interval_s.*")
async def test_a_request_waits_for_a_model_at_zero_replicas(
    fleet: Fleet, client: httpx.AsyncClient, late_node: list[Any]
) -> None:
    scaling = {"min_replicas": 0, "max_replicas": 1, "metrics_interval_s": 1}
    scaling |= {"look_back_period_s": 2, "upscale_delay_s": 1}
    late_node.append(fleet.cluster.add_node(num_cpus=4, resources=LATE_NODE))
    cold = late_model(autoscaling_config=scaling)
    await asyncio.to_thread(fleet.deploy, application(cold))
    health = await client.get("/health")
    assert (health.status_code, health.json()["model_loaded"]) == (200, False)
    asked_at = monotonic()
    options = {"dont_load_model": True}
    refused = await client.post(REPOSITORY, json=BODY | {"options": options})
    assert (refused.status_code, list(refused.json())) == (503, ["error", "estimated_time"])
    assert monotonic() - asked_at < 60, "at once, on a machine whose cores are all busy"
    answers = await asyncio.gather(*(client.post(REPOSITORY, json=BODY) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    async with asyncio.timeout(PATIENCE_S):
        while (await client.get("/health")).json()["model_loaded"] is not True:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
