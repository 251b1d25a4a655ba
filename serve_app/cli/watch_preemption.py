"""`musicgen watch-preemption`: drain this machine's Ray node when its cloud takes the machine away."""

import logging
import signal
import sys
import threading
from enum import StrEnum
from typing import Annotated

import typer

from serve_app.cli.console import fail
from serve_app.node.cloud_notices import AwsNotices, CloudNotices, GcpNotices
from serve_app.node.preemption_watch import PreemptionWatch
from serve_app.node.ray_node import RayNode, find_node


class Cloud(StrEnum):
    """Clouds whose metadata services are known."""

    AWS = "aws"
    GCP = "gcp"


def watch_preemption(
    cloud: Annotated[Cloud, typer.Argument(help="The cloud of this machine.")],
    period_s: Annotated[
        float, typer.Option("--period", min=0.1, help="Seconds between two looks.")
    ] = 2.0,
    rebalance_s: Annotated[
        float,
        typer.Option(
            "--rebalance-deadline", min=1, help="Seconds to leave after AWS recommends it."
        ),
    ] = 780.0,
    metadata: Annotated[
        str | None, typer.Option(help="URL of the metadata service. Default: the cloud's.")
    ] = None,
    node_id: Annotated[
        str | None, typer.Option(help="Ray's id of the node. Default: the one on this machine.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the cluster's GCS; with --node-id.")
    ] = None,
) -> None:
    """Watch for notices of a cloud that it takes this machine away, and drain its Ray node.

    Ray Serve then starts replacements elsewhere, and the node's replicas finish their requests. Run it on each node
    that the cloud may reclaim, until Ctrl-C or SIGTERM.
    """
    if (node_id is None) != (address is None):
        fail("--node-id and --address need each other: give both, or neither.", 2)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def node() -> RayNode:
        return RayNode(node_id, address) if node_id and address else find_node()

    watch = PreemptionWatch(_notices(cloud, rebalance_s, metadata), node)
    print(f"Watching for notices of {cloud}.", file=sys.stderr, flush=True)
    while not stop.is_set():
        watch.check()
        stop.wait(period_s)


def _notices(cloud: Cloud, rebalance_s: float, url: str | None) -> CloudNotices:
    if cloud is Cloud.AWS:
        return AwsNotices(rebalance_s, url or AwsNotices.url)
    return GcpNotices(url or GcpNotices.url)
