"""Replicas that do not start are given up for a while, and no other model waits for their GPUs."""

import logging

import pytest

from serve_app.deployments.autoscaling import BudgetPolicy, DrainTimePolicy
from tests.deployments.test_autoscaling import Load


def busy(now: float, target: int, running: int, name: str = "small") -> Load:
    """A model with more work than any number of GPUs takes."""
    return Load(
        [(9000.0, 1.0, 30.0)],
        current_time=now,
        waiting=9000.0,
        target_num_replicas=target,
        current_num_replicas=running,
        deployment_name=f"MusicGen:{name}",
        capacity_adjusted_max_replicas=8,
    )


def test_replicas_that_do_not_start_are_asked_for_less_and_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two of eight run. The others are asked for during 100 s, and again after 300 and 600 s."""
    policy = DrainTimePolicy(give_up_s=100.0)
    given_up = []
    target = 8
    with caplog.at_level(logging.WARNING, "ray.serve"):
        for now in range(0, 2000, 10):
            target = min(8, int(policy(busy(now, target, 2))[0]))
            given_up.append(target == 2)
    changes = [10 * i for i in range(1, 200) if given_up[i] != given_up[i - 1]]
    assert changes == [100, 400, 510, 1110, 1220]
    assert "MusicGen:small: 6 of 8 replicas did not start within 100 s" in caplog.text
    assert caplog.text.count("did not start") == 3, "once for each time"


def test_a_start_ends_the_backoff() -> None:
    policy = DrainTimePolicy(give_up_s=100.0)
    assert [policy(busy(now, 8, 2))[0] > 8 for now in (0, 90, 100, 110)] == [
        True,
        True,
        False,
        False,
    ]
    assert policy(busy(120, 2, 3))[0] > 8
    assert [policy(busy(now, 8, 3))[0] > 8 for now in (130, 220, 230)] == [True, True, False]


def test_slow_starts_are_waited_for() -> None:
    """One starts every 90 s: none is given up."""
    policy = DrainTimePolicy(give_up_s=100.0)
    assert all(policy(busy(now, 8, 1 + now // 90))[0] > 8 for now in range(0, 600, 10))


def test_a_budget_goes_on_to_models_whose_replicas_start() -> None:
    """Of 8 GPUs, 6 are asked for in vain by one model: the other gets them meanwhile."""
    policy = BudgetPolicy(8, models={"rare": {"give_up_s": 100.0}})

    def replicas(now: float, other: int) -> dict[str, float]:
        rare = busy(now, 6, 1, "rare")
        return policy({"rare": rare, "plenty": busy(now, other, other, "plenty")})[0]

    before = replicas(0, 2)
    assert before["plenty"] == 2
    assert replicas(100, 2) == {"rare": 1, "plenty": 7}
    assert replicas(110, 7) == {"rare": 1, "plenty": 7}


def test_the_least_number_of_replicas_stays_asked_for() -> None:
    """Serve asks for min_replicas in any case; no other model gets more than is left of them."""
    policy = DrainTimePolicy(give_up_s=100.0)
    loads = [busy(now, 4, 1) for now in (0, 100)]
    assert [policy(load)[0] for load in loads][-1] == 1
