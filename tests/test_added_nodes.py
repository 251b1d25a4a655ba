"""A cluster whose autoscaler can add the node that a model needs: requests wait for it, and get music."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.sources import ROOT

PATIENCE_S = 180.0  # a busy machine is slow; only a failing test waits as long
BIN = Path(sys.executable).parent
HEAD: dict[str, Any] = {"resources": {"CPU": 4}, "node_config": {}, "max_workers": 0}
T4 = {"CPU": 2, "GPU": 1, "accelerator_type:T4": 1, "object_store_memory": 10**8}
BODY = {"prompt": "lofi", "duration_s": 0.5}

pytestmark = pytest.mark.long


def cluster_config(worker: dict[str, int], address: str) -> dict[str, Any]:
    """A cluster of Ray's own fake cloud, whose nodes are processes of this machine."""
    types: dict[str, Any] = {"worker": {"resources": worker, "node_config": {}, "max_workers": 1}}
    maps = ("auth", "docker", "file_mounts")
    lists = (
        "cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
        "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
        "rsync_exclude", "rsync_filter",
    )  # fmt: skip
    return {
        "cluster_name": "fake",
        "max_workers": 1,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": types | {"ray.head.default": HEAD},
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "file_mounts_sync_continuously": False,
        **{name: {} for name in maps},
        **{name: [] for name in lists},
    }


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    processes = [psutil.Process(process.pid)]
    processes += processes[0].children(recursive=True)
    for one in reversed(processes):
        if one.is_running():
            one.kill()
    process.wait()
    psutil.wait_procs(processes, timeout=PATIENCE_S)


@pytest.fixture
def sessions() -> Iterator[str]:
    """A folder for Ray's sessions, with a path short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture
def url(tmp_path: Path, sessions: str) -> Iterator[str]:
    """A service whose only model needs a T4, on a cluster that has none and can add one."""
    content: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    content["applications"][0]["args"]["models"][0]["accelerator_type"] = "T4"
    port = content["http_options"]["port"] = free_port()
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "cluster.yaml").write_text(json.dumps(cluster_config(T4, address)))
    environment = os.environ | {
        "RAY_ADDRESS": address,
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_TMPDIR": sessions,
    }
    start = [
        str(BIN / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=4",
        f"--port={address.rpartition(':')[2]}", f"--dashboard-port={free_port()}",
        f"--autoscaling-config={tmp_path / 'cluster.yaml'}",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        ray = subprocess.Popen(start, stdout=log, stderr=log, env=environment, cwd=ROOT)
        run = [str(BIN / "serve"), "run", str(tmp_path / "serve.yaml")]
        serve = subprocess.Popen(run, stdout=log, stderr=log, env=environment, cwd=ROOT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end(serve)
        end(ray)
        print((tmp_path / "log").read_text()[-4000:])


def test_a_request_waits_for_the_node_that_is_added(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            health = httpx.get(f"{url}/health", timeout=20)
        except httpx.TransportError:
            health = None
        if health is not None and health.headers.get("content-type", "").startswith("app"):
            break
        time.sleep(0.1)
    answer = httpx.post(f"{url}/v1/audio/generations", json=BODY, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    assert httpx.get(f"{url}/health").json()["model_loaded"]
