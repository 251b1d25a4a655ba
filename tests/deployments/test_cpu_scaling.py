"""The ingress scales on its CPU, alone and within a budget of GPUs."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from serve_app.deployments import cpu_share
from serve_app.deployments.autoscaling import BudgetPolicy, CpuPolicy
from serve_app.deployments.cpu_share import CpuShare
from tests.fakes import Clock


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
    """A process of which one thread works always, with a worker that uses `worker` cores."""

    def __init__(self, clock: Clock, worker: float) -> None:
        self._clock = clock
        self._worker = worker

    def cpu_times(self) -> SimpleNamespace:
        return SimpleNamespace(
            user=self._clock.now, system=0.0, children_user=0.0, children_system=0.0
        )

    def children(self, recursive: bool) -> list[SimpleNamespace]:
        assert recursive
        times = SimpleNamespace(user=self._worker * self._clock.now, system=0.0)
        return [SimpleNamespace(cpu_times=lambda: times)]


@pytest.mark.parametrize(
    ("worker", "cores", "share"), [(0.0, 4, 1.0), (1.0, 4, 1.0), (5.0, 4, 1.5), (1.0, 1, 2.0)]
)
def test_the_share_is_the_larger_one_of_event_loop_and_all_processes(
    worker: float, cores: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(cpu_share, "monotonic", clock)
    monkeypatch.setattr(psutil, "Process", lambda: Process(clock, worker))
    read = CpuShare(cores).read
    clock.now += 10.0
    assert read() == pytest.approx(share)
    clock.now += 1.0
    assert read() == pytest.approx(share)


def test_the_share_of_this_process_is_read() -> None:
    share = CpuShare(cores=4)
    used_s = psutil.Process().cpu_times().user
    while psutil.Process().cpu_times().user < used_s + 0.05:
        pass
    assert share.read() > 0
