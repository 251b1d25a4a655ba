"""MultiBand Diffusion in a running service: the contracts, a job, a stream beside it, and a client that leaves."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import yaml

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.diffusion import write_converted
from tests.service.conftest import GENERATIONS, PATIENCE_S

pytestmark = pytest.mark.long

WHOLE = {"prompt": "a", "duration_s": 1, "seed": 3, "decoder": "multiband_diffusion"}


@pytest.fixture(scope="module")
def diffusing(nano: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("diffusion")
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    args = config["applications"][0]["args"]
    [model] = args["models"]
    source = str(write_converted(folder / "mbd", nano))
    model.setdefault("engine_kwargs", {})["multiband_diffusion_source"] = source
    args["jobs"] = {"store": f"sqlite:///{folder / 'jobs.db'}"}
    file = folder / "nano.yaml"
    file.write_text(yaml.safe_dump(config))
    with Service(file, free_port(), ProgressLine()) as service:
        yield service


@pytest.fixture
async def client(diffusing: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=diffusing.url, timeout=2 * PATIENCE_S, follow_redirects=True
    ) as client:
        yield client


def samples_of(content: bytes) -> Any:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


async def test_contracts_and_generations_use_it(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "duration": 1, "decoder": "multiband_diffusion"}
    answer = (await client.post("/", json=body)).json()
    assert (answer["success"], answer["decoder"]) == (True, "multiband_diffusion")
    assert samples_of(base64.b64decode(answer["audio_base64"])).shape == (32_000,)
    first, again, plain = [
        await client.post(GENERATIONS, json=WHOLE | more)
        for more in ({}, {}, {"decoder": "encodec"})
    ]
    assert first.content == again.content
    difference = samples_of(first.content) - samples_of(plain.content)
    assert np.abs(difference).max() > 1e-3


async def test_a_job_uses_it(client: httpx.AsyncClient) -> None:
    expected = (await client.post(GENERATIONS, json=WHOLE)).content
    job = (await client.post("/v1/jobs", json=WHOLE, headers={"prefer": "wait=60"})).json()
    assert job["status"] == "succeeded"
    assert job["request"]["decoder"] == "multiband_diffusion"
    content = (await client.get(job["result"][0]["url"])).content
    np.testing.assert_array_equal(samples_of(content), samples_of(expected))


async def test_a_stream_goes_on_beside_it_and_a_client_may_leave(client: httpx.AsyncClient) -> None:
    """The long track takes the decoder longer than the stream and the short track together."""
    long = asyncio.create_task(client.post(GENERATIONS, json=WHOLE | {"duration_s": 60}))
    body = {"prompt": "a", "duration_s": 2, "stream": True}
    stream = asyncio.create_task(client.post(GENERATIONS, json=body))
    done, _ = await asyncio.wait({long, stream}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {stream}
    assert stream.result().status_code == 200
    long.cancel()
    response = await client.post(GENERATIONS, json=WHOLE)
    assert response.status_code == 200


async def test_a_stream_by_it_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(GENERATIONS, json=WHOLE | {"stream": True})
    assert response.status_code == 400
    assert "'multiband_diffusion' decodes whole tracks" in response.json()["detail"]
