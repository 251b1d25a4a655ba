"""A batch with streams is no larger than keeps up with the music; other batches take all slots."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from serve_app.engine.pace import StepTimes, StreamPace, peak_positions
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.window import Window, windows
from serve_app.types import GenerationRequest

FRAME_RATE = 50
FRAME_S = 0.02
SLOTS = 40


def sequence(
    sequence_id: int, streamed: bool = True, frames: int = 1500, steps: int = 0, longest: int = 1500
) -> Sequence:
    request = GenerationRequest(
        request_id="1", model="small", prompt="music", duration_s=30.0, streamed=streamed
    )
    made: list[Window] = windows(frames, longest, stride=900, prefix_frames=0)
    nothing = torch.zeros(4, 0)
    new = Sequence(sequence_id, request, [1], nothing, made, (0, 1, 2, 3), lambda _: None)
    new.steps = steps
    return new


def test_the_law_of_a_cards_steps_is_learned() -> None:
    """Tracks that come and go in batches of 1 to 6 tell how long one of 12 long contexts takes."""
    times = StepTimes()
    noise = np.random.default_rng(0)
    for step in range(3000):
        sequences = 1 + step // 300 % 6
        positions = sequences * (step % 1500)
        law_s = 0.005 + 0.0001 * sequences + 7e-7 * positions
        times.record(sequences, positions, law_s * noise.normal(1, 0.02))
    predicted = times.expected_s(12, 12 * 1500)
    assert predicted == pytest.approx(0.0062 + 7e-7 * 18_000, rel=0.15)


def test_a_few_steps_teach_no_slope() -> None:
    """As at a replica's start: noise over 25 positions says nothing of thousands."""
    times = StepTimes()
    assert times.expected_s(1, 0) is None
    noise = np.random.default_rng(0)
    for position in range(25):
        times.record(1, position, 0.002 * noise.normal(1, 0.1))
    predicted = times.expected_s(16, 24_000)
    assert predicted == pytest.approx(0.002, rel=0.5)


def test_a_lone_tracks_steps_do_not_hide_what_the_memory_takes() -> None:
    """Attention of one track waits for latencies, not for the memory: its steps tell of no slope."""
    times = StepTimes(position_s=1e-6)
    for position in range(1500):
        times.record(1, position, 0.004)
    assert times.expected_s(1, 1500) == pytest.approx(0.004, rel=0.2)
    assert times.expected_s(12, 12 * 1500) == pytest.approx(0.004 + 0.018, rel=0.05)


def test_steps_that_read_slower_than_the_memory_are_believed() -> None:
    times = StepTimes(position_s=1e-7)
    for step in range(3000):
        positions = 12 * (step % 1500)
        times.record(12, positions, 0.005 + 7e-7 * positions)
    assert times.expected_s(12, 12 * 1500) == pytest.approx(0.005 + 0.0126, rel=0.02)


def test_a_card_that_becomes_slower_is_noticed() -> None:
    times = StepTimes()
    for step_s in (0.01, 0.03):
        for _ in range(5000):
            times.record(4, 3000, step_s)
    assert times.expected_s(4, 3000) == pytest.approx(0.03, rel=0.05)


def test_the_peak_is_that_of_a_simulation() -> None:
    """Sequences at different places, one of whose windows slides."""
    batch = [
        sequence(0, frames=600, steps=500),
        sequence(1, frames=1500, steps=1200),
        sequence(2, frames=1500),
        sequence(3, frames=3000, steps=100),
    ]
    most = 0
    for steps in range(4000):
        going = [one for one in batch if one.frames_left >= steps]
        most = max(most, sum(min(one.positions + steps, 1503) for one in going))
    assert peak_positions(batch) == most
    assert peak_positions(batch[:1]) == pytest.approx(603, abs=3)


def law(sequences: int, positions: int) -> float:
    """A card on which 12 long contexts take 20 ms."""
    return 0.005 + 8.3e-7 * positions + 1e-9 * sequences


def run(
    allows: Callable[[list[Sequence]], bool],
    record: Callable[[int, int, float], None],
    streamed: bool,
    steps: int,
) -> list[tuple[int, float]]:
    """Sequences and seconds of each step, while more tracks wait than there are slots."""
    scheduler = Scheduler(SLOTS, allows)
    numbers = itertools.count()
    taken = []
    for _ in range(steps):
        while len(scheduler.waiting) < 3:
            scheduler.add_request(sequence(next(numbers), streamed))
        scheduler.schedule()
        running = scheduler.update()
        positions = sum(one.positions for one in running)
        step_s = law(len(running), positions)
        record(len(running), positions, step_s)
        taken.append((len(running), step_s))
        for one in running:
            if one.finished:
                scheduler.finish(one.sequence_id)
    return taken


def test_streams_keep_up_once_a_track_has_been_measured() -> None:
    """Nearly as many tracks run as can, and no step of the later ones is slower than the music."""
    times = StepTimes()
    for position in range(1500):
        times.record(1, position, law(1, position))
    taken = run(StreamPace(times.expected_s, FRAME_RATE).allows, times.record, True, 5000)
    assert max(step_s for _, step_s in taken) <= FRAME_S
    assert np.mean([running for running, _ in taken[1500:]]) > 8


def test_tracks_that_nobody_listens_to_take_all_slots() -> None:
    times = StepTimes()
    taken = run(StreamPace(times.expected_s, FRAME_RATE).allows, times.record, False, 100)
    assert taken[-1][0] == SLOTS


def test_a_card_too_slow_for_one_stream_takes_all() -> None:
    pace = StreamPace(lambda _sequences, _positions: 0.05, FRAME_RATE)
    assert pace.allows([sequence(0), sequence(1)])


def test_one_listener_holds_back_the_next_of_any_kind() -> None:
    pace = StreamPace(lambda sequences, _: 0.01 * sequences, FRAME_RATE)
    assert pace.allows([sequence(0, streamed=True)])
    assert not pace.allows([sequence(0, streamed=True), sequence(1, streamed=False)])
    assert not pace.allows([sequence(0, streamed=False), sequence(1, streamed=True)])
    assert pace.allows([sequence(0, streamed=False), sequence(1, streamed=False)])


def test_nothing_overtakes_a_sequence_that_waits_for_the_pace() -> None:
    pace = StreamPace(lambda sequences, _: 0.012 * sequences, FRAME_RATE)
    scheduler = Scheduler(4, pace.allows)
    scheduler.add_request(sequence(0))
    scheduler.add_request(sequence(1))
    scheduler.add_request(sequence(2, streamed=False))
    assert [one.sequence_id for one in scheduler.schedule()] == [0], "an idle engine starts one"
    assert scheduler.slots_in_force == 1
    for _ in range(100):
        assert scheduler.schedule() == []
    assert scheduler.admitted_slots == pytest.approx(1, abs=0.1)
    scheduler.finish(0)
    assert [one.sequence_id for one in scheduler.schedule()] == [1]
    scheduler.abort_request(2)
    assert scheduler.slots_in_force == 4, "nobody waits"
    assert scheduler.admitted_slots == pytest.approx(1, abs=0.1), "as many as before, next time"
    for number in range(3, 6):
        scheduler.add_request(sequence(number, streamed=False))
    scheduler.finish(1)
    scheduler.schedule()
    assert scheduler.admitted_slots == 3, "tracks that nobody listens to"
