"""The Ray node of this machine, found without joining its cluster."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from serve_app.node.cloud_notices import Notice

_REASON = "DRAIN_NODE_REASON_PREEMPTION"  # Ray never refuses it; it has a deadline
_TIMEOUT_S = 60.0


class NodeError(Exception):
    """The node is not found, or is not drained. The message says why."""


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node: its id in hexadecimal, and HOST:PORT of its cluster's GCS."""

    node_id: str
    address: str

    def drain(self, notice: Notice) -> None:
        """Tell Ray that the node will end: Serve starts replacements of its replicas elsewhere.

        The node's replicas finish their requests until the deadline. Raises NodeError.
        """
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "drain-node",
            "--address", self.address, "--node-id", self.node_id, "--reason", _REASON,
            "--reason-message", notice.reason,
            "--deadline-remaining-seconds", str(int(notice.deadline_s)),
        ]  # fmt: skip
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NodeError(f"`ray drain-node` takes longer than {_TIMEOUT_S:.0f} s.") from error
        if run.returncode:
            raise NodeError(f"`ray drain-node` failed: {(run.stderr or run.stdout).strip()[-500:]}")


def find_node() -> RayNode:
    """Find the node of the one raylet on this machine. Raises NodeError without one, and for several."""
    nodes = list(_nodes())
    if not nodes:
        raise NodeError("No raylet runs on this machine. Start Ray first.")
    if len(nodes) > 1:
        ids = ", ".join(node.node_id for node in nodes)
        raise NodeError(
            f"Several nodes run on this machine: {ids}. Name one: --node-id, --address."
        )
    return nodes[0]


def _nodes() -> Iterator[RayNode]:
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] != "raylet":
            continue
        options = dict(
            word.lstrip("-").split("=", 1) for word in process.info["cmdline"] or () if "=" in word
        )
        if {"node_id", "gcs-address"} <= options.keys():
            yield RayNode(options["node_id"], options["gcs-address"])
