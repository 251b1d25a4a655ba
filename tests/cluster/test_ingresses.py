"""Two ingress replicas have one set of limits and one line, also when one of them, or the actor that
keeps the limits, dies."""

import asyncio
import contextlib
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import httpx
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from ray.exceptions import RayError

from serve_app import app
from serve_app.app import build_app
from serve_app.deployments.ledger_actor import NAMESPACE, actor_name
from serve_app.gateway.fleet_view import FRESH_S
from serve_app.gateway.permits.messages import LEASE_S
from tests.cluster.conftest import APP, PATIENCE_S, Fleet, model, settings
from tests.cluster.held import HELD, Holding
from tests.redis_server import redis_server

PATH = "/v1/audio/generations"
DEPLOYMENT = "MusicGen:nano"
READERS = 200
DEGRADED = "musicgen_coordination_degraded"
KEYS = {"web": "key-of-the-web-client", "line": "key-of-the-line-client"}
LIMIT = 2
LINE_S = 60.0
BACK_S = 30.0  # on a machine whose cores are all busy

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def two(fleet: Fleet) -> Fleet:
    """Two ingress replicas, and a model that holds requests."""
    if not fleet.nodes:
        fleet.add_node()
    deploy(fleet)
    return fleet


def deploy(fleet: Fleet, env: dict[str, str] | None = None, **coordination: Any) -> None:
    # Requests that a killed ingress replica has left behind are held for ever.
    replicas = model(max_ongoing_requests=100, graceful_shutdown_timeout_s=2)
    args = settings(replicas | {"max_queued_audio_s": LINE_S}, ingresses=2)
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    variables = {"MUSICGEN_API_KEYS": keys} | (env or {})
    args["ingress_deployment_config"]["ray_actor_options"]["runtime_env"] = {"env_vars": variables}
    args["api"] = {"access": {"max_concurrent_requests": LIMIT}}
    args["coordination"] = coordination
    args["jobs"] = {"enabled": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MusicGenReplica", Holding)
        fleet.deploy(build_app(args))


class Calls:
    """Requests under way, each on a connection of its own, and the statuses of those that ended."""

    def __init__(self, fleet: Fleet, key: str, duration_s: float = 5.0) -> None:
        self._url = fleet.url + PATH
        self._headers = {"authorization": f"Bearer {KEYS[key]}"}
        self._duration_s = duration_s
        self._tasks: list[asyncio.Task[int]] = []

    def start(self, count: int, prompt: str = HELD) -> None:
        self._tasks += [asyncio.create_task(self._call(prompt)) for _ in range(count)]

    async def _call(self, prompt: str) -> int:
        body = {"prompt": prompt, "duration_s": self._duration_s, "response_format": "pcm"}
        async with httpx.AsyncClient(timeout=PATIENCE_S, headers=self._headers) as client:
            return (await client.post(self._url, json=body)).status_code

    @property
    def statuses(self) -> Counter[int]:
        """Statuses of the requests that were answered; 0: the connection was lost."""
        ended = [task for task in self._tasks if task.done()]
        return Counter(0 if task.exception() else task.result() for task in ended)

    async def until_ended(self, count: int) -> None:
        """Wait until so many requests have been answered, and a second for further answers."""
        await until_answered(self, count=count)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def until_answered(*under_way: Calls, count: int) -> None:
    """Wait until so many requests have been answered, and a second for further answers."""
    async with asyncio.timeout(PATIENCE_S):
        while sum(one.statuses.total() for one in under_way) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)


@contextlib.asynccontextmanager
async def calls(fleet: Fleet, key: str, duration_s: float = 5.0) -> AsyncIterator[Calls]:
    """Start requests; at the end give them up, and wait until the service has noticed."""
    under_way = Calls(fleet, key, duration_s)
    try:
        yield under_way
    finally:
        await under_way.stop()
        await until_free(fleet, key)


async def until_free(fleet: Fleet, key: str) -> None:
    """Wait until the key has all its places."""
    async with asyncio.timeout(PATIENCE_S):
        while await accepted_at_once(fleet, key) < LIMIT:  # noqa: ASYNC110 - the service is awaited
            await asyncio.sleep(0.2)


async def accepted_at_once(fleet: Fleet, key: str, count: int = LIMIT) -> int:
    """Count the accepted ones of short requests."""
    probe = Calls(fleet, key, 0.5)
    probe.start(count, "lofi beat")
    await asyncio.gather(*probe._tasks, return_exceptions=True)
    return probe.statuses[200]


async def test_twelve_calls_get_the_places_of_their_key(two: Fleet) -> None:
    async with calls(two, "web") as web:
        web.start(12)
        await web.until_ended(12 - LIMIT)
        assert web.statuses == {429: 12 - LIMIT}, "the others are held"


async def test_the_line_is_bounded_over_both(two: Fleet) -> None:
    async with calls(two, "web", 25.0) as web, calls(two, "line", 25.0) as line:
        web.start(LIMIT)
        line.start(LIMIT)
        await until_answered(web, line, count=2)
        assert web.statuses + line.statuses == {429: 2}, "60 seconds of music have room for two"


async def test_the_permits_of_a_killed_ingress_return(two: Fleet) -> None:
    async with calls(two, "web") as web:
        web.start(12)
        await web.until_ended(12 - LIMIT)
        killed = {replica["pid"] for replica in two.replicas("Ingress")}
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        killed_at = asyncio.get_running_loop().time()

        def replaced() -> bool:
            pids = {replica["pid"] for replica in two.replicas("Ingress")}
            return len(pids) == 2 and pids.isdisjoint(killed)

        await two.until(replaced)
        started_at = asyncio.get_running_loop().time()
        await until_free(two, "web")
        now = asyncio.get_running_loop().time()
        logger.info("The permits of killed ingresses were free after %.1f s", now - killed_at)
        assert now < max(killed_at + LEASE_S, started_at) + BACK_S


async def test_limits_hold_again_after_the_actor_was_killed(two: Fleet) -> None:
    async with calls(two, "web") as web:
        web.start(LIMIT + 1)
        await web.until_ended(1)
        killed = ledger_pid()
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await two.until(lambda: ledger_pid() not in {killed, None})
        async with asyncio.timeout(PATIENCE_S):
            while await accepted_at_once(two, "web", 10):  # until both have told the new actor
                pass
        for _ in range(3):
            assert not await accepted_at_once(two, "web", 10), "from then on"
        assert web.statuses == {429: 1}, "the requests that it had admitted go on"


def ledger_pid() -> int | None:
    """Process id of the application's actor; None while Ray restarts it. Other tests leave actors, too."""
    with contextlib.suppress(RayError, ValueError):
        actor = ray.get_actor(actor_name(APP), namespace=NAMESPACE)
        return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=5))
    return None


async def test_calls_are_accepted_while_the_actor_is_away(two: Fleet) -> None:
    actor = ray.get_actor(actor_name(APP), namespace=NAMESPACE)
    ray.kill(actor)
    async with calls(two, "web") as web:
        web.start(1, "lofi beat")
        await asyncio.gather(*web._tasks)
        assert web.statuses == {200: 1}


async def test_many_callers_ask_the_replica_a_few_times(two: Fleet) -> None:
    """`/health`, `model: auto` and `max_wait_s` read a view that the callers of an ingress replica share."""
    handle = serve.get_deployment_handle(DEPLOYMENT, APP)
    headers = {"authorization": f"Bearer {KEYS['line']}"}
    body = {"prompt": "lofi beat", "duration_s": 0.5, "model": "auto", "max_wait_s": 60}
    async with httpx.AsyncClient(base_url=two.url, timeout=PATIENCE_S, headers=headers) as client:
        before = await handle.asked.remote()
        started_at = monotonic()
        for _ in range(READERS // 10):
            answers = await asyncio.gather(*(client.get("/health") for _ in range(10)))
            assert {answer.json()["model_loaded"] for answer in answers} == {True}
        for _ in range(10):
            assert (await client.post(PATH, json=body)).status_code == 200
        elapsed_s = monotonic() - started_at
        asked = await handle.asked.remote() - before
    assert 1 <= asked <= 2 * (elapsed_s / FRESH_S + 2) + elapsed_s, (
        "by two ingress replicas and the controller"
    )


async def test_redis_keeps_the_same_limits(two: Fleet) -> None:
    """Without the server, each ingress replica counts for itself, and a metric says so."""
    with redis_server() as url:
        deploy(two, {"MUSICGEN_COORDINATION_REDIS_URL": url}, backend="redis")
        async with calls(two, "web") as web:
            web.start(12)
            await web.until_ended(12 - LIMIT)
            assert web.statuses == {429: 12 - LIMIT}
        assert await degraded() == 0
    async with calls(two, "web") as web:
        web.start(12)
        await web.until_ended(12 - 2 * LIMIT)
        assert set(web.statuses) == {429}
        assert 12 - 2 * LIMIT <= web.statuses[429] <= 12 - LIMIT
    async with asyncio.timeout(PATIENCE_S):
        while not await degraded():  # noqa: ASYNC110 - Ray exports metrics from time to time
            await asyncio.sleep(0.5)


async def degraded() -> float:
    """Largest value of the metric in the cluster."""
    found = [0.0]
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        for node in ray.nodes():
            if node["Alive"]:
                url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
                families = text_string_to_metric_families((await client.get(url)).text)
                samples = [sample for family in families for sample in family.samples]
                found += [sample.value for sample in samples if sample.name.endswith(DEGRADED)]
    return max(found)
