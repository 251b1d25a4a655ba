"""The ingress scales on its CPU, alone and within a budget of GPUs."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic, thread_time
from types import SimpleNamespace
from typing import Any
from zlib import compress

import numpy as np
import psutil
import pytest

from serve_app.deployments import cpu_share
from serve_app.deployments.autoscaling import BudgetPolicy, CpuPolicy
from serve_app.deployments.cpu_share import CpuShare
from serve_app.gateway.encoding_threads import in_encoding_thread
from tests.fakes import Clock

WORK_S = 1.0  # CPU seconds of threads


@dataclass
class IngressLoad:
    """Serve's view of the ingress. shares: CPU_SHARE of each replica."""

    shares: tuple[float, ...]
    total_num_requests: float = 0.0
    target_num_replicas: int = 3
    deployment_name: str = "Ingress"

    @property
    def aggregated_metrics(self) -> dict[str, dict[str, float]]:
        return {"cpu_share": {str(i): share for i, share in enumerate(self.shares)}}


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (IngressLoad(()), 0),
        (IngressLoad((0.3,)), 1),
        (IngressLoad((0.6,)), 1),
        (IngressLoad((0.61,)), 2),
        (IngressLoad((0.9, 0.9)), 3),
        (IngressLoad((0.1, 0.1)), 1),
        (IngressLoad((0.1,), 201.0), 2),
        (IngressLoad((float("nan"), 0.7)), 2),
    ],
    ids=str,
)
def test_replicas_follow_the_cpu(load: Any, replicas: int) -> None:
    assert CpuPolicy(target_cpu=0.6, target_requests=200)(load)[0] == replicas


def test_it_never_raises() -> None:
    broken: Any = object.__new__(IngressLoad)
    assert CpuPolicy()(broken)[0] == 3


def test_a_budget_of_gpus_scales_the_ingress_too() -> None:
    """An application's policy takes the place of all its deployments' own ones."""
    ingress: Any = IngressLoad((0.9, 0.9))
    assert BudgetPolicy(4, cpu={"target_cpu": 0.6})({"Ingress": ingress}) == ({"Ingress": 3.0}, {})


class Process:
    """A process of which `threads` threads work always, with a worker that uses `worker` cores."""

    def __init__(self, clock: Clock, threads: float, worker: float) -> None:
        self._clock = clock
        self._threads = threads
        self._worker = worker

    def cpu_times(self) -> SimpleNamespace:
        used_s = self._threads * self._clock.now
        return SimpleNamespace(user=used_s, system=0.0, children_user=0.0, children_system=0.0)

    def children(self, recursive: bool) -> list[SimpleNamespace]:
        assert recursive
        times = SimpleNamespace(user=self._worker * self._clock.now, system=0.0)
        return [SimpleNamespace(cpu_times=lambda: times)]


@pytest.mark.parametrize(
    ("loop", "threads", "worker", "cores", "share"),
    [
        (1.0, 1.0, 0.0, 4, 1.0),
        (1.0, 1.0, 1.0, 4, 1.0),
        (1.0, 1.0, 5.0, 4, 1.5),
        (1.0, 1.0, 1.0, 1, 2.0),
        (0.2, 3.6, 0.0, 4, 0.9),
        (0.2, 2.6, 1.0, 4, 0.9),
        (0.2, 0.8, 0.0, 1, 0.8),
        (0.1, 0.3, 0.0, 0.5, 0.6),
        (0.1, 0.3, 0.1, 0.0, 0.4),
    ],
)
async def test_the_share_is_the_larger_one_of_event_loop_and_all_processes(
    loop: float,
    threads: float,
    worker: float,
    cores: float,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(cpu_share, "monotonic", clock)
    monkeypatch.setattr(cpu_share, "thread_time", lambda: loop * clock.now)
    monkeypatch.setattr(psutil, "Process", lambda: Process(clock, threads, worker))
    read = CpuShare(cores).read
    clock.now += 10.0
    assert await read() == pytest.approx(share)
    clock.now += 1.0
    assert await read() == pytest.approx(share)


async def test_the_share_of_this_process_is_read() -> None:
    share = CpuShare(cores=4)
    used_s = psutil.Process().cpu_times().user
    while psutil.Process().cpu_times().user < used_s + 0.05:
        pass
    assert await share.read() > 0


@pytest.mark.parametrize("work", [sha256, compress, np.sort], ids=lambda work: work.__name__)
async def test_threads_that_encode_are_not_the_event_loop(
    work: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold no lock, as FFmpeg's encoders: the event loop waits, with its core almost idle."""
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [])  # the Ray of other tests
    data = np.random.default_rng(0).integers(0, 255, 500_000, np.uint8)
    cores = 4.0
    process = psutil.Process()
    share = CpuShare(cores)
    before = process.cpu_times()
    started_at = monotonic()
    loop_s = thread_time()
    while (used_s := _used_s(before, process.cpu_times())) < WORK_S:
        await asyncio.gather(*(in_encoding_thread(work, data) for _ in range(8)))
    read = await share.read()
    elapsed_s = monotonic() - started_at
    loop_s = thread_time() - loop_s
    assert loop_s < used_s / 2, "the threads have worked"
    assert read * elapsed_s == pytest.approx(max(loop_s, used_s / cores), rel=0.2)


def _used_s(before: Any, now: Any) -> float:
    """CPU seconds of this process, and of children that have ended."""
    return float(sum(now[:4]) - sum(before[:4]))
