"""Calls to the running service, which the tests of this folder share."""

import asyncio
import copy
import io
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Timer
from time import monotonic, sleep
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import soundfile
import yaml

from serve_app.edge.haproxy import Address
from serve_app.launcher import Service
from tests.conftest import CONFIGS

GENERATIONS = "/v1/audio/generations"
PATIENCE_S = 180.0  # a busy machine is slow; only a failing test waits as long
UNUSED_S = 65.0  # more than the 60 s after which load balancers close connections
LONG_S = 120  # the longest track
FRAME_RATE = 50  # steps of a second of music
POLL_S = 0.02  # the cores are few: questions take them from the answers
DEPLOYED_S = 420.0  # for a new configuration, on a machine whose cores are all busy
SERVE = str(Path(sys.executable).parent / "serve")
PREFIX = "/music"
PREFIXED_LINE = 3  # requests that may wait there for an ingress replica
KEY = "prefixed-key-0123456789"
LICENSE = "Lizenz \u2013 \u8bb8\u53ef, non-commercial\n"


class Unused:
    """A connection that nobody uses for UNUSED_S, and that makes a request then."""

    def __init__(self, door: Address) -> None:
        self._connection = HTTPConnection(door.host, door.port, timeout=PATIENCE_S)
        _until(lambda: self._get_health() == 200)
        self._connection.auto_open = 0  # from now on, a lost connection is an error
        self._status = 0
        self._timer = Timer(UNUSED_S, self._use)
        self._timer.start()

    def status(self) -> int:
        """Wait for the request; return its status, 0 if the server had closed the connection."""
        self._timer.join()
        return self._status

    def close(self) -> None:
        self._timer.cancel()
        self._timer.join()
        self._connection.close()

    def _use(self) -> None:
        received, _, _ = select.select([self._connection.sock], [], [], 0)
        with suppress(OSError, HTTPException):
            self._status = 0 if received else self._get_health()

    def _get_health(self) -> int:
        self._connection.request("GET", "/health")
        with self._connection.getresponse() as response:
            response.read()
            return response.status


@pytest.fixture(scope="session")
def unused(service: Service) -> Iterator[list[Unused]]:
    """A connection to the edge and one to Serve's proxy.

    They age while other tests run: each test with `client` asks for them.
    """
    with ExitStack() as stack:
        found = [Unused(door) for door in (service.address, service.upstream)]
        for one in found:
            stack.callback(one.close)
        yield found


@pytest.fixture
async def client(service: Service, unused: list[Unused]) -> AsyncIterator[httpx.AsyncClient]:
    assert unused
    async with httpx.AsyncClient(base_url=service.url, timeout=2 * PATIENCE_S) as client:
        yield client


def ingress(service: Service) -> psutil.Process:
    """The process of the only ingress replica."""
    [process] = [process for process in service.processes() if "Ingress" in process.name()]
    return process


async def deployment(service: Service, name: str) -> dict[str, Any]:
    """State of a deployment, once Ray's dashboard tells it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            application = await asyncio.to_thread(service.application)
            if name in application.get("deployments", {}):
                return dict(application["deployments"][name])
            await asyncio.sleep(0.2)


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    """Statistics of the only replica, once it answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.get("/stats")
            replicas = answer.json()["models"]["nano"] if answer.is_success else []
            if len(replicas) == 1:
                return dict(replicas[0])
            await asyncio.sleep(POLL_S)


async def until(client: httpx.AsyncClient, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the replica's statistics meet the condition.

    Raises TimeoutError after PATIENCE_S.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition(await stats(client)):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(POLL_S)


async def idle_steps(client: httpx.AsyncClient) -> int:
    """Steps of the only replica so far, once it is idle."""
    await until(client, lambda s: s["slots_used"] == 0)
    return int((await stats(client))["steps_total"])


@asynccontextmanager
async def unfinished(client: httpx.AsyncClient, duration_s: float) -> AsyncIterator[None]:
    """Check that the only track that the block starts, of `duration_s`, is not made to its end."""
    before = await idle_steps(client)
    yield
    assert await idle_steps(client) - before < duration_s * FRAME_RATE


@contextmanager
def suspended(service: Service) -> Iterator[None]:
    """Let the only replica of the model stand still."""
    [replica] = [one for one in service.processes() if "MusicGen:nano" in one.name()]
    replica.suspend()
    try:
        yield
    finally:
        replica.resume()


async def generate(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    """The answer to a generation, which succeeded."""
    response = await client.post(GENERATIONS, json=body)
    assert response.status_code == 200, response.text
    return response


def samples_of(content: bytes) -> np.ndarray[Any, Any]:
    """Samples [n] of an audio file at 32 kHz."""
    samples, sample_rate = soundfile.read(io.BytesIO(content))
    assert sample_rate == 32_000
    return np.asarray(samples)


def changed_config(port: int, keys: Path) -> dict[str, Any]:
    """The embedded model under another alias, with up to three replicas within a budget of two.

    Two ingress replicas, and the same model once more below `/music`, behind a key.
    """
    config: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    config["http_options"]["port"] = port
    application = config["applications"][0]
    application["autoscaling_policy"] = {
        "policy_function": "serve_app.deployments.autoscaling:BudgetPolicy",
        "policy_kwargs": {"gpus": 2, "drain_s": 0.01},
    }
    [model] = application["args"]["models"]
    model["aliases"] = ["mini"]
    del model["deployment_config"]["num_replicas"]
    model["deployment_config"]["ray_actor_options"] = {"num_cpus": 0.5}
    model["deployment_config"]["user_config"] = {"of": "no effect"}
    model["deployment_config"]["autoscaling_config"] = {
        "min_replicas": 1, "max_replicas": 3, "upscale_delay_s": 0.1, "look_back_period_s": 1,
    }  # fmt: skip
    config["applications"].append(_prefixed(application, keys))
    application["args"]["ingress_deployment_config"] |= {
        "num_replicas": 2,
        "user_config": {"of": "no effect"},
    }
    return config


def _prefixed(application: Mapping[str, Any], keys: Path) -> dict[str, Any]:
    """An application below PREFIX, behind KEY, with a licence that headers cannot hold as it is."""
    prefixed = copy.deepcopy({**application, "name": "prefixed", "route_prefix": PREFIX})
    del prefixed["autoscaling_policy"]
    [model] = prefixed["args"]["models"]
    model["license"] = LICENSE
    model["deployment_config"]["autoscaling_config"] = None
    model["deployment_config"]["ray_actor_options"] = {"num_cpus": 0.1}
    prefixed["args"]["api"]["access"] = {"keys_file": str(keys)}
    prefixed["args"]["ingress_deployment_config"]["max_queued_requests"] = PREFIXED_LINE
    return prefixed


@pytest.fixture(scope="session")
def changed_service(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The service after `serve deploy` of a changed configuration.

    Its tests run after all others of the service.
    """
    folder = tmp_path_factory.mktemp("changed")
    keys = folder / "keys"
    keys.write_text(f"web:{KEY}\n")
    file = folder / "nano.yaml"
    file.write_text(yaml.safe_dump(changed_config(service.upstream.port, keys)))
    command = [SERVE, "deploy", str(file), "--address", str(service.dashboard_url)]
    subprocess.run(command, check=True, capture_output=True)
    with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as client:
        _until(lambda: "mini" in client.get("/v1/models").text)
        _until(lambda: client.get(f"{PREFIX}/v1/audio/stream").status_code == 401)
    _until(lambda: service.application().get("status") == "RUNNING")
    return service


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; a request that gets no answer is a condition that is not met."""
    deadline = monotonic() + DEPLOYED_S
    while True:
        with suppress(httpx.TransportError):
            if condition():
                return
        assert monotonic() < deadline
        sleep(0.2)
