"""Models that no node of a real cluster can run: said in the log, in `/health` and to callers."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import httpx
import pytest
import yaml
from ray import serve

from serve_app.app import build_app
from serve_app.deployments import node_watch
from serve_app.deployments.node_watch import Cluster
from tests.cluster.conftest import APP, PATIENCE_S, Fleet, model, settings
from tests.conftest import CONFIGS

MOST_S = 120.0  # 20 s, on a machine whose cores are all busy
INGRESSES = 2  # Ray spreads them over all nodes that they may use
[_all] = yaml.safe_load((CONFIGS / "all.yaml").read_text())["applications"]
SELECTOR = _all["args"]["ingress_deployment_config"]["ray_actor_options"]["label_selector"]
GENERATIONS = "/v1/audio/generations"
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "gpu": ({"num_gpus": 1}, "it needs 1 GPU and 1 CPU.", "Add a node with such a GPU"),
    "cpus": ({"num_cpus": 64}, "it needs 64 CPUs.", "Set num_cpus of ray_actor_options to at most"),
    "t4": (
        {"num_gpus": 1, "accelerator_type": "T4"},
        "it needs 1 GPU of type T4 and 1 CPU.",
        "Set accelerator_type to A10G in the model's options",
    ),
}

pytestmark = pytest.mark.long


def unplaceable(*names: str) -> list[dict[str, Any]]:
    """Models whose replicas, which never start, are given up at once when they are deleted."""
    one: dict[str, Any] = {"num_cpus": 1}
    return [
        model(name, ray_actor_options=one | CASES[name][0], graceful_shutdown_timeout_s=0.1)
        for name in names
    ]


@pytest.fixture
async def empty(fleet: Fleet) -> AsyncIterator[list[Any]]:
    """Nodes that a test adds; they and the application are gone before and afterwards."""
    await asyncio.to_thread(serve.delete, APP)
    nodes: list[Any] = []
    yield nodes
    await asyncio.to_thread(serve.delete, APP)
    for node in nodes:
        await asyncio.to_thread(fleet.cluster.remove_node, node)


def deploy(*models: dict[str, Any], ingresses: int) -> None:
    """Let the ingress select its nodes as in configs/all.yaml."""
    args = settings(*models, ingresses=ingresses)
    args["ingress_deployment_config"]["ray_actor_options"]["label_selector"] = SELECTOR
    target = serve.RunTarget(build_app(args), name=APP, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)


async def reasons(client: httpx.AsyncClient) -> dict[str, str]:
    """Await the reasons in `/health`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            response = await client.get("/health")
            if response.headers.get("content-type", "").startswith("application/json"):
                answer = response.json()
                if "reasons" in answer:
                    assert response.status_code == 503
                    assert answer["reason"] == next(iter(answer["reasons"].values()))
                    return dict(answer["reasons"])
            await asyncio.sleep(0.1)


async def check(client: httpx.AsyncClient, names: list[str], ingresses: int = 1) -> None:
    started_at = monotonic()
    await asyncio.to_thread(deploy, *unplaceable(*names), ingresses=ingresses)
    found = await reasons(client)
    assert monotonic() - started_at < MOST_S
    assert list(found) == names
    for name in names:
        _, need, cure = CASES[name]
        assert f"No node can run a replica of model '{name}': {need}" in found[name]
        assert "4 CPUs and 1 of the resource 'ingress_node' and no GPU" in found[name]
        assert cure in found[name]
        body = {"prompt": "a", "duration_s": 0.5, "model": name}
        answer = await client.post(GENERATIONS, json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "model_unplaceable")
        assert answer.json()["detail"] == found[name]


@pytest.mark.usefixtures("fleet")
def test_a_cluster_without_an_autoscaler_has_no_infeasible_requests() -> None:
    """The second autoscaler's state is read by a call that each cluster answers."""
    assert node_watch._scaled_cluster([{}]) == Cluster([{}], scales=True)
    assert not node_watch._read_cluster().scales


@pytest.mark.usefixtures("empty")
async def test_without_a_gpu_and_with_too_few_cpus(client: httpx.AsyncClient) -> None:
    await check(client, ["gpu", "cpus"])


async def test_with_gpus_of_another_type(
    fleet: Fleet, client: httpx.AsyncClient, empty: list[Any]
) -> None:
    """Nor does an ingress replica land on their node, which could then not be removed."""
    card = {"accelerator_type:A10G": 1, "ingress_node": 1}
    labels = {"ray.io/accelerator-type": "A10G"}
    node = fleet.cluster.add_node(num_cpus=4, num_gpus=1, resources=card, labels=labels)
    empty.append(node)
    await check(client, ["t4"], ingresses=INGRESSES)
    await fleet.until(lambda: len(fleet.replicas("Ingress")) == INGRESSES)
    assert node.node_id not in {one["node_id"] for one in fleet.replicas("Ingress")}
