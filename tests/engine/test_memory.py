"""Slots: the bytes of one slot, and the slots that fit."""

from typing import Any

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import MAX_GRAPHS, MOST_SLOTS, EngineConfig
from serve_app.engine import memory
from serve_app.engine.memory import CPU_SLOTS, RESERVED, default_slots, fitting_slots, slot_bytes
from serve_app.engine.model_runner import ModelRunner, max_positions
from serve_app.engine.step_graphs import StepGraphs
from serve_app.models.chroma import MelodyConfig
from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.execution import TorchBackend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from tests.engine.fake_gpu import fake_gpu, moved


@pytest.mark.parametrize(
    ("free", "slots"),
    [(RESERVED + 10, 10), (RESERVED + 19, 19), (2**50, MOST_SLOTS), (0, 1), (RESERVED + 1, 1)],
)
def test_slots_fill_the_free_memory(free: int, slots: int) -> None:
    assert fitting_slots(free, 1) == slots


@pytest.mark.parametrize("int8_cache", [False, True])
def test_a_slots_bytes_equal_the_runners_allocation(nano: Checkpoint, int8_cache: bool) -> None:
    backend = TorchBackend(nano.musicgen.embedding.weight, int8_cache)
    runner = ModelRunner(nano.musicgen, backend, 3, max_frames=300, max_text_tokens=100)
    assert runner._texts is not None
    allocated = runner.kv_cache_bytes + runner._texts.nbytes
    assert slot_bytes(nano.musicgen, 300, 100, int8_cache) == allocated / 3


def test_a_cpu_has_its_own_default(nano: Checkpoint) -> None:
    assert nano.musicgen.embedding.weight.device == torch.device("cpu")
    assert default_slots(nano.musicgen, EngineConfig(), 300) == CPU_SLOTS


@pytest.mark.parametrize(
    ("share", "free", "graphs", "slots"),
    [
        (1.0, 30, 0, 28),
        (1.0, 30, 128, 25),
        (0.5, 30, 0, 13),  # 20 GiB less 5 of weights
        (0.5, 10, 0, 8),  # other processes use more than their share
        (0.25, 30, 0, 3),
        (0.01, 30, 0, 1),
    ],
)
def test_a_replica_takes_its_share_of_the_card(
    nano: Checkpoint,
    share: float,
    free: int,
    graphs: int,
    slots: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a card of 40 GiB, of which the weights take 5, with slots of 1 GiB."""
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * gib, 40 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5 * gib)
    monkeypatch.setattr(memory, "slot_bytes", lambda *_: gib)
    with fake_gpu():
        model = moved(nano.musicgen)
        assert default_slots(model, EngineConfig(max_graphs=graphs), 300, share) == slots


def test_an_8_bit_cache_leaves_room_for_more_slots(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 20 * slot_bytes(nano.musicgen, 300, 256)
    config = EngineConfig(max_graphs=0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (RESERVED + room, 40 * 2**30))
    with fake_gpu():
        model = moved(nano.musicgen)
        assert default_slots(model, config, 300) == 20
        narrow = config.model_copy(update={"kv_cache": "int8"})
        assert default_slots(model, narrow, 300) > 20


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({"multiband_diffusion_source": "folder", "max_duration_s": 30.0}, 20),
        ({"multiband_diffusion_source": "folder", "max_duration_s": 195.0}, 12),
        ({"melody_stems": "demucs"}, 18),
        ({}, 21),
    ],
)
def test_a_second_decoder_and_demucs_take_memory_of_slots(
    nano: Checkpoint, options: dict[str, Any], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of slots of 1 GiB: 48 MiB for each second of the longest track, and 3 GiB."""
    gib = 2**30
    free = RESERVED + 20 * gib + memory.DIFFUSION_BYTES * 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 * gib))
    monkeypatch.setattr(memory, "slot_bytes", lambda *_: gib)
    config = EngineConfig(max_graphs=0, **options)
    with fake_gpu():
        assert default_slots(moved(nano.musicgen), config, 300) == slots


@pytest.mark.parametrize(("size", "positions"), [((1536, 48, 24), 2048), ((2048, 48, 32), 2048)])
def test_a_published_melody_model_has_slots_of_2048_positions_and_no_text(
    size: tuple[int, int, int], positions: int
) -> None:
    """235 of chroma, 256 of text, and 30 s of codes; in fp16, in both rows."""
    hidden_size, layers, heads = size
    with torch.device("meta"):
        config = MusicGenConfig(
            TransformerConfig(hidden_size, layers, heads, 4 * hidden_size),
            4, 2048, (0, 1, 2, 3), 1, 768,
            conditioning=ConditioningSpec(text="prefix", prefix_positions=235),
            melody=MelodyConfig(),
        )  # fmt: skip
        model = MusicGen(config).half()
    assert max_positions(model, 1500, 256) == positions
    assert slot_bytes(model, 1500, 256) == 2 * positions * 2 * layers * hidden_size * 2
    graphs = StepGraphs(lambda _: None, MOST_SLOTS, positions, lambda work: work)
    shapes = list(graphs.usual_shapes(0, 0))
    assert max(shape.length for shape in shapes) == positions
    assert len(shapes) <= MAX_GRAPHS
