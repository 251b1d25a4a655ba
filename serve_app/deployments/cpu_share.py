"""Share of the CPU that a process and its worker processes use."""

import contextlib
from time import monotonic

import psutil


class CpuShare:
    """The CPU that this process uses of all it can use, since the share was last read.

    1: the process itself keeps one core busy, as its event loop is a single thread, or it keeps with
    its descendants `cores` busy. It is the larger of the two shares.
    """

    def __init__(self, cores: float) -> None:
        self._cores = max(1.0, cores)
        self._process = psutil.Process()
        self._before = self._measure()

    def read(self) -> float:
        """Return the share since the last call, or since construction."""
        before = self._before
        now = self._before = self._measure()
        elapsed_s = max(now[0] - before[0], 1e-3)
        own_s = now[1] - before[1]
        descendants_s = max(0.0, now[2] - before[2])
        return max(own_s, (own_s + descendants_s) / self._cores) / elapsed_s

    def _measure(self) -> tuple[float, float, float]:
        """Return the time, and the CPU seconds of the process and of its descendants."""
        times = self._process.cpu_times()
        descendants_s = times.children_user + times.children_system
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                used = child.cpu_times()
                descendants_s += used.user + used.system
        return monotonic(), times.user + times.system, descendants_s
