"""Estimates of when a track would be finished."""

import pytest

from serve_app.gateway.estimate import expected_s, remaining_s
from serve_app.model_status import EngineStats, LoadedModel, ReplicaStatus

MODEL = LoadedModel(32_000, 1, 50.0, 30.0, 1000, "cpu", "fp32")


def replica(
    slots_used: int = 0,
    queued_audio_s: float = 0.0,
    running_audio_s: float = 0.0,
    step_s: float = 0.01,
) -> ReplicaStatus:
    stats = EngineStats(
        slots=4,
        slots_used=slots_used,
        queued_audio_s=queued_audio_s,
        running_audio_s=running_audio_s,
        step_s=step_s,
    )
    return ReplicaStatus(MODEL, stats)


BUSY = replica(slots_used=4, running_audio_s=60.0, queued_audio_s=20.0)


@pytest.mark.parametrize(
    ("replicas", "duration_s", "expected"),
    [
        ([], 10.0, None),
        ([replica()], 31.0, None),
        ([replica()], 10.0, 5.0),
        ([replica(slots_used=3, running_audio_s=60.0)], 10.0, 5.0),
        ([BUSY], 10.0, 15.0),
        ([BUSY, replica(step_s=0.02)], 10.0, 10.0),
    ],
    ids=["no replica", "too long", "idle", "a slot is free", "no slot is free", "the quickest"],
)
def test_expected_s(
    replicas: list[ReplicaStatus], duration_s: float, expected: float | None
) -> None:
    assert expected_s(replicas, duration_s) == (
        None if expected is None else pytest.approx(expected)
    )


def paced(slots_used: int = 0, running_audio_s: float = 0.0) -> ReplicaStatus:
    """Steps of 10 ms alone, and of 25 ms in a full batch of 4."""
    stats = EngineStats(
        slots=4,
        slots_used=slots_used,
        running_audio_s=running_audio_s,
        step_s=0.02,
        lone_pace_s=0.01,
        full_pace_s=0.025,
    )
    return ReplicaStatus(MODEL, stats)


@pytest.mark.parametrize(
    ("replica", "expected"),
    [(paced(), 5.0), (paced(slots_used=2), 10.0), (paced(slots_used=4, running_audio_s=40), 25.0)],
)
def test_the_batch_decides_the_pace(replica: ReplicaStatus, expected: float) -> None:
    assert expected_s([replica], 10.0) == pytest.approx(expected)


def test_slots_that_the_pace_keeps_free_are_none() -> None:
    """4 of 64 slots are admitted: they are taken, so that 40 s of music come first."""
    held = EngineStats(
        slots=64,
        admitted_slots=4,
        slots_used=4,
        running_audio_s=40.0,
        lone_pace_s=0.01,
        full_pace_s=0.025,
    )
    replicas = [ReplicaStatus(MODEL, held)]
    assert expected_s(replicas, 10.0) == pytest.approx((10.0 + 10.0) * 50 * 0.025)
    assert remaining_s(replicas, [10.0]) == pytest.approx((10.0 + 10.0) * 50 * 0.025)


@pytest.mark.parametrize(
    ("replicas", "waiting", "expected"),
    [
        ([], [10.0], None),
        ([paced()], [10.0], 5.0),
        ([paced()], [30.0, 10.0], 7.5),
        ([paced(slots_used=3, running_audio_s=60.0)], [10.0], 12.5),
        ([paced(slots_used=4, running_audio_s=60.0)], [20.0, 10.0], 37.5),
        ([paced(slots_used=4, running_audio_s=60.0)] * 2, [40.0, 10.0], 37.5),
    ],
    ids=["no replica", "idle", "two start", "the last slot", "in line", "two replicas"],
)
def test_remaining_s(
    replicas: list[ReplicaStatus], waiting: list[float], expected: float | None
) -> None:
    assert remaining_s(replicas, waiting) == (None if expected is None else pytest.approx(expected))
