"""The clients of other services for JavaScript, in Deno, against the running service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve_app.launcher import Service

FOLDER = Path(__file__).parent / "clients_js"
DENO = str(Path(sys.executable).parent / "deno")
ONE_SECOND = 2 * 32_000  # bytes of its samples
MOST_HEADER_BYTES = 4000


def answer_of(script: str, url: str) -> dict[str, Any]:
    """Run a script with the URL; return the JSON of its last line."""
    command = [
        DENO, "run", "--frozen", "--config", str(FOLDER / "deno.json"), "--allow-net=127.0.0.1",
        "--allow-env", "--allow-sys", "--allow-read", str(FOLDER / script), url,
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1].removeprefix("ANSWER "))
    return answer


def test_hugging_faces_client(service: Service) -> None:
    answer = answer_of("huggingface.ts", f"{service.url}/models/facebook/musicgen-small")
    assert 0 < answer["bytes"] - ONE_SECOND < MOST_HEADER_BYTES
    assert answer["refused"] is True
    assert 0 < answer_of("huggingface.ts", service.url)["bytes"] - ONE_SECOND < MOST_HEADER_BYTES


@pytest.mark.long
def test_openais_client(service: Service) -> None:
    answer = answer_of("openai.ts", service.url)
    assert (answer["models"], answer["id"], answer["ignored"]) == (["nano"], "nano", "voice")
    assert 0 < answer["bytes"] - ONE_SECOND < MOST_HEADER_BYTES
    assert answer["types"][0] == "speech.audio.delta"
    assert answer["types"][-1] == "speech.audio.done"
    for field, status in (("speed", 400), ("response_format", 400), ("model", 404)):
        found, param, message = answer["refusals"][field]
        assert (found, param) == (status, field)
        assert "no body" not in message


@pytest.mark.long
def test_elevenlabs_client(service: Service) -> None:
    answer = answer_of("elevenlabs.ts", service.url)
    sizes = [answer[name] for name in ("composed", "streamed", "detailed")]
    assert sizes == [3 * ONE_SECOND] * 3
    assert answer["sound"] == ONE_SECOND
    assert (answer["filename"], answer["description"]) == ("track.pcm", "lofi beat")
    assert answer["songId"]
    assert answer["models"] == ["nano"]
    refusals = answer["refusals"]
    assert refusals["output_format"][1]["detail"]["param"] == "output_format"
    assert refusals["composition_plan"][1]["detail"]["param"] == "composition_plan.sections"
    assert refusals["plan"][0] == 404
