"""The Supabase Edge Function in Deno: its own tests, and calls through it to the running service."""

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.launcher import Service
from serve_app.machine import free_port

SUPABASE = Path(__file__).parent.parent / "supabase"
FUNCTION = SUPABASE / "functions" / "generate-music"
DENO = str(Path(sys.executable).parent / "deno")
CONFIG = ["--config", str(FUNCTION / "deno.json"), "--frozen"]


def deno(*arguments: str) -> None:
    run = subprocess.run(
        [DENO, *arguments], capture_output=True, text=True, cwd=SUPABASE, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_is_formatted_and_typed() -> None:
    deno("fmt", "--check", "--config", str(FUNCTION / "deno.json"), ".")
    deno("lint", "--config", str(FUNCTION / "deno.json"), ".")
    deno("check", *CONFIG, str(FUNCTION / "index.ts"), "tests")


def test_its_own_tests() -> None:
    deno("test", *CONFIG, "--allow-net=127.0.0.1", "tests")


@pytest.fixture(scope="module")
def function(service: Service) -> Iterator[str]:
    """URL of the function, served as Supabase's runtime does: one process, secrets in the environment."""
    url = f"http://127.0.0.1:{free_port()}"
    secrets = {
        "MODAL_API_URL": f"{service.url}/",
        "DENO_SERVE_ADDRESS": f"tcp:{url.removeprefix('http://')}",
    }
    command = [
        DENO,
        "run",
        *CONFIG,
        "--allow-net=127.0.0.1",
        "--allow-env",
        str(FUNCTION / "index.ts"),
    ]
    process = subprocess.Popen(command, env=os.environ | secrets, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("Listening on" in line for line in process.stderr), "it ended"
    yield url
    process.terminate()
    process.communicate()


FIELDS: dict[str, Any] = {
    "mood": "calm",
    "genres": ["ambient"],
    "energy": 2,
    "tempo_bpm": 70,
    "duration": 1,
}


async def test_a_track_from_fields(function: str) -> None:
    async with httpx.AsyncClient(timeout=120) as client:
        response = await client.post(function, json=FIELDS)
    answer = response.json()
    assert (response.status_code, answer["success"]) == (200, True)
    assert answer["prompt"].startswith("ambient, calm mood, slow tempo, with synth pad and piano, ")
    assert answer["metadata"]["model_size"] == "nano", "the model that really answered"
    header, _, content = answer["audioUrl"].partition(",")
    assert header == "data:audio/wav;base64"
    samples, sample_rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert (len(samples), sample_rate) == (32_000, 32_000)
    assert answer["metadata"]["size"] == 32_000 * 2 + 44


async def test_a_request_that_the_service_refuses_is_400(function: str) -> None:
    body = FIELDS | {"decoder": "multiband_diffusion"}
    async with httpx.AsyncClient(timeout=120) as client:
        response = await client.post(function, json=body)
    assert response.status_code == 400
    assert response.json()["details"].startswith("Decoder 'multiband_diffusion' is not available")
    assert response.headers["access-control-allow-origin"] == "*"
