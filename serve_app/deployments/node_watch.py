"""Watch over the cluster's nodes: models that none of them can run, said in the log and to callers."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any

import ray
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from serve_app.errors import ModelUnplaceable
from serve_app.placement import Demand, Resources, obstacle

logger = logging.getLogger(__name__)

_PERIOD_S = 4.0
_PATIENCE_S = 6.0  # after the start: nodes that start with the head join, and an autoscaler reports
_AUTOSCALER_STATUS = b"__autoscaling_status"  # ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS


class NodeWatch:
    """The models that no node has ever been able to run, with the reason.

    A model that a node could run once is left out when that node is lost: its requests wait for the node to come back.
    Where an autoscaler adds nodes, the reason is logged only: it may know of a node type that fits.
    """

    def __init__(self, demands: Mapping[str, Demand]) -> None:
        self._demands = demands
        self._started_at = monotonic()
        self._judged = asyncio.Event()
        self._placed: set[str] = set()
        self._logged: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}

    def obstacle(self, model_id: str) -> str | None:
        """Explain why no replica of the model can be placed; None where one may."""
        return self._obstacles.get(model_id)

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
                nodes, scales = await asyncio.to_thread(_read_cluster)
                self.update(nodes, scales, monotonic() - self._started_at)
            await asyncio.sleep(_PERIOD_S)

    def update(self, nodes: list[Resources], scales: bool, elapsed_s: float) -> None:
        """Judge the models by the total resources of each node.

        scales: whether an autoscaler adds nodes; elapsed_s: seconds since the start.
        """
        reasons = {model: obstacle(demand, nodes) for model, demand in self._demands.items()}
        self._placed |= {model for model, reason in reasons.items() if reason is None}
        found = {model: reason for model, reason in reasons.items() if reason is not None}
        if elapsed_s < _PATIENCE_S:
            return
        self._judged.set()
        self._obstacles = {
            model: reason
            for model, reason in found.items()
            if model not in self._placed and not scales
        }
        for model, reason in found.items():
            if self._logged.get(model) != reason:
                hint = " The autoscaler may add one." if scales else ""
                logger.warning("%s%s", reason, hint)
        self._logged = found


def _read_cluster() -> tuple[list[Resources], bool]:
    """Read the total resources of each living node, and whether an autoscaler adds nodes."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return nodes, is_autoscaler_v2() or adds_nodes(_internal_kv_get(_AUTOSCALER_STATUS))


def adds_nodes(status: bytes | None) -> bool:
    """Whether the status that Ray's first autoscaler publishes is of one that adds nodes.

    A cluster without one publishes a status too, in which each node is its own type, `node_ID`.
    """
    if not status:
        return False
    report: dict[str, Any] = json.loads(status).get("autoscaler_report") or {}
    types: dict[str, str] = report.get("node_type_mapping") or {}
    return any(kind != f"node_{node}" for node, kind in types.items())
