"""Loss of the head node, whose control store is in Redis: the other node serves on, and the head comes back."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.postgres import needed
from tests.sources import ROOT
from tests.test_added_nodes import end

PATIENCE_S = 180.0  # a busy machine is slow; only a failing test waits as long
BIN = Path(sys.executable).parent
PATH = "/v1/audio/generations"
STREAM: dict[str, Any] = {
    "prompt": "lofi beat", "duration_s": 20.0, "seed": 7, "response_format": "pcm", "stream": True,
}  # fmt: skip
AT_ONCE_S = 30.0  # on a machine whose cores are all busy

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


@dataclass
class Site:
    """A head and a node, with a proxy and an ingress each; the model is on the node."""

    folder: Path
    environment: dict[str, str]
    redis: str
    gcs: int
    dashboard: int
    proxies: tuple[int, int]

    @contextmanager
    def node(self, *options: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `ray start` until the block ends."""
        command = [
            str(BIN / "ray"), "start", "--block", "--disable-usage-stats", "--num-cpus=4",
            "--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0",
            f"--dashboard-agent-listen-port={free_port()}", *options,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment | variables, cwd=ROOT
            )
        try:
            yield process
        finally:
            end(process)

    def head(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        (self.folder / "ray_current_cluster").unlink(missing_ok=True)  # a new machine has none
        return self.node(
            "--head", f"--port={self.gcs}", f"--dashboard-port={self.dashboard}",
            f"--temp-dir={self.folder}", '--resources={"ingress_node": 1}',
            RAY_REDIS_ADDRESS=self.redis,
        )  # fmt: skip

    def worker(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        resources = '--resources={"ingress_node": 1, "model_node": 1}'
        return self.node(f"--address=127.0.0.1:{self.gcs}", resources)

    def deployed(self) -> bool:
        """Deploy the service; test that Ray has taken it."""
        config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
        config["proxy_location"] = "EveryNode"
        config["http_options"]["port"] = self.proxies[0]
        args = config["applications"][0]["args"]
        args["models"][0]["deployment_config"]["ray_actor_options"] = {
            "num_cpus": 1, "resources": {"model_node": 1},
        }  # fmt: skip
        args["ingress_deployment_config"] |= {"num_replicas": 2, "max_replicas_per_node": 1}
        args["ingress_deployment_config"]["ray_actor_options"] = {
            "num_cpus": 0.1, "resources": {"ingress_node": 0.01},
        }  # fmt: skip
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config))
        command = [str(BIN / "serve"), "deploy", str(file), "-a", self.url(self.dashboard)]
        with (self.folder / "log").open("ab") as log:
            run = subprocess.run(
                command, check=False, env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )
        return run.returncode == 0

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}"

    def makes_music(self, port: int) -> bool:
        """Test that a track is made at this proxy."""
        try:
            answer = httpx.post(
                self.url(port) + PATH, json={"prompt": "a", "duration_s": 0.5}, timeout=PATIENCE_S
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def answers(self) -> bool:
        """Test that the dashboard answers."""
        try:
            return httpx.get(self.url(self.dashboard), timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def until(condition: Callable[[], bool]) -> float:
    """Wait for the condition; return the seconds that it took."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < PATIENCE_S
        time.sleep(0.2)
    return time.monotonic() - started_at


@pytest.fixture
def site() -> Iterator[Site]:
    needed("redis-server", "redis-server")
    redis = free_port()
    proxies = (free_port(), free_port())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="ha")))
        options = ["--port", str(redis), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.kill)
        environment = os.environ | {
            "RAY_external_storage_namespace": "musicgen",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # of several nodes, also on this interface
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(proxies[1]),
            "PYTHONPATH": str(ROOT),
        }
        del environment["MUSICGEN_JOBS_STORE"]  # a file, which serves one node
        site = Site(folder, environment, f"127.0.0.1:{redis}", free_port(), free_port(), proxies)
        try:
            yield site
        finally:
            print((folder / "log").read_text()[-4000:])


async def stream(url: str, received: bytearray) -> None:
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("POST", url + PATH, json=STREAM) as response,
    ):
        async for part in response.aiter_bytes():
            received += part


async def test_the_service_outlives_its_head(site: Site) -> None:
    with ExitStack() as stack:
        head = stack.enter_context(site.head())
        await asyncio.to_thread(until, site.answers)
        worker = stack.enter_context(site.worker())
        await asyncio.to_thread(until, site.deployed)
        for port in site.proxies:
            await asyncio.to_thread(until, partial(site.makes_music, port))
        calm = bytearray()
        await stream(site.url(site.proxies[1]), calm)
        received = bytearray()
        call = asyncio.create_task(stream(site.url(site.proxies[1]), received))
        await asyncio.to_thread(until, lambda: bool(received))
        end(head)
        waited_s = await asyncio.to_thread(until, lambda: site.makes_music(site.proxies[1]))
        logger.info("The head was lost: the other node answered after %.1f s", waited_s)
        assert waited_s < AT_ONCE_S
        await call
        assert received == calm, "the stream did not notice"
        replicas = replicas_of(worker)
        stack.enter_context(site.head())
        await asyncio.to_thread(until, lambda: site.makes_music(site.proxies[0]))
        await asyncio.to_thread(until, lambda: site.makes_music(site.proxies[1]))
        assert len(replicas) == 1
        assert replicas_of(worker) == replicas, "no model was loaded anew"


def replicas_of(node: subprocess.Popen[bytes]) -> set[int]:
    """Process ids of the model's replicas on a node."""
    found = set()
    for process in psutil.Process(node.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith("ray::ServeReplica:musicgen:MusicGen"):
                found.add(process.pid)
    return found
