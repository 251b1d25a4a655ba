"""The application of an operator: its status, its processes, an update, a GPU budget."""

import asyncio
import subprocess

import httpx
import pytest
import ray
import yaml

from serve_app.launcher import Service
from tests.service.conftest import GENERATIONS, LONG_S, PATIENCE_S, SERVE, deployment

REPLICAS = "MusicGen:nano"


def test_serve_status_reports_running(service: Service) -> None:
    command = [SERVE, "status", "--address", str(service.dashboard_url)]
    status = yaml.safe_load(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    application = status["applications"]["musicgen"]
    assert application["status"] == "RUNNING"
    deployments = application["deployments"].items()
    assert {name: deployment["status"] for name, deployment in deployments} == {
        REPLICAS: "HEALTHY",
        "Ingress": "HEALTHY",
    }


def test_a_running_replica_has_not_imported_audiocraft(service: Service) -> None:
    raylet = next(process for process in service.processes() if "raylet" in process.name())
    [address] = [
        part.partition("=")[2] for part in raylet.cmdline() if part.startswith("--gcs-address=")
    ]
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    try:
        actors = ray.util.list_named_actors(all_namespaces=True)
        [name] = [actor["name"] for actor in actors if "MusicGen" in actor["name"]]
        modules = ray.get(
            ray.get_actor(name).__ray_call__.remote(lambda _: list(__import__("sys").modules))
        )
    finally:
        ray.shutdown()
    assert "torch" in modules
    assert "serve_app.engine.engine" in modules
    assert not {"audiocraft", "demucs", "spacy", "librosa", "xformers"} & set(modules)


@pytest.mark.long
def test_serve_deploy_updates_the_running_service(changed_service: Service) -> None:
    with httpx.Client(base_url=changed_service.url, timeout=PATIENCE_S) as client:
        body = {"prompt": "beat", "duration_s": 0.5, "model": "mini"}
        response = client.post(GENERATIONS, json=body)
        assert (response.status_code, response.headers["x-musicgen-model"]) == (200, "nano")
        response = client.post("/", json={"prompt": "a", "model": "small"})
    assert response.json() == {"detail": "Invalid model. Must be one of: ['nano', 'mini']"}


@pytest.mark.long
async def test_models_scale_within_the_budget_of_the_application(
    changed_service: Service, client: httpx.AsyncClient
) -> None:
    """Of three that are allowed and wanted, the budget pays two while there is work for more."""
    body = {"prompt": "beat", "duration_s": LONG_S / 2}
    requests = [asyncio.create_task(client.post(GENERATIONS, json=body)) for _ in range(4)]
    targets = {1}
    replicas = 1
    async with asyncio.timeout(2 * PATIENCE_S):
        while replicas < 2 or not all(request.done() for request in requests):
            model = await deployment(changed_service, REPLICAS)
            replicas = max(replicas, len(model["replicas"]))
            targets.add(model["target_num_replicas"])
    assert {request.result().status_code for request in requests} == {200}
    assert targets == {1, 2}
