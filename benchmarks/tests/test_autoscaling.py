"""The simulation of scaling: its queue, its fleet, and that all policies cost the same."""

import json
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks import autoscaling, routing
from benchmarks.simulation import PATIENCE_S, SLOTS, STEP_S, Traffic, World, simulate
from benchmarks.traffic import LONGEST_S, SHORTEST_S, traffic

REST = 3600.0  # when the last request comes


def burst(count: int, duration_s: float) -> Traffic:
    """Requests at the time 0, and one an hour later."""
    arrivals_s = np.array([0.0] * count + [REST])
    return Traffic(arrivals_s, np.full(count + 1, duration_s))


def fixed(replicas: int) -> Any:
    return lambda *_: replicas


def test_requests_wait_for_slots() -> None:
    """A track of 25 s takes 20 s: the second 16 of 33 wait for 20 s, and the last for 40 s."""
    day = simulate(fixed(1), burst(33, 25.0), World(1, 60.0))
    assert day.waits_s.tolist() == [0.0] * 16 + [20.0] * 16 + [40.0, 0.0]


def test_a_replica_helps_once_it_has_started() -> None:
    """125 s of music take 100 s. A second replica is asked for after a step, and starts in 60 s."""
    day = simulate(fixed(2), burst(33, 125.0), World(2, 60.0))
    assert sorted(set(day.waits_s)) == [0.0, STEP_S + 60.0, 100.0]
    assert day.fleet[12] == 1
    assert day.fleet[13] == 2


def test_requests_are_refused_after_a_while() -> None:
    day = simulate(fixed(1), burst(SLOTS + 1, 1000.0), World(1, 60.0))
    assert day.waits_s[SLOTS] == PATIENCE_S


def test_no_more_gpus_than_the_quota_are_had() -> None:
    day = simulate(fixed(5), burst(1, 8.0), World(5, 60.0, quota=lambda _: 3))
    assert max(day.fleet) == 3


def test_lost_replicas_are_replaced() -> None:
    day = simulate(fixed(4), burst(1, 8.0), World(4, 60.0, losses={100: 0.5}))
    assert day.fleet[99:101] == [4, 2]
    assert day.fleet[100 + round(60 / STEP_S)] == 4


def test_a_stopping_replica_costs_until_its_tracks_end() -> None:
    def scaler(now: float, *_: Any) -> int:
        return 2 if now < 300 else 1

    requests = Traffic(np.array([100.0] * 32 + [REST]), np.full(33, 1000.0))
    day = simulate(scaler, requests, World(2, 60.0))
    running_s = REST + 100 + 800 - STEP_S  # of the first; of the second: from 0, with its start
    assert day.gpu_hours * 3600 == pytest.approx(running_s, abs=3 * STEP_S)


def test_traffic_is_heavy_tailed_and_the_same_for_a_seed() -> None:
    day = traffic(20, seed=3, day_s=7200)
    assert SHORTEST_S <= day.durations_s.min() < 9
    assert 100 < day.durations_s.max() <= LONGEST_S
    assert (np.diff(day.arrivals_s) >= 0).all()
    assert (traffic(20, seed=3, day_s=7200).arrivals_s == day.arrivals_s).all()


def test_policies_are_compared_at_equal_cost(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["autoscaling", "--quick", "--worlds", "start-180"])
    autoscaling.main()
    [found] = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"].values()
    default = found.pop(autoscaling.DEFAULT)
    hours = [row["gpu_hours"] for row in found.values()]
    assert max(hours) < 1.03 * min(hours)
    assert default["gpu_hours"] > max(hours), "Serve's defaults keep a replica for two requests"


def test_the_router_waits_less_than_serves(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["routing", "--quick"])
    routing.main()
    [found] = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"].values()
    waits = {name: row["wait_p95_s"] for name, row in found.items()}
    assert waits["WaitRouter"] < 0.8 * waits["Serve: fewer requests of two"]
