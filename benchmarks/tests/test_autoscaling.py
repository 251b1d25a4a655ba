"""The simulation of scaling: its queue, its fleet, and that all policies cost the same."""

import json
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks import autoscaling, routing, scalers
from benchmarks.scalers import DELAYS, FORECAST, OURS, SERVE, Family, families, shipped
from benchmarks.simulation import (
    NODE_THERE_S,
    PATIENCE_S,
    SLOTS,
    STEP_S,
    Traffic,
    World,
    simulate,
)
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


def replicas_by(*changes: tuple[float, int]) -> Any:
    """A scaler that asks for a number of replicas from a time on."""
    return lambda now, *_: next(count for time, count in reversed(changes) if now >= time)


def test_a_node_waits_for_the_next_replica_and_counts() -> None:
    """The second replica starts in 100 s, is stopped at 200, and comes back in NODE_THERE_S at 300."""
    scaler = replicas_by((0, 2), (200, 1), (300, 2))
    day = simulate(scaler, burst(1, 8.0), World(2, 100.0, idle_s=150.0))
    there = 300 + NODE_THERE_S
    assert [day.fleet[round(time / STEP_S)] for time in (100, 105, 190, 200)] == [1, 2, 2, 1]
    assert [day.fleet[round(time / STEP_S)] for time in (there - STEP_S, there)] == [1, 2]
    assert (day.starts, day.nodes) == (2, 1)
    assert day.gpu_hours * 3600 == pytest.approx(2 * REST, abs=3 * STEP_S)


def test_a_node_without_a_replica_is_removed() -> None:
    scaler = replicas_by((0, 2), (200, 1))
    day = simulate(scaler, burst(1, 8.0), World(2, 100.0, idle_s=150.0))
    assert day.gpu_hours * 3600 == pytest.approx(REST + 350, abs=3 * STEP_S)


def test_the_node_of_a_start_that_is_given_up_comes_nevertheless() -> None:
    """Its replica needs 20 of the 100 s; the node is there at 80 and stays for 150 s."""
    scaler = replicas_by((0, 2), (50, 1))
    day = simulate(scaler, burst(1, 8.0), World(2, 100.0, idle_s=150.0))
    assert max(day.fleet) == 1
    assert day.gpu_hours * 3600 == pytest.approx(REST + 230, abs=3 * STEP_S)


def test_cards_differ_in_slots_and_speed() -> None:
    """Half the slots at half the speed: a track takes as long as ever, and 8 run at a time."""
    world = World(1, 60.0, slots=8, audio_s_per_s=10.0)
    day = simulate(fixed(1), burst(17, 25.0), world)
    assert day.waits_s.tolist() == [0.0] * 8 + [20.0] * 8 + [40.0, 0.0]


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


def test_longer_tracks_are_fewer() -> None:
    short = traffic(20, seed=3, day_s=7200)
    long = traffic(20, seed=3, day_s=7200, longer=2.0)
    assert long.arrivals_s.size == pytest.approx(short.arrivals_s.size / 2, rel=0.05)
    assert long.busy_hours == pytest.approx(short.busy_hours, rel=0.05)
    assert long.durations_s.max() > 1.5 * LONGEST_S


def test_days_that_choose_options_do_not_judge_them() -> None:
    assert not set(autoscaling.TRAINING_SEEDS) & set(autoscaling.TESTING_SEEDS)
    assert len(autoscaling.TRAINING_SEEDS) >= 10


def test_all_policies_choose_from_the_same_delays() -> None:
    found = families(World(20, 180.0), 25.0)
    for name in (SERVE, OURS, FORECAST):
        assert {options[-3:] for options in found[name].options} == set(DELAYS)


def test_options_with_the_shortest_waits_are_chosen_at_the_cost(monkeypatch: Any) -> None:
    """GPU-hours are inverse to the value; option 2 halves the waits."""

    def run(build: Any, *_: Any) -> autoscaling.Days:
        value, [option] = build()
        return autoscaling.Days(*np.array([[90 / option], [9], [100 / value**0.5], [1], [1]]))

    monkeypatch.setattr(autoscaling, "run", run)
    family = Family(lambda *given: given, [(1,), (2,)], 0.1, 40.0)  # type: ignore[arg-type]
    fit = autoscaling.tuned(family, [], World(20, 180.0), 50.0)
    assert fit.options == (2,)
    assert fit.value == pytest.approx(4.0, rel=0.02)


def test_the_options_that_ship_are_read_from_the_configuration(monkeypatch: Any) -> None:
    text = scalers.SHIPPED.read_text()
    assert "drain_s: 30 " in text
    other = text.replace("drain_s: 30 ", "drain_s: 5 ").replace(
        "downscale_delay_s: ", "downscale_delay_s: 9"
    )
    day = traffic(20, seed=3, day_s=7200)
    hours = []
    for content in (text, other):
        monkeypatch.setattr(scalers, "SHIPPED", Content(content))
        world = World(20, 60.0)
        with scalers.simulated_time():
            hours.append(simulate(shipped(world, 25.0), day, world).gpu_hours)
    assert hours[1] > 1.05 * hours[0], "it drains faster, and stops replicas later"


class Content(str):
    """A file's text."""

    def read_text(self) -> str:
        return self


def figures_of(capsys: Any, monkeypatch: Any, *options: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["autoscaling", "--quick", *options])
    monkeypatch.setattr(scalers, "DELAYS", DELAYS[:1])
    autoscaling.main()
    [found] = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"].values()
    return dict(found)


def test_policies_are_compared_at_the_cost_of_what_ships(capsys: Any, monkeypatch: Any) -> None:
    found = figures_of(capsys, monkeypatch, "--worlds", "start-180")
    default = found.pop(autoscaling.DEFAULT)
    shipped = found[autoscaling.SHIPPED]["gpu_hours"]
    assert [row["gpu_hours"] for row in found.values()] == pytest.approx([shipped] * 5, rel=0.03)
    assert default["gpu_hours"] > shipped, "Serve's defaults keep a replica for two requests"


def test_delays_are_compared_by_waits_and_starts(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(autoscaling, "UPSCALE_DELAYS_S", (0,))
    found = figures_of(capsys, monkeypatch, "--table", "delays")
    short, long = found["up 0 s, down 30 s"], found["up 0 s, down 300 s"]
    assert short["gpu_hours"] == pytest.approx(long["gpu_hours"], rel=0.03)
    assert short["starts"] > 1.3 * long["starts"]


def test_a_target_is_judged_on_other_tracks_and_cards(capsys: Any, monkeypatch: Any) -> None:
    """A card with half the slots cannot hold as many requests as the target says."""
    found = figures_of(capsys, monkeypatch, "--table", "transfer")
    kept, reset, ours = (
        [found[f"{change}: {policy}"] for change in autoscaling.CHANGES]
        for policy in (autoscaling.KEPT, autoscaling.RESET, autoscaling.SHIPPED)
    )
    hours = [row["gpu_hours"] for row in ours]
    assert [row["gpu_hours"] for row in reset] == pytest.approx(hours, rel=0.02)
    assert len({row["target"] for row in kept}) == 1
    assert kept[3]["p95_s"] > 1.5 * ours[3]["p95_s"]


def test_the_router_waits_less_than_serves(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["routing", "--quick"])
    routing.main()
    [found] = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"].values()
    waits = {name: row["wait_p95_s"] for name, row in found.items()}
    assert waits["WaitRouter"] < 0.8 * waits["Serve: fewer requests of two"]
