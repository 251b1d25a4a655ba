"""The autoscaling policies: their formula, their budget, and that no input makes them raise."""

import math
import random
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.serve.config import AutoscalingPolicy

from serve_app.deployments import autoscaling
from serve_app.deployments.autoscaling import BudgetPolicy, CpuPolicy, DrainTimePolicy


@dataclass
class Load:
    """Serve's view of a deployment. replicas: (audio_s, audio_s_per_s, mean_audio_s) of each.

    made, waiting: made_audio_s_per_s and waiting_audio_s of all.
    """

    replicas: list[tuple[float, float, float]] = field(default_factory=list)
    total_queued_requests: float | None = 0.0
    target_num_replicas: int = 2
    current_time: float | None = 0.0
    made: float = 0.0
    waiting: float = 0.0
    current_num_replicas: int = 2
    total_num_requests: float = 0.0
    deployment_name: str = "MusicGen:nano"
    capacity_adjusted_min_replicas: int = 0
    capacity_adjusted_max_replicas: int = 100

    @property
    def aggregated_metrics(self) -> dict[str, dict[str, float]]:
        names = ("audio_s", "audio_s_per_s", "mean_audio_s")
        told = {
            name: {str(i): values[k] for i, values in enumerate(self.replicas)}
            for k, name in enumerate(names)
        }
        return told | {
            "made_audio_s_per_s": {"0": self.made},
            "waiting_audio_s": {"0": self.waiting},
        }


def wanted(load: Any, **options: float) -> float:
    replicas, state = DrainTimePolicy(
        **{"drain_s": 30.0, "audio_s_per_s": 8.0, "audio_s": 30.0} | options
    )(load)
    assert state == {}
    return replicas


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (Load(), 0),
        (Load([(0.0, 10.0, 30.0)]), 0),
        (Load([(1.0, 10.0, 30.0)]), 1),
        (Load([(300.0, 10.0, 30.0)], waiting=300.0), 1),
        (Load([(301.0, 10.0, 30.0)], waiting=301.0), 2),
        (Load([(300.0, 10.0, 30.0)], 20, waiting=300.0), 3),
        (Load([(300.0, 10.0, 10.0)], 20, waiting=300.0), 2),
        (Load([(300.0, 10.0, 30.0), (300.0, 5.0, 30.0)], waiting=600.0), 3),
        (Load([(300.0, 0.0, 0.0), (300.0, 10.0, 30.0)], waiting=600.0), 2),
        (Load(total_queued_requests=16), 2),
        (Load(total_queued_requests=None), 0),
    ],
    ids=str,
)
def test_replicas_follow_the_requested_music(load: Load, replicas: int) -> None:
    assert wanted(load) == replicas


def test_a_slow_card_needs_more_replicas() -> None:
    slow, fast = (Load([(600.0, speed, 30.0)], waiting=600.0) for speed in (2.0, 10.0))
    assert wanted(slow) == 5 * wanted(fast)


def test_running_tracks_want_no_more_replicas() -> None:
    """Eight tracks of 120 s run in 16 slots. They cannot move, so a second replica would idle."""
    running = [Load([(left, 20.0, 120.0)], made=10.0) for left in (960.0, 400.0, 1.0)]
    policy = DrainTimePolicy(drain_s=30.0)
    assert [policy(load)[0] for load in running] == [1, 1, 1]


def test_queued_requests_want_replicas() -> None:
    """The same tracks, and eight that wait: 32 s of music per second more, for 30 s."""
    waiting = Load([(960.0, 20.0, 120.0)], 8.0, made=10.0)
    assert wanted(waiting) == 3


def test_replicas_are_to_be_busy_in_part() -> None:
    """16 s of music per second, at a speed of 10 and a utilization of 0.8, take two replicas."""
    assert wanted(Load([(100.0, 10.0, 30.0)], made=16.0)) == 2
    assert wanted(Load([(100.0, 10.0, 30.0)], made=16.1)) == 3
    assert wanted(Load([(100.0, 10.0, 30.0)], made=16.0), utilization=0.4) == 4


def test_a_replica_stays_while_there_is_work() -> None:
    """The last track keeps its replica, even before it has begun; without work, none is wanted."""
    rest = [Load([(held, 10.0, 30.0)]) for held in (100.0, 1.0, 0.0)]
    assert [wanted(load) for load in rest] == [1, 1, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_left_out(value: float) -> None:
    assert wanted(Load([(300.0, 10.0, 30.0), (value, value, value)])) == 1


@pytest.mark.parametrize("broken", [None, {"audio_s": None}, {"audio_s": {"a": "many"}}, 5])
def test_it_never_raises(broken: Any) -> None:
    class Broken:
        target_num_replicas, total_queued_requests, aggregated_metrics = 3, 1.0, broken

    assert wanted(Broken()) in (1, 3)


def test_it_is_pickled_with_all_it_needs() -> None:
    """Serve unpickles it on the head node, which may lack this package."""
    for policy in (DrainTimePolicy, BudgetPolicy, CpuPolicy):
        config = AutoscalingPolicy(policy_function=f"{autoscaling.__name__}:{policy.__name__}")
        config.serialize_policy()
        program = (
            "import sys, pickle\n"
            "sys.modules['serve_app'] = None\n"
            f"print(pickle.loads({config.get_serialized_policy_def()!r})"
            f"(**{ {'gpus': 4} if policy is BudgetPolicy else {} }).__class__.__name__)"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == policy.__name__


def model(model_id: str, work_s: float, now: int = 0, least: int = 0) -> Load:
    """A model with `work_s` seconds of work for one replica."""
    return Load(
        [(work_s, 1.0, 30.0)],
        0.0,
        now,
        waiting=work_s,
        current_num_replicas=now,
        deployment_name=f"MusicGen:{model_id}",
        capacity_adjusted_min_replicas=least,
    )


def shared(gpus: float, *models: Load, **options: Any) -> list[float]:
    policy = BudgetPolicy(gpus, drain_s=10.0, **options)
    replicas, state = policy({load.deployment_name: load for load in models})
    assert state == {}
    return [replicas[load.deployment_name] for load in models]


def test_a_large_budget_gives_every_replica_wanted() -> None:
    assert shared(10, model("small", 35), model("large", 20)) == [4, 2]


def test_a_short_budget_goes_to_most_work_per_gpu() -> None:
    assert shared(6, model("small", 400), model("large", 200)) == [4, 2]
    assert shared(1, model("small", 400), model("large", 500)) == [0, 1]
    assert shared(3, model("small", 400), model("large", 0)) == [3, 0]


def test_a_replica_may_take_several_gpus() -> None:
    assert shared(8, model("small", 400), model("large", 410), gpus_per_replica={"large": 2.0}) == [
        4,
        2,
    ]
    assert shared(1, model("small", 0), model("large", 400), gpus_per_replica={"large": 2.0}) == [
        0,
        0,
    ]


def test_a_gpu_is_free_before_another_model_gets_it() -> None:
    assert shared(4, model("small", 10, now=4), model("large", 400, now=0)) == [1, 0], (
        "none is free yet"
    )
    assert shared(4, model("small", 10, now=2), model("large", 400, now=0)) == [1, 2]
    assert shared(4, model("small", 10, now=1), model("large", 400, now=2)) == [1, 3]


def test_each_model_has_its_least_before_others_grow() -> None:
    assert shared(3, model("small", 400, now=1), model("large", 0, now=2, least=2)) == [1, 2]


def test_models_have_options_of_their_own() -> None:
    assert shared(
        10, model("small", 40), model("large", 40), models={"large": {"drain_s": 20.0}}
    ) == [4, 2]


def test_other_deployments_are_left_alone() -> None:
    ingress = Load(deployment_name="Ingress")
    assert BudgetPolicy(4)({"Ingress": ingress}) == ({}, {})


def test_a_budget_never_raises() -> None:
    broken: Any = object.__new__(Load)  # without the attributes that have no class default
    broken.target_num_replicas = 3
    assert BudgetPolicy(4)({"a": broken}) == ({"a": 3}, {})


def test_a_budget_is_never_overdrawn() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        now = dict.fromkeys("abc", 0)
        gpus = rng.randint(1, 20)
        policy = BudgetPolicy(gpus, drain_s=10.0)
        for _ in range(30):
            loads = {
                name: model(name, rng.choice([0, 10, 100, 1000]), count)
                for name, count in now.items()
            }
            wanted = policy(loads)[0]
            # Serve may delay the removal of replicas.
            slow = {name for name in now if wanted[name] < now[name] and rng.random() < 0.5}
            now = {name: now[name] if name in slow else round(wanted[name]) for name in now}
            assert sum(now.values()) <= gpus


@dataclass
class LoadWithJobs(Load):
    """A load with jobs in their store. jobs: seconds of music that each replica was told."""

    jobs: tuple[float, ...] = ()

    @property
    def aggregated_metrics(self) -> dict[str, dict[str, float]]:
        told = {str(i): value for i, value in enumerate(self.jobs)}
        return {**super().aggregated_metrics, "jobs_audio_s": told}


IDLE = (0.0, 10.0, 30.0)


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (LoadWithJobs([IDLE], jobs=(0.0,)), 0),
        (LoadWithJobs([IDLE], jobs=(1.0,)), 1),
        (LoadWithJobs([IDLE], jobs=(300.0,)), 1),
        (LoadWithJobs([IDLE], jobs=(3000.0,)), 10),
        (LoadWithJobs([(300.0, 10.0, 30.0)], jobs=(300.0,)), 1),
        (LoadWithJobs([(300.0, 10.0, 30.0)], waiting=300.0, jobs=(300.0,)), 2),
        (LoadWithJobs([IDLE, IDLE, IDLE], jobs=(3000.0, 0.0, 2900.0)), 10),
        (LoadWithJobs([IDLE], jobs=(math.nan,)), 0),
    ],
    ids=str,
)
def test_jobs_in_their_store_count_once(load: Load, replicas: int) -> None:
    assert wanted(load) == replicas


def test_jobs_are_work_within_a_budget() -> None:
    policy = BudgetPolicy(gpus=4)
    idle = LoadWithJobs(
        [IDLE], current_num_replicas=1, target_num_replicas=1, deployment_name="MusicGen:idle"
    )
    busy = LoadWithJobs(
        [IDLE],
        current_num_replicas=1,
        target_num_replicas=1,
        deployment_name="MusicGen:busy",
        jobs=(3000.0,),
    )
    idle.capacity_adjusted_min_replicas = 1
    assert policy({"idle": idle, "busy": busy})[0] == {"idle": 1, "busy": 3}
