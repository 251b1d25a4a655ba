"""`musicgen serve` starts the embedded model's configuration and stops on Ctrl-C."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serve_app.cli.serve import NANO
from serve_app.config.files import find_config
from serve_app.machine import free_port
from tests.adapters import write_adapter
from tests.cli.conftest import Run
from tests.conftest import CONFIGS
from tests.sources import ROOT

EMBEDDED_FOLDER = ROOT / "serve_app" / "assets" / "musicgen-nano"
GENERATIONS = "/v1/audio/generations"


def test_the_default_configuration_is_the_embedded_models() -> None:
    assert find_config(NANO).resolve() == CONFIGS.resolve() / "nano.yaml"


def test_a_missing_configuration_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("serve", tmp_path / "none.yaml")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert "is not a readable YAML file" in message
    assert (
        "This package has: all, audiogen, fine-tunes, large, medium, melody, nano, own, small,"
        in message
    )


def test_a_models_configuration_is_printed(run: Run) -> None:
    result = run("serve", "me/model", "--adapter", "me/one", "--adapter", "me/two=0.5")
    assert result.exit_code != 0, "the hub has no such model"
    result = run(
        "serve", "me/model", "--adapter", "me/one", "--adapter", "me/two=0.5", "--print-config"
    )
    assert result.exit_code == 0, result.output
    [model] = yaml.safe_load(result.stdout)["applications"][0]["args"]["models"]
    assert model["model_loading_config"] == {
        "model_id": "model",
        "model_source": "me/model",
        "adapter_source": [
            {"source": "me/one", "weight": 1.0},
            {"source": "me/two", "weight": 0.5},
        ],
    }


def test_a_configuration_is_printed_as_it_is(run: Run) -> None:
    result = run("serve", "--print-config")
    assert result.stdout == (CONFIGS / "nano.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["huge"], "'huge' is neither a configuration nor a model. Sizes: small, medium,"),
        (["nano", "me/model"], "takes one model or one configuration, but got 2: nano, me/model."),
        (["small", "--adapter", "me/x=much"], "--adapter is SOURCE or SOURCE=WEIGHT with a finite"),
        (["small", "--adapter", "me/x=nan"], "--adapter is SOURCE or SOURCE=WEIGHT with a finite"),
        (["none.yaml", "--print-config"], "none.yaml: there is no such file"),
        (["nano", "--adapter", "me/x"], "nano is a configuration: write the adapter there"),
    ],
)
def test_wrong_arguments_are_said(run: Run, arguments: list[str], said: str) -> None:
    result = run("serve", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@contextmanager
def serving(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run `musicgen serve` until it is ready. Ctrl-C ends it afterwards, with all its processes."""
    command = [sys.executable, "-m", "serve_app.cli.app", "serve", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            ready = next(line for line in process.stdout if line.startswith("http://"))
            url = ready.split()[0]
            assert ready == f"{url}  API: {url}/docs\n"
            children = psutil.Process(process.pid).children(recursive=True)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            output = process.stdout.read()
    assert process.returncode == 0
    assert output.endswith("Stopped.\n")
    assert len(children) > 5, "Ray is several processes"
    assert [child for child in children if child.is_running()] == []


@pytest.mark.long
def test_a_folder_is_served_until_ctrl_c(tmp_path: Path) -> None:
    """By the real launcher: the configuration that it wrote, with an adapter merged into the model."""
    base = EMBEDDED_FOLDER
    adapter = write_adapter(base, tmp_path / "adapter")
    port = free_port()
    arguments = [str(base), "--adapter", str(adapter), "--port", str(port)]
    with serving(arguments) as process:
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "healthy"
        [served] = httpx.get(f"{url}/v1/models", timeout=60).json()["data"]
        body = {"prompt": "calm piano", "duration_s": 1}
        answer = httpx.post(f"{url}{GENERATIONS}", json=body, timeout=180)
        assert process.poll() is None
    assert (served["id"], served["source"]) == ("musicgen-nano", "musicgen-nano + adapter")
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"RIFF")
