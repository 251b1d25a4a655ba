"""Scheduling: first come, first served, into the lowest free slot."""

import pytest
import torch

from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.window import Window
from serve_app.types import GenerationRequest


def sequence(sequence_id: int, num_frames: int = 3) -> Sequence:
    request = GenerationRequest(
        request_id=str(sequence_id), model="nano", prompt="music", duration_s=1.0
    )
    windows = [Window(0, num_frames, 0)]
    nothing = torch.zeros(1, 0)
    return Sequence(sequence_id, request, [1], nothing, windows, (0,), sink=lambda _: None)


@pytest.fixture
def scheduler() -> Scheduler:
    scheduler = Scheduler(max_slots=2)
    for sequence_id in range(4):
        scheduler.add_request(sequence(sequence_id))
    return scheduler


def test_slots_are_given_in_order_of_arrival(scheduler: Scheduler) -> None:
    assert [(s.sequence_id, s.slot) for s in scheduler.schedule()] == [(0, 0), (1, 1)]
    assert scheduler.schedule() == []
    assert list(scheduler.waiting) == [2, 3]


def test_a_finished_sequence_makes_room_at_once(scheduler: Scheduler) -> None:
    scheduler.schedule()
    scheduler.finish(0)
    assert [(s.sequence_id, s.slot) for s in scheduler.schedule()] == [(2, 0)]


def test_a_step_counts_for_the_running_alone(scheduler: Scheduler) -> None:
    first, second = scheduler.schedule()
    assert scheduler.update() == [first, second]
    assert (first.steps, second.steps, scheduler.waiting[2].steps) == (1, 1, 0)
    for _ in range(2):
        scheduler.update()
    assert first.finished


def test_aborting_a_waiting_sequence_forgets_it(scheduler: Scheduler) -> None:
    aborted = scheduler.abort_request(1)
    assert aborted is not None
    assert aborted.slot is None
    assert [s.sequence_id for s in scheduler.schedule()] == [0, 2]


def test_aborting_a_running_sequence_frees_its_slot(scheduler: Scheduler) -> None:
    scheduler.schedule()
    scheduler.abort_request(0)
    assert [(s.sequence_id, s.slot) for s in scheduler.schedule()] == [(2, 0)]


def test_aborting_twice_has_no_effect(scheduler: Scheduler) -> None:
    scheduler.schedule()
    assert scheduler.abort_request(0) is not None
    assert scheduler.abort_request(0) is None
    assert [s.slot for s in scheduler.schedule()] == [0]
    assert scheduler.schedule() == []


def test_the_batch_reaches_to_the_highest_used_slot(scheduler: Scheduler) -> None:
    assert scheduler.slots_in_reach == 0
    scheduler.schedule()
    scheduler.abort_request(0)
    assert scheduler.slots_in_reach == 2
    scheduler.abort_request(1)
    assert scheduler.slots_in_reach == 0


def test_clearing_leaves_it_idle(scheduler: Scheduler) -> None:
    scheduler.schedule()
    assert {s.sequence_id for s in scheduler.clear()} == {0, 1, 2, 3}
    assert scheduler.idle
