"""CPU time of a service's processes and threads, by the stage of a request that they serve."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import psutil

from serve_app.gateway.encoding_threads import THREAD_NAME

STAGES = ("edge", "proxy", "ingress", "encoder", "replica", "raylet", "other")
_IDLE_S = 8.0  # for which the processes are watched without a request
_REPLICAS = "ray::ServeReplica:musicgen:"
_PROXIES = ("ray::ProxyActor", "ray::HAProxyManager")
_EDGE = "haproxy -db -f /proc/self/fd"  # the launcher's; another HAProxy is Serve's


class StageClock:
    """CPU time of the service that this process has started, by stage.

    `proxy` is Serve's proxy, or its HAProxy; `encoder` the threads of the ingress that encode.
    """

    def __init__(self) -> None:
        self._idle: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    async def watch_idle(self) -> None:
        """Learn what the stages take without requests; it is no longer counted afterwards."""
        self._idle = dict.fromkeys(STAGES, 0.0)
        spent, elapsed_s = await self._spent(lambda: asyncio.sleep(_IDLE_S))
        self._idle = {stage: spent[stage] / elapsed_s for stage in STAGES}

    async def per_unit(self, work: Callable[[], Awaitable[None]], units: float) -> dict[str, float]:
        """Milliseconds of CPU of each stage for one of the `units` of `work`."""
        spent, elapsed_s = await self._spent(work)
        return {
            stage: round(1000 * max(0.0, spent[stage] - self._idle[stage] * elapsed_s) / units, 2)
            for stage in STAGES
        }

    async def _spent(self, work: Callable[[], Awaitable[None]]) -> tuple[dict[str, float], float]:
        """CPU seconds of each stage during `work`, and the seconds that it took."""
        before = _read()
        started_at = perf_counter()
        await work()
        elapsed_s = perf_counter() - started_at
        after = _read()
        return {stage: after[stage] - before[stage] for stage in STAGES}, elapsed_s


def _read() -> defaultdict[str, float]:
    """CPU seconds of each stage so far."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            stage = _stage(process)
            times = process.cpu_times()
            encoder = _encoder_s(process) if stage == "ingress" else 0.0
            seconds[stage] += times.user + times.system - encoder
            seconds["encoder"] += encoder
    return seconds


def _encoder_s(process: psutil.Process) -> float:
    """CPU seconds of the process's encoding threads."""
    return float(
        sum(
            thread.user_time + thread.system_time
            for thread in process.threads()
            if _thread_name(process.pid, thread.id) == THREAD_NAME
        )
    )


def _thread_name(pid: int, thread: int) -> str:
    return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()


def _stage(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    if command.startswith(_REPLICAS):
        return "ingress" if command.startswith(f"{_REPLICAS}Ingress") else "replica"
    if command.startswith(_EDGE):
        return "edge"
    if command.startswith(_PROXIES) or "haproxy" in command.split(" ")[0]:
        return "proxy"
    return "raylet" if "/raylet" in command.split(" ")[0] else "other"
