"""Watch over the deployments' replicas: as many as Serve wants, as run, and as are allowed, as metrics.

Serve's own gauges are set by its controller when a number changes, and only for deployments that scale.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import psutil
import ray
from ray.serve.metrics import Counter, Gauge

from serve_app.deployments.autoscaling.context import MODEL_PREFIX
from serve_app.deployments.cpu_share import CpuShare

INGRESS = "(ingress)"  # no model's name has brackets
_CONTROLLER = "SERVE_CONTROLLER_ACTOR"
_NAMESPACE = "serve"
_PERIOD_S = 10.0
_RUNNING = "RUNNING"


class ReplicaWatch:
    """Metrics of the application's deployments, and of this ingress replica's CPU. share: read here alone."""

    def __init__(self, application: str, share: CpuShare) -> None:
        self._application = application
        self._share = share
        self._cpu_s = dict.fromkeys(("event_loop", "threads"), 0.0)
        self._wanted = Gauge(
            "musicgen_wanted_replicas", "Replicas that Serve wants to run.", ("model",)
        )
        self._running = Gauge(
            "musicgen_running_replicas", "Replicas that run and take requests.", ("model",)
        )
        self._most = Gauge(
            "musicgen_max_replicas", "Most replicas that the configuration allows.", ("model",)
        )
        self._cpu = Counter(
            "musicgen_ingress_cpu_seconds_total",
            "CPU time of the ingress replica by part: its event loop, full at one second a second, and its threads.",
            ("part",),
        )
        self._cpu_share = Gauge(
            "musicgen_ingress_cpu_share",
            "CPU of the ingress replica, of all that it can use: 1 is a full event loop, or all its cores.",
        )

    async def run(self) -> None:
        """Report every few seconds, until cancelled."""
        while True:
            self._count_cpu(time.thread_time(), time.process_time())
            with contextlib.suppress(psutil.Error):
                self._cpu_share.set(await self._share.read())
            with contextlib.suppress(ray.exceptions.RayError, ValueError):  # no controller
                self.report(await self._details())
            await asyncio.sleep(_PERIOD_S)

    async def _details(self) -> Mapping[str, Any]:
        """Ask the controller. Raises ValueError without one."""
        controller = await asyncio.to_thread(ray.get_actor, _CONTROLLER, _NAMESPACE)
        details: Mapping[str, Any] = await controller.get_serve_instance_details.remote()
        return details

    def report(self, details: Mapping[str, Any]) -> None:
        """Set the gauges from Serve's description of its applications."""
        application = details["applications"].get(self._application) or {"deployments": {}}
        for name, deployment in application["deployments"].items():
            tags = {"model": name.removeprefix(MODEL_PREFIX) if _is_model(name) else INGRESS}
            states = [replica["state"] for replica in deployment["replicas"]]
            self._wanted.set(deployment["target_num_replicas"], tags)
            self._running.set(states.count(_RUNNING), tags)
            self._most.set(_most(deployment), tags)

    def _count_cpu(self, loop_s: float, process_s: float) -> None:
        """Count the CPU time so far of this thread, which runs the event loop, and of the process."""
        for part, total_s in (("event_loop", loop_s), ("threads", process_s - loop_s)):
            if total_s > self._cpu_s[part]:
                self._cpu.inc(total_s - self._cpu_s[part], {"part": part})
                self._cpu_s[part] = total_s


def _is_model(name: str) -> bool:
    return name.startswith(MODEL_PREFIX)


def _most(deployment: Mapping[str, Any]) -> int:
    """Take the upper bound of a deployment that scales, else the number that it is to have."""
    config = deployment["deployment_config"]
    scaling = config.get("autoscaling_config") or {}
    return int(scaling.get("max_replicas") or deployment["target_num_replicas"])
