"""Share of the CPU that an ingress replica's event loop, its threads and its worker processes use."""

import asyncio
import contextlib
from dataclasses import dataclass
from time import monotonic, thread_time

import psutil


@dataclass(frozen=True, slots=True)
class _Usage:
    """CPU seconds of the event loop's thread until `loop_at`, and of all threads and descendants until `at`."""

    loop_at: float
    loop_s: float
    at: float
    own_s: float
    descendants_s: float


class CpuShare:
    """The CPU that this process uses of all it can use, since the share was last read.

    1: its event loop, which is one thread, keeps one core busy, or all its threads and descendants keep
    `cores` busy. It is the larger of the two shares. cores: the replica's `num_cpus`; where that is 0,
    one. Construct and read it in the event loop.
    """

    def __init__(self, cores: float) -> None:
        self._cores = cores or 1.0
        self._process = psutil.Process()
        self._before = self._measure(monotonic(), thread_time())

    async def read(self) -> float:
        """Return the share since the last call, or since construction."""
        before = self._before
        now = self._before = await asyncio.to_thread(self._measure, monotonic(), thread_time())
        loop = (now.loop_s - before.loop_s) / max(now.loop_at - before.loop_at, 1e-3)
        descendants_s = max(0.0, now.descendants_s - before.descendants_s)
        used_s = now.own_s - before.own_s + descendants_s
        return max(loop, used_s / self._cores / max(now.at - before.at, 1e-3))

    def _measure(self, loop_at: float, loop_s: float) -> _Usage:
        """Add the CPU seconds of the process and its descendants to those of the event loop."""
        at = monotonic()
        times = self._process.cpu_times()
        descendants_s = times.children_user + times.children_system
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                used = child.cpu_times()
                descendants_s += used.user + used.system
        return _Usage(loop_at, loop_s, at, times.user + times.system, descendants_s)
