"""Clusters whose autoscaler can, or cannot, add the node that a model needs."""

import contextlib
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
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
HEAD_ID = "f" * 51 + "00000"  # by which Ray's fake cloud knows the head
V2 = {
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
}
MOST_S = 120.0  # 20 s, on a machine whose cores are all busy
BODY = {"prompt": "lofi", "duration_s": 0.5}

pytestmark = pytest.mark.long


def cluster_config(worker: dict[str, int], address: str, v2: bool) -> dict[str, Any]:
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
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": address,
            "launch_multiple": v2,
            "head_node_id": HEAD_ID,
        },
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
        with contextlib.suppress(psutil.NoSuchProcess):  # a child of one that was killed before
            one.kill()
    process.wait()
    psutil.wait_procs(processes, timeout=PATIENCE_S)


@pytest.fixture
def sessions() -> Iterator[str]:
    """A folder for Ray's sessions, with a path short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@contextlib.contextmanager
def serving(folder: Path, sessions: str, worker: dict[str, int], v2: bool) -> Iterator[str]:
    """Serve a model that needs a T4 on a cluster that has none; yield the URL.

    worker: resources of the nodes that the autoscaler adds; v2: use Ray's second autoscaler.
    """
    content: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    args = content["applications"][0]["args"]
    args["models"][0]["accelerator_type"] = "T4"
    args["jobs"] = {"enabled": False}  # their SQLite file serves one node
    port = content["http_options"]["port"] = free_port()
    (folder / "serve.yaml").write_text(yaml.safe_dump(content))
    address = f"127.0.0.1:{free_port()}"
    (folder / "cluster.yaml").write_text(json.dumps(cluster_config(worker, address, v2)))
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
        f"--autoscaling-config={folder / 'cluster.yaml'}",
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w"))
        stack.callback(lambda: print((folder / "log").read_text()[-4000:]))
        head = environment | (V2 if v2 else {})
        ray = subprocess.Popen(start, stdout=log, stderr=log, env=head, cwd=ROOT)
        stack.callback(end, ray)
        await_line(folder / "log", "Ray runtime started")
        run = [str(BIN / "serve"), "run", str(folder / "serve.yaml")]
        serve = subprocess.Popen(run, stdout=log, stderr=log, env=environment, cwd=ROOT)
        stack.callback(end, serve)
        yield f"http://127.0.0.1:{port}"


def await_line(log: Path, text: str) -> None:
    """Wait until a log has `text`: Ray forwards the lines of other processes late."""
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def await_health(url: str, text: str) -> httpx.Response:
    """Wait until the ingress answers with `text` in its health."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            health = httpx.get(f"{url}/health", timeout=PATIENCE_S)
            if "json" in health.headers.get("content-type", "") and text in health.text:
                return health
        time.sleep(0.1)
    raise TimeoutError(text)


def test_a_request_waits_for_the_node_that_is_added(tmp_path: Path, sessions: str) -> None:
    with serving(tmp_path, sessions, T4, v2=False) as url:
        await_health(url, "status")
        answer = httpx.post(f"{url}/v1/audio/generations", json=BODY, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        await_health(url, '"model_loaded":true')


def test_an_autoscaler_without_such_nodes_is_told_to_all(tmp_path: Path, sessions: str) -> None:
    """In the log of `serve run`, in `/health`, and to callers, soon after the ingress answers."""
    with serving(tmp_path, sessions, {"CPU": 2}, v2=True) as url:
        await_health(url, "status")
        answers_at = time.monotonic()
        health = await_health(url, "The autoscaler cannot add one: none of its types of nodes fits")
        answer = httpx.post(f"{url}/v1/audio/generations", json=BODY, timeout=PATIENCE_S)
        assert time.monotonic() - answers_at < MOST_S
        reason = health.json()["reason"]
        await_line(tmp_path / "log", reason)
    assert health.status_code == 503
    assert "it needs 1 GPU of type T4 and 1 CPU. The only node has 4 CPUs and no GPU." in reason
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unplaceable")
    assert answer.json()["detail"] == reason
