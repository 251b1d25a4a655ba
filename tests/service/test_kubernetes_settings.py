"""The service with Serve's settings of cluster/kuberay: gRPC to the replicas, HAProxy to the ingress."""

import asyncio
import io
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import soundfile
import yaml

from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.cluster.conftest import PROXY_BACK_S
from tests.cluster.fragile import POISON
from tests.conftest import CONFIGS
from tests.service.burst import burst
from tests.service.conftest import (
    GENERATIONS,
    LONG_S,
    PATIENCE_S,
    ingress,
    unfinished,
    until,
)
from tests.service.test_slow_readers import (
    test_what_nobody_reads_stays_out_of_memory as check_slow_readers,
)
from tools.cluster_settings import serve_settings

LONG: dict[str, Any] = {"prompt": "a", "duration_s": LONG_S}
FIRST_BYTES = 10 * 2 * 32_000  # of ten seconds of samples
MIB = 2**20
LINE = 20  # requests that may wait for an ingress replica
MOST_CALLERS = 5 * LINE  # at once: fewer than the edge allows one address

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on a Ray with those settings; its HAProxy has files and a port of its own."""
    folder = tmp_path_factory.mktemp("tuned")
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    application = config["applications"][0]
    application["import_path"] = "tests.cluster.fragile:build_app"
    application["args"]["ingress_deployment_config"]["max_queued_requests"] = LINE
    file = folder / "nano.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (serve_settings() | haproxy_files(folder) | _NO_DRAINING).items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(CONFIGS.parent))
        with Service(file, free_port(), ProgressLine()) as service:
            yield service


def haproxy_files(folder: Path) -> dict[str, str]:
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
    }


# For load balancers to notice; at the end of these tests there is none.
_NO_DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5"}


@pytest.fixture
async def client(tuned: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=tuned.url, timeout=2 * PATIENCE_S) as client:
        yield client


def replica(service: Service) -> psutil.Process:
    [process] = [p for p in service.processes() if "MusicGen:nano" in p.name()]
    return process


async def stream(client: httpx.AsyncClient, **fields: Any) -> bytes:
    body = {"prompt": "lofi beat", "stream": True, "response_format": "pcm", "seed": 1} | fields
    response = await client.post(GENERATIONS, json=body)
    assert response.status_code == 200, response.text
    return response.content


async def test_haproxy_stands_in_for_the_proxy(tuned: Service, client: httpx.AsyncClient) -> None:
    names = {process.name() for process in tuned.processes()}
    assert any(name.startswith("ray::HAProxy") for name in names), names
    response = await client.get("/health", headers={"x-request-id": "abc-1"})
    assert (response.status_code, response.headers["x-request-id"]) == (200, "abc-1")
    refused = await client.post(GENERATIONS, json={"prompt": "", "duration_s": 1})
    assert (refused.status_code, refused.headers["content-type"]) == (
        400,
        "application/problem+json",
    )


def doors(service: Service) -> list[str]:
    """The edge, and Serve's HAProxy without it."""
    return [service.url, f"http://{service.upstream}"]


async def test_deadlines_are_the_services(tuned: Service, client: httpx.AsyncClient) -> None:
    for door in doors(tuned):
        for name in ("x-request-timeout-seconds", "x-musicgen-timeout-seconds"):
            answer = await client.post(door + GENERATIONS, json=LONG, headers={name: "0.3"})
            assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


async def test_no_header_keeps_a_request_running_without_its_client(
    client: httpx.AsyncClient,
) -> None:
    """Through the edge: Serve's HAProxy alone may notice at the end of the track that its client left."""
    headers = {"x-request-disconnect-disabled": "?1"}
    async with unfinished(client, LONG_S):
        call = asyncio.create_task(client.post(GENERATIONS, json=LONG, headers=headers))
        await until(client, lambda s: s["slots_used"] == 1)
        call.cancel()


async def test_an_endless_upload_is_cut_off(tuned: Service, client: httpx.AsyncClient) -> None:
    process = ingress(tuned)
    before = private_bytes(process)
    most = before

    async def endless() -> AsyncIterator[bytes]:
        nonlocal most
        for _ in range(300):
            most = max(most, private_bytes(process))
            yield bytes(MIB)

    for door in doors(tuned):
        try:
            answer = await client.post(door + "/", content=endless())
            assert answer.status_code == 413
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            pass  # the service has closed the connection
    assert most - before < 64 * MIB


def private_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


async def test_a_large_upload_arrives(tuned: Service, client: httpx.AsyncClient) -> None:
    """Larger than the window that is read ahead."""
    files = {"audio": ("a.wav", bytes(4 * MIB), "audio/wav")}
    for door in doors(tuned):
        answer = await client.post(door + "/v1/audio/conversions", files=files)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_audio")


async def test_an_upload_of_12_mb_continues(client: httpx.AsyncClient) -> None:
    """The audio prompt reaches the replica in one message, beyond gRPC's default of 4 MiB."""
    rate = 52_000
    time = np.arange(29 * rate) / rate
    tone = np.stack([np.sin(2 * np.pi * 220 * time), np.sin(2 * np.pi * 330 * time)]) * 0.3
    file = io.BytesIO()
    soundfile.write(file, tone.T, rate, format="WAV", subtype="FLOAT")
    assert len(file.getvalue()) > 12_000_000
    response = await client.post(
        GENERATIONS,
        data={"prompt": "a", "duration_s": "29.5", "response_format": "wav"},
        files={"audio_prompt": ("a.wav", file.getvalue())},
    )
    assert response.status_code == 200, response.text
    samples, _ = soundfile.read(io.BytesIO(response.content))
    assert samples.shape[0] == 29.5 * 32_000


async def test_a_listener_that_goes_away_frees_its_slot(client: httpx.AsyncClient) -> None:
    body = LONG | {"stream": True}
    async with unfinished(client, LONG_S), client.stream("POST", GENERATIONS, json=body) as answer:
        async for _ in answer.aiter_bytes():
            await until(client, lambda s: s["slots_used"] == 1)
            break


async def test_what_nobody_reads_stays_out_of_memory(tuned: Service) -> None:
    await check_slow_readers(tuned)


async def test_the_first_audio_does_not_wait_for_the_rest(client: httpx.AsyncClient) -> None:
    body = LONG | {"stream": True, "response_format": "pcm"}
    size = 0
    async with unfinished(client, LONG_S), client.stream("POST", GENERATIONS, json=body) as answer:
        async for part in answer.aiter_raw():
            size += len(part)
            if size > FIRST_BYTES:
                break
    assert size > FIRST_BYTES


async def test_a_track_outlives_its_replica(tuned: Service, client: httpx.AsyncClient) -> None:
    undisturbed = await stream(client, duration_s=40)
    restarted = ingress(tuned).pid
    task = asyncio.create_task(stream(client, duration_s=40))
    await until(client, lambda s: s["slots_used"] == 1)
    os.kill(replica(tuned).pid, signal.SIGKILL)
    assert await task == undisturbed
    assert ingress(tuned).pid == restarted


async def test_a_request_that_kills_replicas_is_refused(client: httpx.AsyncClient) -> None:
    """gRPC tells a crash from a lost node as little as Serve does: the ingress asks Ray."""
    response = await client.post(GENERATIONS, json={"prompt": POISON, "duration_s": 1})
    assert (response.status_code, response.json()["code"]) == (500, "generation_failed")
    assert "two replicas crashed" in response.json()["detail"]


async def test_haproxy_may_die(tuned: Service, client: httpx.AsyncClient) -> None:
    """Its connections break; Serve starts another, whose way to the ingress is the same."""
    stopped = [process for process in tuned.processes() if process.name() == "haproxy"]
    assert stopped
    for process in stopped:
        process.kill()
    killed_at = monotonic()
    assert psutil.wait_procs(stopped, timeout=PATIENCE_S)[1] == []
    async with asyncio.timeout(PATIENCE_S):
        while not await is_back(client):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.1)
    back_s = monotonic() - killed_at
    logger.info("HAProxy died: the service was back after %.1f s", back_s)
    assert back_s < PROXY_BACK_S
    assert len(await stream(client, duration_s=1)) == 2 * 32_000


async def is_back(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/v1/models", timeout=2.0)).is_success
    except httpx.HTTPError:
        return False


async def test_a_burst_beyond_the_line_is_refused(tuned: Service) -> None:
    """Serve counts requests of one turn of the event loop as waiting, though there is room for them."""
    forms = []
    for door in doors(tuned):
        refused: list[httpx.Response] = []
        async with asyncio.timeout(PATIENCE_S):
            while not refused:
                answers = await burst(door, ingress(tuned))
                refused = [answer for answer in answers if answer.status_code != 200]
        assert len(answers) - len(refused) >= LINE
        assert {(one.status_code, one.headers["retry-after"]) for one in refused} == {(429, "2")}
        forms.append({one.headers["content-type"].partition(";")[0] for one in refused})
        if door == tuned.url:
            assert {one.json()["code"] for one in refused} == {"overloaded"}
    assert forms == [{"application/problem+json"}, {"text/plain"}], (
        "Serve's own words, past the edge"
    )


async def test_beyond_the_line_for_the_next_ingress_callers_are_refused(tuned: Service) -> None:
    """Its only replica dies: Serve's HAProxy sends callers to Serve's own proxy, where some wait.

    Until it notices, it has no answer for them.
    """
    ingress(tuned).kill()
    async with httpx.AsyncClient(base_url=tuned.url, timeout=2 * PATIENCE_S) as callers:
        calls: list[asyncio.Task[httpx.Response]] = []
        async with asyncio.timeout(2 * PATIENCE_S):
            while 429 not in {call.result().status_code for call in calls if call.done()}:
                if sum(not call.done() for call in calls) < MOST_CALLERS:
                    calls += [asyncio.create_task(callers.get("/v1/models")) for _ in range(LINE)]
                await asyncio.sleep(0.05)
        answers = await asyncio.gather(*calls)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {(one.json()["code"], one.headers["retry-after"]) for one in refused} == {
        ("overloaded", "2")
    }
    failed = [answer for answer in answers if not answer.is_success]
    assert {one.status_code for one in failed} <= {429, 500, 502}
    assert {one.headers["content-type"] for one in failed} == {"application/problem+json"}
    assert len(answers) - len(failed) >= LINE, "they waited"
