"""Replicas that are wanted, running and allowed, from Serve's description. tests/test_observability has a real one."""

import asyncio
import time
from typing import Any

import pytest
import ray

from serve_app.deployments import replica_watch
from serve_app.deployments.cpu_share import CpuShare
from serve_app.deployments.replica_watch import ReplicaWatch
from tests.deployments.test_metrics import Recorded, given

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(replica_watch, kind, recorded.metric)
    return recorded


def watch_of(application: str) -> ReplicaWatch:
    return ReplicaWatch(application, CpuShare(1.0))


def deployment(wanted: int, *states: str, most: int | None = None) -> dict[str, Any]:
    scaling = None if most is None else {"max_replicas": most}
    return {
        "target_num_replicas": wanted,
        "replicas": [{"state": state} for state in states],
        "deployment_config": {"autoscaling_config": scaling},
    }


def test_each_deployment_has_its_numbers(recorded: Recorded) -> None:
    deployments = {
        "MusicGen:small": deployment(3, "RUNNING", "STARTING", "RUNNING", most=4),
        "Ingress": deployment(1, "STOPPING"),
    }
    other = {"deployments": {"MusicGen:other": deployment(9)}}
    details = {"applications": {"musicgen": {"deployments": deployments}, "b": other}}
    watch_of("musicgen").report(details)
    small, ingress = {"model": "small"}, {"model": "(ingress)"}
    assert given(recorded) == {
        "musicgen_wanted_replicas": [(3, small), (1, ingress)],
        "musicgen_running_replicas": [(2, small), (0, ingress)],
        "musicgen_max_replicas": [(4, small), (1, ingress)],
    }


def test_an_application_that_is_gone_has_none(recorded: Recorded) -> None:
    watch_of("musicgen").report({"applications": {}})
    assert given(recorded) == {}


async def test_a_watch_outlives_the_controller(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a controller Ray finds no actor; the CPU time is counted all the same."""
    asked: list[str] = []
    asked_often = asyncio.Event()

    def get_actor(name: str, namespace: str) -> None:
        asked.append(f"{namespace}/{name}")
        if len(asked) == 3:
            loop.call_soon_threadsafe(asked_often.set)
        raise ValueError("Failed to look up actor")

    monkeypatch.setattr(ray, "get_actor", get_actor)
    monkeypatch.setattr(replica_watch, "_PERIOD_S", 0.0)
    watch = watch_of("musicgen")
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(asked_often.wait(), PATIENCE_S)
    task.cancel()
    assert asked[0] == "serve/SERVE_CONTROLLER_ACTOR"
    counted = recorded.values["musicgen_ingress_cpu_seconds_total"]
    by_part = {tags["part"]: 0.0 for _, tags in counted}
    for value, tags in counted:
        by_part[tags["part"]] += value
    assert 0 < by_part["event_loop"] <= time.thread_time()
    shares = [value for value, _ in recorded.values["musicgen_ingress_cpu_share"]]
    assert len(shares) >= 3
    assert all(share >= 0 for share in shares)
    assert max(shares) > 0
    assert sum(by_part.values()) <= time.process_time()
