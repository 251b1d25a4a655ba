"""Fine-tunes in the replicas of their model, through Serve: routing, eviction, streams, limits of a load."""

import asyncio
import copy
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.adapters import write_plain_adapter
from tests.conftest import CONFIGS
from tests.engine.test_fine_tunes import EMBEDDED_FOLDER, NANO_WIDTH
from tests.service.conftest import GENERATIONS, PATIENCE_S, samples_of

pytestmark = pytest.mark.long

SLOTS = 2
FINE_TUNES = ("drums", "strings", "bells")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two replicas of the embedded model with a place each for a fine-tune, and one of these alone."""
    folder = tmp_path_factory.mktemp("fine-tunes")
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    args = config["applications"][0]["args"]
    [nano] = args["models"]
    nano |= {"aliases": []}
    nano["engine_kwargs"]["max_slots"] = SLOTS
    nano["deployment_config"]["ray_actor_options"] = {"num_cpus": 0.3}
    alone = copy.deepcopy(nano)
    checkpoints: list[dict[str, Any]] = [
        {"model_id": name, "adapter_source": str(write_plain_adapter(folder / name, i, NANO_WIDTH))}
        for i, name in enumerate(FINE_TUNES)
    ]
    checkpoints[0] |= {"aliases": ["drummer"], "license": "mit"}
    checkpoints.append({"model_id": "odd", "model_source": str(write_odd(folder / "odd"))})
    nano["fine_tunes"] = {"max_resident": 1, "checkpoints": checkpoints}
    nano["deployment_config"]["num_replicas"] = 2
    alone["model_loading_config"] |= {
        "model_id": "alone",
        "adapter_source": checkpoints[0]["adapter_source"],
    }
    args["models"] = [nano, alone]
    args["jobs"] = {"store": f"sqlite:///{folder / 'jobs.db'}"}
    file = folder / "fine-tunes.yaml"
    file.write_text(yaml.safe_dump(config))
    with Service(file, free_port(), ProgressLine()) as service:
        yield service


def write_odd(folder: Path) -> Path:
    """Write a checkpoint of another shape, which does not even have all its weights."""
    shutil.copytree(EMBEDDED_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
async def client(tuned: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=tuned.url, timeout=2 * PATIENCE_S) as client:
        yield client


async def track(client: httpx.AsyncClient, model: str, duration_s: float = 0.5) -> bytes:
    body = {"prompt": "a", "model": model, "duration_s": duration_s, "seed": 3}
    answer = await client.post(GENERATIONS, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-musicgen-model"] == model
    return answer.content


async def lanes(client: httpx.AsyncClient) -> list[int]:
    """Checkpoints in the memory of each replica."""
    replicas = (await client.get("/stats")).json()["models"]["nano"]
    return sorted(replica["slots"] // SLOTS for replica in replicas)


def loaded(service: Service) -> list[str]:
    """Names of the fine-tunes in the logs of all replicas, once for each load."""
    [raylet] = [process for process in service.processes() if process.name() == "raylet"]
    folder = next(part for part in raylet.cmdline() if part.startswith("--log_dir="))
    logs = Path(folder.partition("=")[2], "serve").glob("replica_*.log")
    texts = [file.read_text() for file in logs]
    assert texts
    return re.findall(r"Fine-tune '(\w+)' was loaded", "".join(texts))


async def test_fine_tunes_are_models_of_their_own(client: httpx.AsyncClient) -> None:
    models = {one["id"]: one for one in (await client.get("/v1/models")).json()["data"]}
    assert list(models) == ["nano", *FINE_TUNES, "odd", "alone"]
    assert models["drums"]["license"] == "mit"
    assert models["drums"]["aliases"] == ["drummer"]
    assert models["strings"]["license"] == "unknown"


async def test_requests_go_to_the_replica_that_holds_their_fine_tune(
    tuned: Service, client: httpx.AsyncClient
) -> None:
    """One place in each of two replicas holds two fine-tunes without a change of place.

    Serve tells the ingress of a fine-tune's place while its first track, a long one, is made.
    """
    await track(client, "drums", 30.0)
    await track(client, "bells", 30.0)
    first = await track(client, "drums", 3.0)
    assert await lanes(client) == [2, 2], "the second has its place where no other is"
    base = await track(client, "nano", 3.0)
    alone = await track(client, "alone", 3.0)
    for _ in range(4):
        drums, _ = await asyncio.gather(track(client, "drums", 3.0), track(client, "bells"))
        assert drums == first
    assert np.array_equal(samples_of(first), samples_of(alone)), "the same checkpoint by itself"
    assert not np.array_equal(samples_of(first), samples_of(base))
    assert sorted(loaded(tuned)) == ["bells", "drums"]


async def test_a_third_takes_the_place_of_one_while_streams_go_on(
    client: httpx.AsyncClient,
) -> None:
    body = {"prompt": "a", "model": "drums", "duration_s": 30, "seed": 3, "stream": True}
    async with client.stream("POST", GENERATIONS, json=body | {"response_format": "pcm"}) as stream:
        chunks = stream.aiter_bytes()
        size = len(await anext(chunks))
        before = await track(client, "strings")
        assert await lanes(client) == [2, 2]
        assert await track(client, "bells") != before
        async for chunk in chunks:
            size += len(chunk)
    assert size == 30 * 32_000 * 2
    assert await track(client, "strings") == before, "loaded again"


async def test_one_that_does_not_fit_is_refused_and_hurts_nobody(
    client: httpx.AsyncClient,
) -> None:
    body = {"prompt": "a", "model": "odd", "duration_s": 0.5}
    for _ in range(2):
        answer = await client.post(GENERATIONS, json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "model_load_failed")
        assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert await track(client, "drums")
    assert await track(client, "nano")
