"""The service on a Ray of several nodes, all of them on this machine."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve import Application

from serve_app.app import build_app
from serve_app.launch.serve_process import ENVIRONMENT
from serve_app.machine import free_port
from tests.conftest import EMBEDDED
from tests.processes import titled
from tools.recovery_bounds import ended_proxy_s

PATIENCE_S = 300.0  # a busy machine is slow; only a failing test waits as long
REQUEST_TIMEOUT_S = 300.0
START_S = 60.0  # of a replacement, and checks that come late, on a machine whose cores are all busy
PROXY_CHECKS = "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"
PROXY_BACK_S = ended_proxy_s(float(ENVIRONMENT[PROXY_CHECKS])) + START_S
APP = "musicgen"
INGRESS_NODE = {"ingress_node": 0.001}
MODEL_NODE: dict[str, float] = {"model_node": 1}


class Fleet:
    """A head node with the ingress, and nodes with room for one replica each.

    location: of Serve's proxies.
    """

    def __init__(self, location: str = "HeadOnly") -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        head: dict[str, Any] = {
            "num_cpus": 4,
            "include_dashboard": False,
            "resources": {"ingress_node": 1},
        }
        # Ray tries its port all the same. Another Ray's, which is the default, leaves a socket open.
        head["dashboard_port"] = free_port()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PROXY_CHECKS, ENVIRONMENT[PROXY_CHECKS])  # as shipped
            self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, Any] = {}
        ray.init(
            self.cluster.address, namespace="serve", log_to_driver=False, configure_logging=False
        )
        port = int(self.url.rpartition(":")[2])
        serve.start(
            location,
            http_options={
                "host": "127.0.0.1",
                "port": port,
                "request_timeout_s": REQUEST_TIMEOUT_S,
            },
        )

    def add_node(self, resources: dict[str, float] = MODEL_NODE) -> None:
        node = self.cluster.add_node(num_cpus=4, resources=resources)
        self.nodes[node.node_id] = node

    def remove_node(self, node_id: str) -> None:
        """Remove the node at once, as a cloud reclaims a spot instance."""
        self.cluster.remove_node(self.nodes.pop(node_id), allow_graceful=False)

    def deploy(self, app: Application) -> None:
        serve.run(app, name=APP, route_prefix="/")

    def replicas(self, deployment: str, state: str = "RUNNING") -> list[Any]:
        """List the replicas of a state, each with its node_id and pid.

        Dead ones that Serve still lists are left out.
        """
        replicas = self._details(deployment).get("replicas", [])
        return [
            replica
            for replica in replicas
            if replica["state"] == state and _is_alive(replica["pid"])
        ]

    def target(self, deployment: str) -> int:
        """Return the number of replicas that the deployment is to have."""
        return int(self._details(deployment)["target_num_replicas"])

    def _details(self, deployment: str) -> dict[str, Any]:
        details = ray.get(_controller().get_serve_instance_details.remote())
        application = details["applications"].get(APP, {"deployments": {}})
        found: dict[str, Any] = application["deployments"].get(deployment, {})
        return found

    def kill(self, name: str) -> None:
        """Kill the one process whose title begins with `name`."""
        [process] = titled(psutil.Process().children(recursive=True), name)
        process.kill()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the condition. Raises TimeoutError after PATIENCE_S."""
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - other processes are asked
                await asyncio.sleep(0.1)

    def retried(self) -> set[str]:
        """Ids of the requests that were sent to a replica again, by the logs of the ingress."""
        text = "".join(self.ingress_logs())
        return set(re.findall(r"Retrying request ([\w-]+):", text))

    def ingress_logs(self) -> list[str]:
        """Read the log of each ingress replica so far."""
        folder = Path(self.cluster.head_node.get_session_dir_path()) / "logs" / "serve"
        return [file.read_text() for file in folder.glob("*Ingress*.log")]

    def stop(self) -> None:
        serve.shutdown()
        ray.shutdown()
        self.cluster.shutdown()


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _controller() -> Any:
    return ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")


def settings(*models: dict[str, Any], ingresses: int = 1) -> dict[str, Any]:
    """Args of the application."""
    ingress = {
        "num_replicas": ingresses,
        "ray_actor_options": {"num_cpus": 0, "resources": INGRESS_NODE},
    }
    return {
        "models": list(models),
        "ingress_deployment_config": ingress | {"max_ongoing_requests": 1000},
    }


def model(
    model_id: str = "nano", engine: dict[str, Any] | None = None, **deployment: Any
) -> dict[str, Any]:
    """A model with a pinned batch shape: every replica makes the same bits of a seed."""
    return {
        "model_loading_config": {"model_id": model_id, "model_source": EMBEDDED},
        "engine_kwargs": {
            "device": "cpu",
            "max_slots": 8,
            "pin_batch_shape": True,
            "num_threads": 1,
        }
        | (engine or {}),
        "deployment_config": {
            "health_check_period_s": 1,
            "ray_actor_options": {"num_cpus": 1, "resources": MODEL_NODE},
        }
        | deployment,
    }


def application(*models: dict[str, Any], **rest: Any) -> Application:
    return build_app(settings(*models, **rest))


@pytest.fixture(scope="package")
def fleet() -> Iterator[Fleet]:
    """Ray for the tests of this folder; it stops before that of the `service` fixture starts."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    fleet = Fleet()
    try:
        yield fleet
    finally:
        fleet.stop()
        left = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.pid not in before
        ]
        psutil.wait_procs(left, timeout=PATIENCE_S)
    assert [process for process in left if process.is_running()] == []


@pytest.fixture
async def client(fleet: Fleet) -> Any:
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=fleet.url, timeout=PATIENCE_S, limits=limits) as client:
        yield client
