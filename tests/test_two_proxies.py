"""Two nodes with a proxy and an ingress each, of which one dies or is drained."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx
import psutil
import pytest
from ray.serve._private.proxy import DRAINING_MESSAGE

from serve_app.machine import free_port
from serve_app.node.cloud_notices import Notice
from serve_app.node.ray_node import RayNode
from tests.cluster.conftest import MODEL_NODE, PATIENCE_S, PROXY_BACK_S, Fleet, model, settings
from tests.cluster.fragile import build_app
from tests.cluster.gate import PASSING, closed_gate, waiting
from tests.processes import titled

PATH = "/v1/audio/generations"
STREAM: dict[str, Any] = {
    "prompt": "lofi beat", "duration_s": 4.0, "seed": 7, "response_format": "pcm", "stream": True,
}  # fmt: skip
WHOLE = STREAM | {"stream": False}
CALLERS = 2  # with streams, and as many with whole tracks, at each proxy
AT_ONCE_S = 30.0  # on a machine whose cores are all busy
# A proxy that does not hear from its own node's ingress for so long, 0.1 s by default, asks the others
INGRESS_ANSWERS_S = 60.0
INGRESS = "ray::ServeReplica:musicgen:Ingress"
PROXY = "ray::ProxyActor"
NODE = MODEL_NODE | {"ingress_node": 1.0}
# Seconds until a drained node ends: its replicas, which may take as long for their tracks, stop at once
DEADLINE_S = 600.0

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Pair:
    """The service at the proxies of two nodes. node: the second one's processes."""

    fleet: Fleet
    urls: tuple[str, str]

    def process(self, name: str) -> psutil.Process:
        """The process of the second node whose title begins with `name`."""
        [node] = self.fleet.nodes.values()
        [raylet] = node.all_processes["raylet"]
        [found] = titled(psutil.Process(raylet.process.pid).children(recursive=True), name)
        return found

    def drain(self) -> None:
        """Tell Ray that the second node will end."""
        [node_id] = self.fleet.nodes
        RayNode(node_id, self.fleet.cluster.address).drain(Notice("maintenance", DEADLINE_S))

    def stops(self) -> bool:
        """Tell whether the second node's replicas stop."""
        [node_id] = self.fleet.nodes
        return all(
            node_id in {one["node_id"] for one in self.fleet.replicas(name, "STOPPING")}
            for name in ("Ingress", "MusicGen:nano")
        )

    def replace(self) -> None:
        """Let another node take the second one's place."""
        [node_id] = self.fleet.nodes
        self.fleet.remove_node(node_id)
        self.fleet.add_node(NODE)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MUSICGEN_JOBS_STORE")  # a file, which serves one node
        patch.setenv("RAY_SERVE_WORKER_PROXY_HTTP_PORT", str(port))
        patch.setenv("RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S", str(INGRESS_ANSWERS_S))
        fleet = Fleet("EveryNode")
        try:
            fleet.add_node(NODE)
            args = settings(model(engine={"max_slots": 12}), ingresses=2)
            args["ingress_deployment_config"]["max_replicas_per_node"] = 1
            fleet.deploy(build_app(args))
            yield Pair(fleet, (fleet.url, f"http://127.0.0.1:{port}"))
        finally:
            fleet.stop()


@dataclass
class Call:
    """A request under way. ended: whether its answer is complete; failed_at: on the monotonic clock."""

    received: bytearray
    task: asyncio.Task[None]
    status: int = 0
    failed_at: float = 0.0


def start(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> Call:
    async def run() -> None:
        try:
            async with client.stream("POST", url + PATH, json=body) as response:
                call.status = response.status_code
                async for part in response.aiter_bytes():
                    call.received += part
        except httpx.HTTPError:
            call.failed_at = monotonic()
            raise

    call = Call(bytearray(), asyncio.ensure_future(run()))
    return call


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - other processes bring it about
            await asyncio.sleep(0.02)


async def first_answer(client: httpx.AsyncClient, url: str) -> float:
    """Seconds until a request is answered with a track; failures before are taken."""
    asked_at = monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                answer = await client.post(url + PATH, json={"prompt": PASSING, "duration_s": 0.5})
                if answer.status_code == 200:
                    return monotonic() - asked_at
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)


async def refused(client: httpx.AsyncClient, url: str) -> str:
    """Await that the proxy tells load balancers to go elsewhere; return its reason."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.get(url + "/-/healthz")
            if answer.status_code != 200:
                break
            await asyncio.sleep(0.1)
    assert answer.status_code == 503
    return answer.text


async def loaded(client: httpx.AsyncClient, pair: Pair) -> tuple[list[Call], list[Call]]:
    """Start the callers of both proxies; wait until all tracks are made but for their ends."""
    near, far = [
        [start(client, url, body) for body in (STREAM, WHOLE) for _ in range(CALLERS)]
        for url in pair.urls
    ]
    await until(lambda: all(call.received for call in (*near[:CALLERS], *far[:CALLERS])))
    await until(lambda: len(waiting()) == 4 * CALLERS)
    return near, far


@pytest.mark.parametrize(
    ("name", "back_s"), [(INGRESS, AT_ONCE_S), (PROXY, PROXY_BACK_S)], ids=["ingress", "proxy"]
)
async def test_the_other_node_goes_on(pair: Pair, name: str, back_s: float) -> None:
    """What dies breaks its own requests at once, those without an answer with a 500 where there is a proxy."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        await first_answer(client, pair.urls[1])
        calm = start(client, pair.urls[1], STREAM)
        await calm.task
        with closed_gate():
            near, far = await loaded(client, pair)
            os.kill(pair.process(name).pid, signal.SIGKILL)
            killed_at = monotonic()
            at_other = await first_answer(client, pair.urls[0])
            back = await first_answer(client, pair.urls[1])
            await asyncio.gather(*(call.task for call in far), return_exceptions=True)
        assert [call.received for call in far if call.received == calm.received] == []
        broken = [call for call in far if call.failed_at]
        refused = [call for call in far if not call.failed_at]
        assert {call.status for call in refused} <= {500}, "the proxy's answer"
        assert len(broken) == (CALLERS if name == INGRESS else 2 * CALLERS)
        broken_s = max(call.failed_at for call in broken) - killed_at
        times = (name, broken_s, at_other, back)
        logger.info("%s died: broke %.1f s, other answered %.1f s, back %.1f s later", *times)
        assert broken_s < AT_ONCE_S
        assert at_other < AT_ONCE_S
        assert back < back_s
        await asyncio.gather(*(call.task for call in near))
        assert [call.status for call in near] == [200] * len(near)
        assert {bytes(call.received) for call in near} == {bytes(calm.received)}


async def test_a_drained_node_finishes_what_it_has(pair: Pair) -> None:
    """Streams and whole files through its proxy, its ingress and its replica reach their ends."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        await first_answer(client, pair.urls[1])
        calm = start(client, pair.urls[1], STREAM)
        await calm.task
        with closed_gate():
            near, far = await loaded(client, pair)
            await asyncio.to_thread(pair.drain)
            await pair.fleet.until(pair.stops)
            assert await refused(client, pair.urls[1]) == DRAINING_MESSAGE
            for path in ("/health", "/health/live"):  # of the other node's ingress
                assert (await client.get(pair.urls[1] + path)).status_code == 200
            assert not any(call.task.done() for call in (*near, *far))
        await asyncio.gather(*(call.task for call in (*near, *far)))
        ends = {(call.status, bytes(call.received)) for call in (*near, *far)}
        assert ends == {(200, bytes(calm.received))}
        pair.replace()  # in this thread: Ray sets handlers of signals
        for url in pair.urls:
            await first_answer(client, url)
