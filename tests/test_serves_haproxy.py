"""The service behind Ray Serve's HAProxy, which hands requests to the ingress itself: deadlines and uploads."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.service.conftest import GENERATIONS, PATIENCE_S

LONG: dict[str, Any] = {"prompt": "a", "duration_s": 120}
MIB = 2**20

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def haproxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    file = tmp_path_factory.mktemp("haproxy") / "nano.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
        patch.setenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
        with Service(file, free_port(), ProgressLine()) as service:
            yield service


def doors(service: Service) -> list[str]:
    """The edge, and Serve's HAProxy without it."""
    return [service.url, f"http://{service.upstream}"]


async def test_deadlines_are_the_services(haproxied: Service) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        for door in doors(haproxied):
            for name in ("x-request-timeout-seconds", "x-musicgen-timeout-seconds"):
                answer = await client.post(door + GENERATIONS, json=LONG, headers={name: "0.3"})
                assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


async def test_no_header_keeps_a_request_running_without_its_client(haproxied: Service) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:

        async def until(slots_used: int) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    stats = (await client.get(haproxied.url + "/stats")).json()
                    if [one["slots_used"] for one in stats["models"]["nano"]] == [slots_used]:
                        return
                    await asyncio.sleep(0.1)

        for door in doors(haproxied):
            headers = {"x-request-disconnect-disabled": "?1"}
            call = asyncio.create_task(client.post(door + GENERATIONS, json=LONG, headers=headers))
            await until(1)
            call.cancel()
            await until(0)


async def test_an_endless_upload_is_cut_off(haproxied: Service) -> None:
    [ingress] = [one for one in haproxied.processes() if "Ingress" in one.name()]
    before = private_bytes(ingress)
    most = before

    async def endless() -> Any:
        nonlocal most
        for _ in range(300):
            most = max(most, private_bytes(ingress))
            yield bytes(MIB)

    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        for door in doors(haproxied):
            try:
                answer = await client.post(door + "/", content=endless())
                assert answer.status_code == 413
            except httpx.WriteError:
                pass  # the service has closed the connection
    assert most - before < 64 * MIB


async def test_a_large_upload_arrives(haproxied: Service) -> None:
    """Larger than the window that is read ahead."""
    files = {"audio": ("a.wav", bytes(4 * MIB), "audio/wav")}
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        for door in doors(haproxied):
            answer = await client.post(door + "/v1/audio/conversions", files=files)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_audio")


def private_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)
