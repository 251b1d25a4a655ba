"""Replicate's own clients, for Python and for JavaScript, against the running service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from replicate.webhook import Webhooks, WebhookSigningSecret

from serve_app.launcher import Service
from tests.jobs.receiver import receiver
from tests.service.conftest import PATIENCE_S

FOLDER = Path(__file__).parent
DENO = str(Path(sys.executable).parent / "deno")
ONE_SECOND = 2 * 32_000  # bytes of its samples
MOST_HEADER_BYTES = 4000
Said = dict[str, Any]


@pytest.fixture(scope="module")
def beat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of audio."""
    path = tmp_path_factory.mktemp("beat") / "beat.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    return path


@pytest.fixture(scope="module")
def said(service: Service, beat: Path) -> Said:
    """Answers that the client for Python got, and the message that a webhook did."""
    with receiver() as hook:
        script = str(FOLDER / "replicate_script.py")
        command = [sys.executable, script, service.url, str(beat), hook.url]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        answers: Said = json.loads(run.stdout)
        assert hook.arrived.wait(timeout=PATIENCE_S)
    message = hook.received[0]  # sent again where the answer is slow
    return answers | {"message": message}


def test_runs_return_file_objects(said: Said) -> None:
    """By name, by a published version, and by polling: the same seed, the same file."""
    runs = said["runs"]
    assert runs["kinds"] == ["FileOutput"] * 3
    assert [0 < size - ONE_SECOND < MOST_HEADER_BYTES for size in runs["sizes"]] == [True] * 3
    assert (runs["wav"], runs["mp3"]) == (True, True)


def test_predictions_go_from_start_to_end(said: Said) -> None:
    predictions = said["predictions"]
    assert (predictions["at_first"], predictions["at_last"]) == ("starting", "succeeded")
    assert predictions["progress"] == [1.0, 100, 100]
    assert predictions["canceled"] == "canceled"
    assert (predictions["deployed"], predictions["listed"]) == ("succeeded", True)


def test_models_and_versions_are_described(said: Said) -> None:
    assert said["models"] == {"model": "meta/musicgen", "versions": 1, "listed": True}


def test_a_stream_ends_with_its_file(said: Said) -> None:
    streams = said["streams"]
    assert (streams["last"], streams["outputs"]) == ("done", 1)
    assert 0 < streams["sizes"][0] - ONE_SECOND < MOST_HEADER_BYTES


def test_files_are_inputs(said: Said) -> None:
    """One second is continued by another."""
    files = said["files"]
    assert (files["same"], files["deleted"]) == ([True, True], True)
    for size in files["sizes"]:
        assert 0 < size - 2 * ONE_SECOND < MOST_HEADER_BYTES


def test_refusals_name_the_field(said: Said) -> None:
    refusals = said["refusals"]
    for field in ("model_version", "multi_band_diffusion"):
        status, title, detail = refusals[field]
        assert (status, title) == (422, "The input of the prediction is not valid")
        assert detail.startswith(f"input.{field}: ")
    assert refusals["model"][0] == 404


def test_the_client_verifies_its_webhook(said: Said) -> None:
    message = said["message"]
    body = message.body.decode()
    secret = WebhookSigningSecret(key=said["webhook"]["secret"])
    Webhooks.validate(headers=message.headers, body=body, secret=secret)
    prediction = json.loads(body)
    assert (prediction["id"], prediction["status"]) == (said["webhook"]["id"], "succeeded")
    assert prediction["output"].startswith("http://"), "a message links its file"


@pytest.mark.long
def test_the_client_for_javascript(service: Service, beat: Path) -> None:
    folder = FOLDER / "replicate_js"
    command = [
        DENO, "run", "--frozen", "--config", str(folder / "deno.json"), "--allow-net=127.0.0.1",
        "--allow-env", f"--allow-read={beat}", str(folder / "client.ts"), service.url, str(beat),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    answer = json.loads(run.stdout)
    *alone, continued = answer["sizes"]
    assert [0 < size - ONE_SECOND < MOST_HEADER_BYTES for size in alone] == [True] * 3
    assert 0 < continued - 2 * ONE_SECOND < MOST_HEADER_BYTES
    assert answer["polled"] == "succeeded"
    assert answer["canceled"] == "canceled"
    assert answer["streamed"] == ["output", "done"]
    assert (answer["refused"], answer["valid"], answer["listed"]) == (True, True, True)
    assert (answer["verified"], answer["model"]) == ("succeeded", "musicgen")
    assert "meta/musicgen" in answer["models"]
