"""Starts that fail once Ray is up, through the real commands: one message, in time, with an exit code.

tests/test_preflight.py has what is found before Ray starts.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.checkpoints.hub import resolve
from serve_app.machine import free_port
from tests.conftest import CONFIGS, EMBEDDED
from tests.sources import ROOT

PATIENCE_S = 180.0  # a busy machine is slow; only a failing test waits as long
MOST_S = 120.0  # 20 s, on a machine whose cores are all busy
REASON = re.compile(
    r"No node can run a replica of \S*( '\w+')?\S*: it needs [^.]*\. The only node has \d+ CPUs?.*\. \S"
)


def nano(**model: Any) -> dict[str, Any]:
    """The configuration of nano with other options of the model."""
    content: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    content["applications"][0]["args"]["models"][0] |= model
    return content


def write(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def launch(file: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the launcher to its end. Returns the run, and the seconds from Ray's start to the end."""
    command = [sys.executable, "-m", "serve_app.launcher", str(file), "--port", str(free_port())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        ray_is_up = 0.0  # the time of the machine's start, if no line tells
        for line in process.stdout:
            lines.append(line)
            if "DEPLOYING" in line and not ray_is_up:
                ray_is_up = time.monotonic()
        _, errors = process.communicate(timeout=PATIENCE_S)
    run = subprocess.CompletedProcess(command, process.returncode, "".join(lines), errors)
    return run, time.monotonic() - ray_is_up


@pytest.mark.long
def test_a_resource_that_no_node_has_is_said_at_once(tmp_path: Path) -> None:
    options = {"ray_actor_options": {"num_cpus": 1, "resources": {"special": 1}}}
    run, elapsed_s = launch(write(tmp_path, nano(deployment_config=options)))
    assert run.returncode == 1
    message = run.stderr.strip()
    assert re.fullmatch(REASON.pattern + r".*", message)
    assert "1 CPU and 1 of the resource 'special'" in message
    assert message.endswith(
        "Start a node with --resources='{\"special\": 1}', or remove it from ray_actor_options."
    )
    assert elapsed_s < MOST_S
    assert "Traceback" not in run.stdout + run.stderr
    assert "\x1b" not in run.stdout + run.stderr
    assert len(run.stdout.splitlines()) < 8


@pytest.mark.long
def test_a_replica_that_cannot_be_constructed_is_said_after_its_first_try(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(resolve(EMBEDDED), folder)
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    loading = {"model_id": "nano", "model_source": str(folder)}
    run, elapsed_s = launch(write(tmp_path, nano(model_loading_config=loading)))
    assert run.returncode == 1
    message, log = run.stderr.strip().splitlines()
    assert message.startswith("A replica of MusicGen:nano cannot start: ")
    assert f"{folder}/" in message
    assert "missing" in message
    assert "cannot start" in Path(log.removeprefix("Its log: ")).read_text()
    assert elapsed_s < MOST_S
    assert "Traceback" not in run.stdout + run.stderr
    assert len(run.stdout.splitlines()) < 8


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The log and the URL of `serve run`: a model that needs a GPU type, and an application without its keys."""
    content = nano(accelerator_type="T4")
    port = free_port()
    content["http_options"]["port"] = port
    closed = nano()["applications"][0] | {"name": "closed", "route_prefix": "/closed"}
    closed["args"]["api"]["access"]["require_keys"] = True
    content["applications"].append(closed)
    environment = {"RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [str(Path(sys.executable).parent / "serve"), "run", str(write(tmp_path, content))]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, cwd=ROOT
        )
    yield log, f"http://127.0.0.1:{port}"
    processes = [psutil.Process(process.pid)]
    processes += processes[0].children(recursive=True)
    for one in reversed(processes):  # Ctrl-C would wait 30 s for the replica that cannot be placed
        with contextlib.suppress(psutil.NoSuchProcess):  # a child of one that was killed before
            one.kill()
    process.wait()
    psutil.wait_procs(processes, timeout=PATIENCE_S)


def first_line(log: Path, text: str) -> tuple[str, float]:
    """Await a line with `text`. Returns the line and the time at which it was seen."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if text in line:
                return line, time.monotonic()
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


@pytest.mark.long
def test_serve_run_says_what_is_missing_in_its_log_and_to_callers(served: tuple[Path, str]) -> None:
    log, url = served
    _, ray_is_up = first_line(log, "Started a local Ray instance")
    line, seen_at = first_line(log, "No node can run")
    assert REASON.search(line)
    assert "it needs 1 GPU of type T4 and 1 CPU." in line
    assert seen_at - ray_is_up < MOST_S

    body = {"prompt": "lofi", "duration_s": 1}
    answer = httpx.post(f"{url}/v1/audio/generations", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 503
    assert answer.json()["code"] == "model_unplaceable"
    assert REASON.search(answer.json()["detail"])
    health = httpx.get(f"{url}/health", timeout=PATIENCE_S)
    assert (health.status_code, health.json()["reason"]) == (503, answer.json()["detail"])
    assert time.monotonic() - ray_is_up < MOST_S

    first_line(
        log, "API keys are required, and there are none. Put `name:key` into the environment"
    )
    assert "Traceback" not in log.read_text()
