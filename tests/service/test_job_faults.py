"""Jobs of a service whose processes are killed: each ends once, with the audio of its seed."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.raw_server import answer, raw_server
from tests.service.conftest import GENERATIONS, LONG_S, PATIENCE_S, deployment, ingress

JOBS = "/v1/jobs"
DURATION_S = 12.0
SEEDS = range(100, 105)


def config_in(folder: Path) -> Path:
    """The embedded model with jobs in `folder`, whose lost workers are noticed quickly."""
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    args = config["applications"][0]["args"]
    args["jobs"] = {
        "store": f"sqlite:///{folder / 'jobs.db'}",
        "lease_s": 3,
        "max_attempts": 10,
        "webhooks": {"allow_private_addresses": True},
    }
    [model] = args["models"]
    model["deployment_config"]["health_check_period_s"] = 1
    file = folder / "nano.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


@contextmanager
def started(config: Path) -> Iterator[Service]:
    with Service(config, free_port(), ProgressLine()) as service:
        yield service


def replica(service: Service) -> psutil.Process:
    [process] = [one for one in service.processes() if "MusicGen:nano" in one.name()]
    return process


async def states(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All jobs, once the service answers."""
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                response = await client.get(JOBS, params={"limit": 100})
            except httpx.TransportError:
                continue
            if response.status_code == 200:
                return list(response.json()["data"])
            await asyncio.sleep(0.1)


async def until(client: httpx.AsyncClient, test: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait until all jobs together pass the test."""
    async with asyncio.timeout(4 * PATIENCE_S):
        while not test(await states(client)):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.1)


async def until_some_run(client: httpx.AsyncClient, ids: dict[str, int], webhook: str) -> None:
    """Wait until a job is being made, and its audio has begun; add one where all have ended."""

    async def some_run() -> bool:
        jobs = await states(client)
        if all_ended(jobs):
            seed = max(ids.values()) + 1
            ids[await submit(client, seed, webhook)] = seed
        return any(job["progress"] > 0 and job["status"] == "running" for job in jobs)

    async with asyncio.timeout(4 * PATIENCE_S):
        while not await some_run():  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.1)


def some_begun(jobs: list[dict[str, Any]]) -> bool:
    return any(job["progress"] > 0 for job in jobs)


def all_ended(jobs: list[dict[str, Any]]) -> bool:
    return not any(job["status"] in ("queued", "running") for job in jobs)


async def submit(
    client: httpx.AsyncClient, seed: int, webhook: str, duration_s: float = DURATION_S
) -> str:
    body = {
        "prompt": "beat", "duration_s": duration_s, "seed": seed, "response_format": "flac",
        "webhook": {"url": webhook},
    }  # fmt: skip
    response = await client.post(JOBS, json=body, headers={"idempotency-key": f"track-{seed}"})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def webhooks(requests: list[bytes]) -> Counter[tuple[str, str]]:
    """Number of deliveries by job and `webhook-id`."""
    found: Counter[tuple[str, str]] = Counter()
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        [message_id] = [
            line.partition(b": ")[2].decode()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"webhook-id")
        ]
        found[json.loads(body)["data"]["id"], message_id] += 1
    return found


async def expected(client: httpx.AsyncClient, seed: int) -> str:
    """SHA-256 of the same track as an answer."""
    body = {"prompt": "beat", "duration_s": DURATION_S, "seed": seed, "response_format": "flac"}
    response = await client.post(GENERATIONS, json=body)
    assert response.status_code == 200
    return hashlib.sha256(response.content).hexdigest()


async def check_audio(client: httpx.AsyncClient, jobs: list[dict[str, Any]]) -> None:
    """Compare the file of each job with the track of its seed."""
    for job in jobs:
        [result] = job["result"]
        address = str(result["url"]).removeprefix(_origin(result["url"]))
        digest = hashlib.sha256((await client.get(address)).content).hexdigest()
        assert digest == result["sha256"] == await expected(client, job["seed"])


@pytest.mark.long
async def test_every_accepted_job_ends_once_whatever_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the model's replica, of the ingress, and of all processes at once."""
    config = config_in(tmp_path)
    with raw_server(answer("204 No Content")) as receiver:
        with started(config) as service:
            async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
                ids = {await submit(client, seed, receiver.url): seed for seed in SEEDS}
                for victim in (replica, ingress):
                    await until_some_run(client, ids, receiver.url)
                    victim(service).kill()
                await until_some_run(client, ids, receiver.url)
            for process in service.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        with started(config) as service:
            async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
                await until(client, all_ended)
                jobs = await states(client)
                assert Counter(job["status"] for job in jobs) == {"succeeded": len(ids)}
                assert {job["id"]: job["seed"] for job in jobs} == ids
                assert max(job["attempt"] for job in jobs) > 1
                await check_audio(client, jobs)
                await until(client, lambda _: len(webhooks(receiver.requests)) >= len(ids))
    assert sorted(job_id for job_id, _ in webhooks(receiver.requests)) == sorted(ids)


def scaled_config_in(folder: Path) -> Path:
    """The same service, whose model has no replica at first, and two at most."""
    file = config_in(folder)
    config = yaml.safe_load(file.read_text())
    [model] = config["applications"][0]["args"]["models"]
    del model["deployment_config"]["num_replicas"]
    model["deployment_config"]["ray_actor_options"] = {"num_cpus": 0.1}
    model["deployment_config"]["autoscaling_config"] = {
        "min_replicas": 0, "initial_replicas": 0, "max_replicas": 2, "upscale_delay_s": 0.5,
        "metrics_interval_s": 0.5, "look_back_period_s": 1,
        "policy": {
            "policy_function": "serve_app.deployments.autoscaling:DrainTimePolicy",
            "policy_kwargs": {"drain_s": 5},
        },
    }  # fmt: skip
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.mark.long
async def test_a_deep_queue_scales_a_model_from_zero(tmp_path: Path) -> None:
    """The jobs that run would want one replica; those in the store want the second."""
    with (
        raw_server(answer("204 No Content")) as receiver,
        started(scaled_config_in(tmp_path)) as one,
    ):
        async with httpx.AsyncClient(base_url=one.url, timeout=PATIENCE_S) as client:
            assert not [process for process in one.processes() if "MusicGen:nano" in process.name()]
            for seed in range(20):
                await submit(client, seed, receiver.url, LONG_S)
            replicas = 0
            async with asyncio.timeout(4 * PATIENCE_S):
                while replicas < 2:
                    model = await deployment(one, "MusicGen:nano")
                    replicas = model["target_num_replicas"]
            await until(client, some_begun)


def _origin(url: str) -> str:
    """Scheme and authority of the service that the job was accepted by, which has ended."""
    return url[: url.index("/", len("http://"))]
