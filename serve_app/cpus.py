"""The cores that this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of cgroup v2: quota and period in microseconds


def usable_cpus() -> int:
    """Count the cores that this process may use: by its affinity, and by its container's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota ("max")
        return cores
