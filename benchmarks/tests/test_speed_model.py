"""The speed model gives the times that its constants were derived from, and the configurations' slots keep up."""

from dataclasses import replace

import pytest
import torch
import yaml

from benchmarks.peers import SCALES
from benchmarks.speed_model import (
    FRAME_S,
    SIZES,
    STEPS,
    _bandwidth,
    _cache_bytes,
    fits,
    floor_s,
    load,
)
from serve_app.config.app import MOST_SLOTS, AppConfig
from serve_app.config.files import config_files
from serve_app.engine.pace import MOST_SHARE, StepTimes, StreamPace
from serve_app.engine.read_speed import ATTENTION_SHARE
from serve_app.engine.sequence import Sequence
from serve_app.engine.window import windows
from serve_app.types import GenerationRequest

MODEL, GOALS = load()
# Seconds of a track of 30 s, by an estimate from published figures: eager in a graph, and with fused kernels.
ESTIMATES = {
    "T4": ((9.0, 29, 44), None),
    "L4": ((8.0, 27, 43), (6.0, 23, 39)),
    "A10G": ((5.7, 16, 24), (3.5, 12.5, 20)),
    "L40S": ((4.5, 12, 17), (2.5, 8.8, 14)),
    "A100": ((4.2, 9.9, 12.6), (1.8, 5.6, 8.5)),
    "H100": ((3.3, 7.2, 8.4), (1.2, 3.3, 4.7)),
}
LONG_MS = [
    ("T4", "small", 16, 25),
    ("A10G", "medium", 12, 32),
    ("A10G", "large", 8, 34),
    ("L40S", "large", 16, 37),
]


@pytest.mark.parametrize("name", ESTIMATES)
def test_tracks_take_what_was_estimated(name: str) -> None:
    card = MODEL.cards[name]
    eager, fused = ESTIMATES[name]
    for at, size in enumerate(SIZES):
        assert MODEL.track_s(card, SCALES[size], 1, eager=True) == pytest.approx(
            eager[at], rel=0.05
        )
        if fused is not None:
            assert MODEL.track_s(card, SCALES[size], 1) == pytest.approx(fused[at], rel=0.05)


@pytest.mark.parametrize(("name", "size", "slots", "expected_ms"), LONG_MS)
def test_full_batches_of_long_contexts_take_what_was_estimated(
    name: str, size: str, slots: int, expected_ms: float
) -> None:
    step_s = MODEL.step_s(MODEL.cards[name], SCALES[size], slots, STEPS, eager=True)
    assert 1000 * step_s == pytest.approx(expected_ms, rel=0.05)


def test_no_time_is_below_the_floor() -> None:
    for card in MODEL.cards.values():
        for size in SIZES:
            for together in (1, 16):
                floor = floor_s(card, SCALES[size], together)
                fused = MODEL.track_s(card, SCALES[size], together)
                assert floor < fused < MODEL.track_s(card, SCALES[size], together, eager=True)


@pytest.mark.parametrize(("kernels", "share"), [(9, 0.61), (8, 0.63), (6, 0.68), (5, 0.70)])
def test_the_goal_of_the_small_model_on_an_l40s_takes_five_kernels_a_layer(
    kernels: int, share: float
) -> None:
    """As docs/benchmarks.md explains the goal that is missed."""
    fused = replace(MODEL.kernels["fused"], layer=kernels)
    model = replace(MODEL, kernels=MODEL.kernels | {"fused": fused})
    card = MODEL.cards["L40S"]
    found = floor_s(card, SCALES["small"], 1) / model.track_s(card, SCALES["small"], 1)
    assert found == pytest.approx(share, abs=0.005)


def test_a_floor_is_the_bytes_over_the_bandwidth() -> None:
    """721 MB of weights in a step of the small model, and 0.15 GB of keys and values on average."""
    each = (721.4e6 + 2 * 24 * 2 * 1024 * 2 * 751) / 320e9
    assert floor_s(MODEL.cards["T4"], SCALES["small"], 1) == pytest.approx(1503 * each, rel=1e-3)


def configured() -> list[tuple[str, str, str, int]]:
    """File, size, card and slots of each model in configs/ that names a card and its slots."""
    found = []
    for file in config_files().values():
        args = yaml.safe_load(file.read_text())["applications"][0]["args"]
        for model in AppConfig.model_validate(args).models:
            slots = model.engine_kwargs.max_slots
            if model.accelerator_type is not None and slots is not None:
                found.append((file.stem, model.model_id, model.accelerator_type, slots))
    return found


def test_configured_slots_keep_up_with_the_music() -> None:
    """A full batch of the longest contexts steps faster than the music plays, on the card that is named."""
    found = configured()
    assert {size for file, size, _, _ in found if file == "all"} == set(SIZES)
    for file, size, name, slots in found:
        step_s = MODEL.step_s(MODEL.cards[name], SCALES[size], slots, STEPS)
        assert step_s < FRAME_S, f"{size} in {file}: {1000 * step_s:.1f} ms"
        assert fits(MODEL.cards[name], SCALES[size], slots)


@pytest.mark.parametrize("before", ["a start", "a lone track"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ESTIMATES)
def test_a_crowd_of_streams_gets_the_slots_that_keep_up(name: str, size: str, before: str) -> None:
    """64 streams of 30 s at once, at a replica that has seen no batch: it admits those that a card can serve."""
    card = MODEL.cards[name]
    scale = SCALES[size]
    read_s = _cache_bytes(scale) * scale.num_layers / (_bandwidth(card) * card.bandwidth_share)
    times = StepTimes(read_s / ATTENTION_SHARE)
    for position in range(1, STEPS if before == "a lone track" else 14):
        times.record(1, position, MODEL.step_s(card, scale, 1, position))
    pace = StreamPace(times.expected_s, 1 / FRAME_S)
    batch: list[Sequence] = []
    while len(batch) < MOST_SLOTS and pace.allows([*batch, stream(len(batch))]):
        batch.append(stream(len(batch)))
    if MODEL.step_s(card, scale, 1, STEPS) > FRAME_S * MOST_SHARE:
        assert len(batch) == MOST_SLOTS, "no stream keeps up"
        return
    assert MODEL.step_s(card, scale, len(batch), STEPS) < FRAME_S
    at_hand = next(
        slots
        for slots in range(MOST_SLOTS, 0, -1)
        if MODEL.step_s(card, scale, slots, STEPS) <= MOST_SHARE * FRAME_S
    )
    assert len(batch) >= 0.9 * at_hand - 1


def stream(number: int) -> Sequence:
    request = GenerationRequest(
        request_id="1", model="small", prompt="a", duration_s=30.0, streamed=True
    )
    window = windows(1500, 1500, stride=900, prefix_frames=0)
    nothing = torch.zeros(4, 0)
    return Sequence(number, request, [1], nothing, window, (0, 1, 2, 3), lambda _: None)


def test_the_most_slots_are_found() -> None:
    card = MODEL.cards["L40S"]
    slots = MODEL.slots_that_keep_up(card, SCALES["large"])
    assert MODEL.step_s(card, SCALES["large"], slots, STEPS) <= FRAME_S
    assert MODEL.step_s(card, SCALES["large"], slots + 1, STEPS) > FRAME_S
    assert MODEL.slots_that_keep_up(MODEL.cards["T4"], SCALES["large"]) == 0
    assert MODEL.slots_that_keep_up(MODEL.cards["H100"], SCALES["small"]) == 64
