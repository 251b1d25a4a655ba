"""The ingress scales on its CPU, alone and within a budget of GPUs."""

from dataclasses import dataclass
from time import monotonic
from typing import Any

import psutil
import pytest

from serve_app.deployments.autoscaling import BudgetPolicy, CpuPolicy
from serve_app.deployments.cpu_share import CpuShare


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


def test_the_share_is_that_of_the_busiest_core() -> None:
    """One thread that never rests is all that an event loop can do, with four cores too."""
    process = psutil.Process()
    began_at = monotonic()
    used_s = process.cpu_times().user
    share = CpuShare(cores=4)
    while process.cpu_times().user < used_s + 0.1:
        pass
    found = share.read()
    times = process.cpu_times()
    assert found == pytest.approx(0.1 / (monotonic() - began_at), rel=0.6)
    assert found * (monotonic() - began_at) < times.user + times.system
