"""The node is that of the raylet on this machine; what `ray drain-node` says is in the error."""

import subprocess
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from serve_app.node import ray_node
from serve_app.node.cloud_notices import Notice
from serve_app.node.ray_node import NodeError, RayNode, find_node

RAYLET = ["raylet", "--raylet_socket_name=/tmp/r", "--node_id=ab12", "--gcs-address=10.0.0.1:6379"]


def processes(*commands: list[str] | None) -> Any:
    found = [SimpleNamespace(info={"name": "raylet", "cmdline": one}) for one in commands]
    other = SimpleNamespace(info={"name": "bash", "cmdline": ["bash", "--node_id=zz"]})
    return lambda _: iter([other, *found])


def test_the_raylet_tells_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "process_iter", processes(RAYLET, None))
    assert find_node() == RayNode("ab12", "10.0.0.1:6379")


@pytest.mark.parametrize(
    ("commands", "fault"), [([], "No raylet runs"), ([RAYLET, RAYLET], "ab12, ab12. Name one")]
)
def test_no_node_and_several_are_errors(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]], fault: str
) -> None:
    monkeypatch.setattr(psutil, "process_iter", processes(*commands))
    with pytest.raises(NodeError, match=fault):
        find_node()


@pytest.mark.parametrize(
    ("source", "patience_s", "fault"),
    [
        (
            "import sys; sys.exit('The drain request is not accepted')",
            60.0,
            "failed: The drain request",
        ),
        ("import time; time.sleep(60)", 0.5, "takes longer than"),
    ],
    ids=["refused", "slow"],
)
def test_a_drain_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, source: str, patience_s: float, fault: str
) -> None:
    run = subprocess.run

    def instead(command: list[str], **options: Any) -> Any:
        assert command[3:] == [
            "drain-node", "--address", "a:1", "--node-id", "ab", "--reason", "DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message", "Maintenance", "--deadline-remaining-seconds", "29",
        ]  # fmt: skip
        return run([command[0], "-c", source], **options)

    monkeypatch.setattr(subprocess, "run", instead)
    monkeypatch.setattr(ray_node, "_TIMEOUT_S", patience_s)
    with pytest.raises(NodeError, match=fault):
        RayNode("ab", "a:1").drain(Notice("Maintenance", 29.9))
