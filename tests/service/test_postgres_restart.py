"""A PostgreSQL server that crashes below running workers, and is started again."""

import asyncio
from collections import Counter
from pathlib import Path
from time import monotonic

import httpx
import pytest
import yaml

from tests.postgres import PostgresServer, postgres_server
from tests.raw_server import answer, raw_server
from tests.service.conftest import GENERATIONS, PATIENCE_S
from tests.service.test_job_faults import (
    JOBS,
    all_ended,
    check_audio,
    config_in,
    started,
    states,
    submit,
    until,
    until_some_run,
    webhooks,
)

FIRST, *OTHERS = range(200, 205)
LATE = 250
ANSWERS_WITHIN_S = 30.0  # less than the patience of any client


def postgres_config_in(folder: Path, database: PostgresServer) -> Path:
    """The service of the other faults, with its store in a database of `database`."""
    file = config_in(folder)
    config = yaml.safe_load(file.read_text())
    jobs = config["applications"][0]["args"]["jobs"]
    jobs["store"] = database.url(database.new_database())
    jobs["results"] = str(folder / "results")
    file.write_text(yaml.safe_dump(config))
    return file


async def check_refusals(client: httpx.AsyncClient, job_id: str) -> None:
    """Check that each kind of request is refused soon, and may be sent again."""
    body = {"prompt": "beat", "duration_s": 1}
    prediction = {"input": {"prompt": "beat", "duration": 1}}

    async def check(method: str, path: str, content: object = None) -> None:
        began = monotonic()
        response = await client.request(method, path, json=content)
        assert response.status_code == 503, (path, response.text)
        assert response.json()["code"] == "job_store_unavailable"
        assert int(response.headers["retry-after"]) >= 1
        assert monotonic() - began < ANSWERS_WITHIN_S, path

    await asyncio.gather(
        check("POST", JOBS, body),
        check("GET", JOBS),
        check("GET", f"{JOBS}/{job_id}"),
        check("GET", f"{JOBS}/{job_id}/audio"),
        check("POST", f"{JOBS}/{job_id}/cancel"),
        check("DELETE", f"{JOBS}/{job_id}"),
        check("GET", "/v1/webhooks/secret"),
        check("POST", "/v1/models/meta/musicgen/predictions", prediction),
    )


@pytest.mark.long
async def test_a_restart_of_postgresql_loses_and_doubles_no_job(tmp_path: Path) -> None:
    """The first message is refused before the crash, and sent again after it."""
    with (
        postgres_server() as database,
        raw_server(answer("503 Later"), answer("204 No Content")) as receiver,
        started(postgres_config_in(tmp_path, database)) as service,
    ):
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
            ids = {await submit(client, FIRST, receiver.url): FIRST}
            await until(client, all_ended)
            await until(client, lambda _: len(receiver.requests) >= 1)
            ids |= {await submit(client, seed, receiver.url): seed for seed in OTHERS}
            await until_some_run(client, ids, receiver.url)
            await asyncio.to_thread(database.stop)
            await check_refusals(client, next(iter(ids)))
            generated = await client.post(GENERATIONS, json={"prompt": "beat", "duration_s": 1})
            assert generated.status_code == 200, "interactive requests need no store"
            await asyncio.to_thread(database.start)
            await until(client, lambda jobs: len(jobs) == len(ids))
            ids[await submit(client, LATE, receiver.url)] = LATE
            await until(client, all_ended)
            jobs = await states(client)
            assert Counter(job["status"] for job in jobs) == {"succeeded": len(ids)}
            assert {job["id"]: job["seed"] for job in jobs} == ids
            await check_audio(client, jobs)
            await until(client, lambda _: is_told(webhooks(receiver.requests), ids))
            told = webhooks(receiver.requests)
            assert len(told) == len(ids), "each job has one message, whose id stays the same"
            assert max(told.values()) > 1


def is_told(told: Counter[tuple[str, str]], ids: dict[str, int]) -> bool:
    """Whether each job has a message, and one has been sent again."""
    return {job_id for job_id, _ in told} == set(ids) and max(told.values()) > 1
