"""Watch over the cluster's nodes: models that none of them can run, said in the log and to callers."""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import ray
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.experimental.internal_kv import _internal_kv_get, internal_kv_get_gcs_client

from serve_app.errors import ModelUnplaceable
from serve_app.placement import Demand, Resources, obstacle

logger = logging.getLogger(__name__)

_PERIOD_S = 4.0
_TIMEOUT_S = 5.0
_PATIENCE_S = 6.0  # after the start: nodes that start with the head join, and an autoscaler reports
_AUTOSCALER_STATUS = b"__autoscaling_status"  # ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes of the cluster, and those that may come.

    nodes: total resources of each living node; scales: whether an autoscaler adds nodes;
    infeasible: requests that it reports to have no node for;
    growing: whether it has started nodes beside the head, which count against max_workers.
    """

    nodes: list[Resources]
    scales: bool = False
    infeasible: list[Resources] = field(default_factory=list)
    growing: bool = False

    def outlook(self, demand: Demand) -> str:
        """Tell what the autoscaler can do for a demand that no node meets; empty without one."""
        if not self.scales:
            return ""
        if not self._is_infeasible(demand):
            return " The autoscaler may add one."
        if self.growing:
            return " The autoscaler cannot add one: none of its types of nodes fits, or it is at max_workers."
        return " The autoscaler cannot add one: none of its types of nodes fits."

    def may_come(self, demand: Demand) -> bool:
        """Whether a node for a demand that no node meets may be added, now or once others are gone."""
        return self.scales and (self.growing or not self._is_infeasible(demand))

    def _is_infeasible(self, demand: Demand) -> bool:
        return any(_equal(demand.resources, request) for request in self.infeasible)


def _equal(one: Resources, other: Resources) -> bool:
    names = one.keys() | other.keys()
    return all(math.isclose(one.get(n, 0.0), other.get(n, 0.0), abs_tol=1e-4) for n in names)


class NodeWatch:
    """The models that no node has ever been able to run, with the reason.

    A model that a node could run once is left out when that node is lost: its requests wait for the node to come back.
    While an autoscaler may still add a node, the reason is told, and refuses no request.
    """

    def __init__(self, demands: Mapping[str, Demand]) -> None:
        self._demands = demands
        self._started_at = monotonic()
        self._judged = asyncio.Event()
        self._placed: set[str] = set()
        self._notices: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}

    def obstacle(self, model_id: str) -> str | None:
        """Explain why no replica of the model can be placed; None where one may."""
        return self._obstacles.get(model_id)

    def notice(self, model_id: str) -> str | None:
        """Explain why no node can run the model now, also where an autoscaler may add one."""
        return self._notices.get(model_id)

    async def check(self, model_id: str) -> None:
        """Raise ModelUnplaceable where no replica of the model can be placed.

        Just after the start, wait for the judgement of a model that no node fits yet.
        """
        left_s = self._started_at + _PATIENCE_S + _PERIOD_S - monotonic()
        if left_s > 0 and model_id in self._demands.keys() - self._placed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._judged.wait(), left_s)
        if (reason := self.obstacle(model_id)) is not None:
            raise ModelUnplaceable(reason)

    async def run(self) -> None:
        """Look at the nodes every few seconds, until cancelled."""
        while True:
            with contextlib.suppress(ray.exceptions.RayError, ConnectionError):
                cluster = await asyncio.to_thread(_read_cluster)
                self.update(cluster, monotonic() - self._started_at)
            await asyncio.sleep(_PERIOD_S)

    def update(self, cluster: Cluster, elapsed_s: float) -> None:
        """Judge the models by the cluster's nodes, `elapsed_s` seconds after the start."""
        demands = self._demands.items()
        found = {m: reason for m, demand in demands if (reason := obstacle(demand, cluster.nodes))}
        self._placed |= self._demands.keys() - found.keys()
        if elapsed_s < _PATIENCE_S:
            return
        self._judged.set()
        notices = {m: reason + cluster.outlook(self._demands[m]) for m, reason in found.items()}
        for model, notice in notices.items():
            if self._notices.get(model) != notice:
                logger.warning("%s", notice)
        self._notices = notices
        self._obstacles = {
            model: notice
            for model, notice in notices.items()
            if model not in self._placed and not cluster.may_come(self._demands[model])
        }


def _read_cluster() -> Cluster:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if is_autoscaler_v2():
        return _scaled_cluster(nodes)
    return Cluster(nodes, adds_nodes(_internal_kv_get(_AUTOSCALER_STATUS)))


def _scaled_cluster(nodes: list[Resources]) -> Cluster:
    """Add to the nodes what Ray's second autoscaler reports."""
    status = internal_kv_get_gcs_client().get_cluster_status(timeout_s=_TIMEOUT_S)
    state = GetClusterStatusReply.FromString(status).autoscaling_state
    requests = state.infeasible_resource_requests
    infeasible: list[Resources] = [dict(one.resources_bundle) for one in requests]
    started = len(state.pending_instances) + len(state.pending_instance_requests)
    return Cluster(nodes, True, infeasible, growing=len(nodes) + started > 1)


def adds_nodes(status: bytes | None) -> bool:
    """Whether the status that Ray's first autoscaler publishes is of one that adds nodes.

    A cluster without one publishes a status too, in which each node is its own type, `node_ID`.
    """
    if not status:
        return False
    report: dict[str, Any] = json.loads(status).get("autoscaler_report") or {}
    types: dict[str, str] = report.get("node_type_mapping") or {}
    return any(kind != f"node_{node}" for node, kind in types.items())
