"""Snapshots hold the queue and the slots; rates end when the engine rests."""

import pytest
import torch

from serve_app.engine import stats_board
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.stats_board import StatsBoard
from serve_app.engine.throughput import RATE_PERIOD_S, Throughput
from serve_app.engine.window import Window
from serve_app.types import GenerationRequest


def test_a_snapshot_is_taken_and_its_rates_grow_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(stats_board, "perf_counter", lambda: now)
    scheduler = Scheduler(max_slots=1)
    throughput = Throughput()
    board = StatsBoard(
        lambda: [scheduler], throughput, 50, kv_cache_bytes=lambda: 7, chunks=lambda: (8, 3)
    )
    assert board.latest().slots == 1
    request = GenerationRequest(request_id="1", model="nano", prompt="music", duration_s=1.0)
    for number in range(2):
        scheduler.add_request(
            Sequence(
                number, request, [1], torch.zeros(1, 0), [Window(0, 50, 0)], (0,), lambda _: None
            )
        )
    scheduler.schedule()
    scheduler.update()
    throughput.record_step(1, step_s=0.01)
    assert board.latest().slots_used == 0, "not published yet"
    board.publish(codec_s=1.0, text_encoder_s=2.0)
    stats = board.latest()
    assert (stats.slots_used, stats.queued_requests, stats.steps_total) == (1, 1, 1)
    assert (stats.running_audio_s, stats.queued_audio_s) == (49 / 50, 1.0)
    assert (stats.codec_s, stats.text_encoder_s, stats.kv_cache_bytes) == (1.0, 2.0, 7)
    assert (stats.streamed_chunks_total, stats.late_chunks_total) == (8, 3)
    assert stats.real_time_factor > 0
    now += RATE_PERIOD_S + 1
    assert board.latest().real_time_factor == board.latest().steps_per_s == 0
    assert board.latest().steps_total == 1


def test_tracks_that_wait_for_their_decoder_are_music_left() -> None:
    board = StatsBoard(
        lambda: [Scheduler(max_slots=1)], Throughput(), 50, lambda: 7, pending_frames=lambda: 75
    )
    board.publish(codec_s=0.0, text_encoder_s=0.0)
    assert board.latest().running_audio_s == 1.5
