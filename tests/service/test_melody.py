"""A melody model in a running service: by HTTP, the command and the page; a model beside it that takes none."""

import base64
import copy
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from playwright.async_api import FilePayload, Page, expect
from typer.testing import CliRunner

from serve_app.cli.app import app
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.architectures import MELODY, write_huggingface
from tests.audio.files import RATE, case, pcm_file
from tests.conftest import CONFIGS
from tests.service.conftest import GENERATIONS, PATIENCE_S
from tests.test_page import page as page

pytestmark = pytest.mark.long

BODY = {"prompt": "a", "model": "sung", "duration_s": 0.5, "seed": 3}


def song(frequency: float) -> bytes:
    """A file of two seconds of one tone, whose chroma is one pitch class."""
    t = np.arange(2 * RATE) / RATE
    return pcm_file((0.5 * np.sin(2 * np.pi * frequency * t))[None].astype(np.float32), RATE)


HIGH = song(440.0)
LOW = song(330.0)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture(scope="module")
def singing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The embedded model under its configuration's names, and a random melody model."""
    folder = tmp_path_factory.mktemp("melody")
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    args = config["applications"][0]["args"]
    [nano] = args["models"]
    nano["deployment_config"]["ray_actor_options"] = {"num_cpus": 0.5}
    sung = copy.deepcopy(nano) | {"aliases": []}
    source = write_huggingface(MELODY, folder / "sung")
    sung["model_loading_config"] = {"model_id": "sung", "model_source": str(source)}
    sung["license"] = "mit"
    args["models"] = [nano, sung]
    args["jobs"] = {"store": f"sqlite:///{folder / 'jobs.db'}"}
    file = folder / "melody.yaml"
    file.write_text(yaml.safe_dump(config))
    with Service(file, free_port(), ProgressLine()) as service:
        yield service


@pytest.fixture
async def client(singing: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=singing.url, timeout=2 * PATIENCE_S) as client:
        yield client


async def track(client: httpx.AsyncClient, **fields: Any) -> bytes:
    response = await client.post(GENERATIONS, json=BODY | fields)
    assert response.status_code == 200, response.text
    return response.content


async def test_a_melody_changes_the_music_and_repeats_it(client: httpx.AsyncClient) -> None:
    high = await track(client, melody=base64_of(HIGH))
    assert await track(client, melody=base64_of(HIGH)) == high
    others = [await track(client, melody=base64_of(LOW)), await track(client)]
    assert len({high, *others}) == 3
    form = {name: str(value) for name, value in BODY.items()}
    sent = await client.post(GENERATIONS, data=form, files={"melody": ("a.wav", HIGH)})
    assert sent.content == high
    streamed = await track(client, melody=base64_of(HIGH), stream=True)
    assert streamed[-1000:] == high[-1000:], "the samples are the same"
    assert await track(client, melody=base64_of(HIGH), prompt="") != high


async def test_a_job_and_a_file_of_it(client: httpx.AsyncClient) -> None:
    expected = await track(client, melody=base64_of(HIGH))
    body = BODY | {"melody": base64_of(HIGH)}
    job = (await client.post("/v1/jobs", json=body, headers={"prefer": "wait=60"})).json()
    assert (job["status"], job["request"]["melody"]) == ("succeeded", True)
    url = job["result"][0]["url"]
    assert (await client.get(url)).content == expected
    followed = await track(client, melody=url)
    assert followed == await track(client, melody=base64_of(expected))


async def test_the_older_contracts(client: httpx.AsyncClient) -> None:
    body = {"prompt": "", "model": "sung", "duration": 1, "melody_audio_base64": base64_of(HIGH)}
    for path in ("/", "/generate"):
        response = await client.post(path, json=body)
        assert response.status_code == 200, response.text
        assert response.json()["success"] is True


async def test_a_model_without_one_refuses_it_by_name(client: httpx.AsyncClient) -> None:
    """Its alias `melody` goes on answering requests without one."""
    without = {"prompt": "a", "model": "melody", "duration_s": 0.5}
    assert (await client.post(GENERATIONS, json=without)).status_code == 200
    response = await client.post(GENERATIONS, json=without | {"melody": base64_of(HIGH)})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "melody_not_supported")
    assert problem["detail"].startswith("Model 'nano' (which answers to 'melody' here)")
    assert problem["detail"].endswith("name a model that takes one: sung.")
    body = {"prompt": "a", "model": "melody", "melody_audio_base64": base64_of(HIGH)}
    refused = await client.post("/", json=body)
    assert (refused.status_code, refused.json()) == (400, {"detail": problem["detail"]})
    auto = await client.post(GENERATIONS, json=BODY | {"model": "auto", "melody": base64_of(HIGH)})
    assert auto.headers["x-musicgen-model"] == "sung"


async def test_capabilities_are_listed(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()["data"]
    melody = {model["id"]: model["capabilities"]["melody"] for model in models}
    assert melody == {"nano": False, "sung": True}


@pytest.mark.parametrize("content", [case("nan.wav"), b"", b"hi", HIGH[:40]])
async def test_hostile_files_get_the_errors_of_audio_prompts(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answers = []
    for field in ("melody", "audio_prompt"):
        response = await client.post(GENERATIONS, json=BODY | {field: base64_of(content)})
        answers.append((response.status_code, response.json()["code"], response.json()["detail"]))
    assert answers[0] == answers[1]
    assert answers[0][:2] == (400, "invalid_audio")
    assert await track(client), "the replica goes on"


async def test_an_hour_of_silence_costs_no_more_than_its_beginning(
    client: httpx.AsyncClient,
) -> None:
    assert await track(client, melody=base64_of(case("long_silence.flac")))


def test_the_command_sends_it(singing: Service, tmp_path: Path) -> None:
    melody = tmp_path / "melody.wav"
    melody.write_bytes(HIGH)
    made = []
    for name, more in (("a", ["--melody", melody]), ("b", ["--melody", melody]), ("c", [])):
        file = tmp_path / f"{name}.wav"
        options = ["--model", "sung", "--duration", 0.5, "--seed", 3, "--url", singing.url]
        arguments = ["generate", "a", "-o", file, *options, *more]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        made.append(file.read_bytes())
    assert made[0] == made[1]
    assert made[0] != made[2]


async def test_the_page_offers_it_where_the_model_takes_one(
    singing: Service, client: httpx.AsyncClient, page: Page
) -> None:
    await page.goto(singing.url)
    await expect(page.get_by_label("Model")).to_have_value("nano")
    await page.get_by_text("Begin with a sound").click()
    await page.get_by_label("Model").select_option("sung")
    file: FilePayload = {"name": "hummed.wav", "mimeType": "audio/wav", "buffer": HIGH}
    await page.get_by_label("Audio file").set_input_files(file)
    await expect(page.get_by_text("hummed.wav")).to_be_visible()
    await expect(page.get_by_role("radio", name="the melody")).to_be_checked()
    await page.get_by_label("Model").select_option("nano")
    await expect(page.get_by_role("radio", name="the melody")).to_be_hidden()
    await page.get_by_label("Model").select_option("sung")
    await page.get_by_label("Seconds").fill("1")
    await page.get_by_label("Seed").fill("3")
    async with page.expect_request("**/v1/audio/generations") as sent:
        await page.get_by_role("button", name="Generate").click()
    body = (await sent.value).post_data_json
    assert body is not None
    assert sha256(base64.b64decode(body["melody"])).digest() == sha256(HIGH).digest()
    assert body["prompt"] == ""
    await expect(page.locator(".track")).to_have_count(1, timeout=1000 * PATIENCE_S)
    await expect(page.locator(".track")).to_contain_text("sung")
    assert (await client.get("/health")).status_code == 200
