"""The Supabase Edge Functions in Deno: their own tests, and calls through `generate-music` to the running service."""

import asyncio
import base64
import io
import socket
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import httpx
import pytest
import soundfile

from serve_app.launcher import Service
from serve_app.machine import free_port
from serve_app.marks import DIGITAL_SOURCE_TYPE
from tests.credentials import SOUND, state, stored
from tests.fakes import FakeGenerator
from tests.served_api import served_api
from tests.supabase.functions import FUNCTIONS, SUPABASE, config_of, deno, running_function

FUNCTION = FUNCTIONS / "generate-music"


def test_they_are_formatted_and_typed() -> None:
    deno("fmt", "--check", "--config", str(FUNCTION / "deno.json"), ".")
    deno("lint", "--config", str(FUNCTION / "deno.json"), ".")
    deno("check", *config_of("generate-music"), "tests")
    deno("check", "--config", "example/deno.json", "--no-lock", "example/app.js")
    for function in FUNCTIONS.glob("*/index.ts"):
        deno("check", *config_of(function.parent.name), str(function))


def test_their_own_tests() -> None:
    deno("test", *config_of("generate-music"), "--allow-net=127.0.0.1", "--allow-env", "tests")


@pytest.fixture(scope="module")
def function(service: Service) -> Iterator[str]:
    with running_function("generate-music", MUSICGEN_API_URL=f"{service.url}/") as url:
        yield url


FIELDS: dict[str, Any] = {
    "mood": "calm",
    "genres": ["ambient"],
    "energy": 2,
    "tempo_bpm": 70,
    "duration": 1,
}


@pytest.fixture
def blackhole() -> Iterator[str]:
    """URL of an address that swallows packets: its queue of connections is full."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


MOST_S = 60.0  # 10 s, on a machine whose cores are all busy
MARK = "x-musicgen-digital-source-type"
SECRETS = ("MUSICGEN_API_URL", "MODAL_API_URL")


async def refused_after(function: str) -> tuple[float, httpx.Response]:
    """Seconds until the function answers that its service cannot be reached."""
    started_at = perf_counter()
    async with httpx.AsyncClient(timeout=MOST_S) as client:
        response = await client.post(function, json=FIELDS)
    return perf_counter() - started_at, response


async def test_a_service_that_is_down_is_told_within_10_s(blackhole: str) -> None:
    """Refused, unknown and swallowed connections: an answer that a page can read and may retry.

    The system itself gives up a swallowed one after two minutes.
    """
    refusing = f"http://127.0.0.1:{free_port()}/"
    urls = (refusing, "http://no-such-host.invalid/", blackhole)
    with ExitStack() as stack:
        functions = [
            stack.enter_context(running_function("generate-music", **{secret: url}))
            for secret in SECRETS
            for url in urls
        ]
        answers = await asyncio.gather(*map(refused_after, functions))
    for seconds, response in answers:
        assert seconds < MOST_S
        answer = response.json()
        assert (response.status_code, answer["retryable"]) == (503, True)
        assert answer["error"] == "The music service cannot be reached"
        assert response.headers["retry-after"] == "10"
        assert "retry-after" in response.headers["access-control-expose-headers"]
        assert response.headers["access-control-allow-origin"] == "*"


async def test_callers_are_checked_with_the_platform_s_keys() -> None:
    keys = {"SUPABASE_PUBLISHABLE_KEYS": '{"default": "sb_publishable_1"}'}
    with running_function("generate-music", SUPABASE_URL="http://127.0.0.1:1", **keys) as url:
        async with httpx.AsyncClient(timeout=120) as client:
            nobody = await client.post(url, json=FIELDS)
            page = await client.post(url, json=FIELDS, headers={"apikey": "sb_publishable_1"})
    assert nobody.status_code == 401
    assert nobody.json()["details"].startswith("Send the project's publishable key")
    assert page.json()["error"] == "The music service is not configured", "the key was accepted"


def test_the_platform_leaves_the_check_to_the_functions() -> None:
    config = tomllib.loads((SUPABASE / "config.toml").read_text())
    functions = {file.parent.name for file in FUNCTIONS.glob("*/index.ts")}
    assert config["functions"] == {name: {"verify_jwt": False} for name in functions}


async def test_a_track_from_fields(function: str) -> None:
    async with httpx.AsyncClient(timeout=120) as client:
        response = await client.post(function, json=FIELDS)
    answer = response.json()
    assert (response.status_code, answer["success"]) == (200, True)
    assert answer["prompt"].startswith("ambient, calm mood, slow tempo, with synth pad and piano, ")
    assert answer["metadata"]["model_size"] == "nano", "the model that really answered"
    header, _, content = answer["audioUrl"].partition(",")
    assert header == "data:audio/wav;base64"
    file = base64.b64decode(content)
    samples, sample_rate = soundfile.read(io.BytesIO(file))
    assert (len(samples), sample_rate) == (32_000, 32_000)
    assert answer["metadata"]["size"] == len(file)
    with av.open(io.BytesIO(file)) as container:
        assert container.metadata["digital_source_type"] == DIGITAL_SOURCE_TYPE


async def test_a_request_that_the_service_refuses_is_400(function: str) -> None:
    body = FIELDS | {"decoder": "multiband_diffusion"}
    async with httpx.AsyncClient(timeout=120) as client:
        response = await client.post(function, json=body)
    assert response.status_code == 400
    assert response.json()["details"].startswith("Decoder 'multiband_diffusion' is not available")
    assert response.headers["access-control-allow-origin"] == "*"


async def test_a_signed_file_stays_signed(tmp_path: Path) -> None:
    config = stored(tmp_path, unsigned_formats="refuse")
    with (
        served_api(FakeGenerator(), config) as service_url,
        running_function("generate-music", MUSICGEN_API_URL=f"{service_url}/") as url,
    ):
        async with httpx.AsyncClient(timeout=120) as client:
            response = await client.post(url, json=FIELDS)
    content = base64.b64decode(response.json()["audioUrl"].partition(",")[2])
    assert state(content, "audio/wav") in SOUND
    assert response.headers[MARK] == DIGITAL_SOURCE_TYPE
    assert MARK in response.headers["access-control-expose-headers"]
