"""Time, memory bandwidth and kernels of work on a device."""

from collections import Counter
from collections.abc import Callable
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], object]


def seconds(work: Work, device: torch.device) -> float:
    """Time the work, on a GPU by events of the current stream."""
    if device.type != "cuda":
        started_at = perf_counter()
        work()
        return perf_counter() - started_at
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    first.record()
    work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000


def best_seconds(work: Work, device: torch.device, times: int = 20, rounds: int = 5) -> float:
    """Return the least mean time of a call over several rounds, after a first call.

    On a GPU the calls of a round are one CUDA graph: the time is the kernels', not that of launches
    from Python.
    """

    def repeat() -> None:
        for _ in range(times):
            work()

    work()
    again = captured(repeat) if device.type == "cuda" else repeat
    return min(seconds(again, device) for _ in range(rounds)) / times


def captured(work: Work) -> Work:
    """Capture the work as a CUDA graph; return its replay."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def bandwidth(device: torch.device, nbytes: int) -> float:
    """Measure the memory bandwidth in bytes per second: the best of sums over `nbytes`."""
    memory = torch.ones(nbytes // 4, device=device)
    return nbytes / best_seconds(memory.sum, device, times=4)


def kernels(work: Work, device: torch.device) -> dict[str, tuple[int, float]]:
    """Profile one call: launches and microseconds of each kernel, the longest first.

    On a CPU: of each operator, without those it calls.
    """
    on_gpu = device.type == "cuda"
    work()
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiled:
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
    counts: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for event in profiled.key_averages():
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if spent > 0:
            counts[event.key] += event.count
            times[event.key] += spent
    return {name: (counts[name], float(spent)) for name, spent in times.most_common()}
