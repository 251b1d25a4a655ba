"""Scheduling: first come, first served, into the lowest free slot."""

import pytest
import torch

from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.window import Window
from serve_app.types import GenerationRequest
from tests.fakes import Clock


def sequence(
    sequence_id: int, num_frames: int = 3, background: bool = False, patience_s: float = 60.0
) -> Sequence:
    request = GenerationRequest(
        request_id=str(sequence_id),
        model="nano",
        prompt="music",
        duration_s=1.0,
        background=background,
        patience_s=patience_s,
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


def test_a_sequence_in_its_prefill_takes_part_in_no_step(scheduler: Scheduler) -> None:
    first, second = scheduler.schedule()
    second.prefill_units = 2
    assert scheduler.slots_in_reach == 1
    assert scheduler.update() == scheduler.decoding == [first]
    assert second.steps == 0
    assert scheduler.filling is second
    first.prefill_units = 1
    assert scheduler.filling is first, "first come, first served"
    first.windows = [Window(2, 5, 1)]
    second.windows, first.windows = first.windows, second.windows
    assert scheduler.filling is second, "a track that has begun goes on before another begins"
    assert scheduler.slots_in_reach == 0
    first.prefill_units = second.prefill_units = 0
    assert scheduler.filling is None
    assert scheduler.slots_in_reach == 2


def test_a_prefill_is_cancelled_as_a_step_is(scheduler: Scheduler) -> None:
    first, _ = scheduler.schedule()
    first.prefill_units = 5
    assert scheduler.abort_request(first.sequence_id) is first
    assert scheduler.filling is None
    assert [(s.sequence_id, s.slot) for s in scheduler.schedule()] == [(2, 0)]


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


def ids(sequences: list[Sequence]) -> list[int]:
    return [sequence.sequence_id for sequence in sequences]


def queue_of(max_slots: int, *sequences: Sequence) -> Scheduler:
    scheduler = Scheduler(max_slots)
    for one in sequences:
        scheduler.add_request(one)
    return scheduler


def test_interactive_requests_go_before_background_ones() -> None:
    background = [sequence(number, background=True) for number in (0, 1)]
    scheduler = queue_of(2, *background, sequence(2), sequence(3))
    assert ids(scheduler.in_order) == [2, 3, 0, 1]
    assert ids(scheduler.schedule()) == [2, 3]
    scheduler.finish(2)
    scheduler.finish(3)
    assert ids(scheduler.schedule()) == [0]


def test_background_requests_leave_the_last_free_slot_to_interactive_ones() -> None:
    scheduler = queue_of(3, *(sequence(number, background=True) for number in range(3)))
    assert ids(scheduler.schedule()) == [0, 1]
    assert scheduler.background_requests == 3
    scheduler.add_request(sequence(3))
    assert ids(scheduler.schedule()) == [3]
    scheduler.finish(3)
    assert ids(scheduler.schedule()) == []
    scheduler.finish(0)
    assert ids(scheduler.schedule()) == [2]
    assert scheduler.background_requests == 2


def test_a_lone_slot_takes_background_requests() -> None:
    scheduler = queue_of(1, sequence(0, background=True), sequence(1))
    assert ids(scheduler.schedule()) == [1]
    scheduler.finish(1)
    assert ids(scheduler.schedule()) == [0]


def test_a_background_request_whose_patience_has_ended_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes before interactive requests that came later, and takes the last slot."""
    now = Clock()
    monkeypatch.setattr("serve_app.engine.scheduler.perf_counter", now)
    background = sequence(1, background=True, patience_s=30.0)
    scheduler = queue_of(1, sequence(0), background, sequence(2))
    for one in scheduler.waiting.values():
        one.arrived_at = now.now
    assert ids(scheduler.schedule()) == [0]
    now.now += 29.9
    assert ids(scheduler.in_order) == [2, 1]
    now.now += 0.1
    assert ids(scheduler.in_order) == [1, 2]
    scheduler.finish(0)
    assert ids(scheduler.schedule()) == [1]


def test_a_patient_request_takes_the_last_of_several_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = Clock()
    monkeypatch.setattr("serve_app.engine.scheduler.perf_counter", now)
    scheduler = queue_of(2, *(sequence(number, background=True) for number in range(2)))
    for one in scheduler.waiting.values():
        one.arrived_at = now.now
    assert ids(scheduler.schedule()) == [0]
    now.now += 60.0
    assert ids(scheduler.schedule()) == [1]


def test_no_background_request_starves_under_steady_interactive_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One slot, a track a second, a new interactive request each second: the wait is bounded."""
    now = Clock()
    monkeypatch.setattr("serve_app.engine.scheduler.perf_counter", now)
    scheduler = Scheduler(1)
    background = sequence(1000, background=True, patience_s=20.0)
    began = now.now
    for number in range(100):
        arrived = [background, sequence(number)] if number == 5 else [sequence(number)]
        for one in arrived:
            one.arrived_at = now.now
            scheduler.add_request(one)
        for running in list(scheduler.running):
            scheduler.finish(running)
        if 1000 in ids(scheduler.schedule()):
            break
        now.now += 1.0
    assert now.now - began == 5 + 20
