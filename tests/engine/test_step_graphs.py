"""Steps are captured once for each shape; replays compute the same as eager steps."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.bucket import bucket
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.step_graphs import LENGTH, CudaRecorder, CudaStepper, StepGraphs, Work
from serve_app.models.musicgen.execution import torch_backend
from serve_app.models.musicgen.model import MusicGen
from serve_app.types import SamplingParams
from tests.engine.fake_gpu import fake_gpu, moved_checkpoint, without_streams

STEPS = 264  # some beyond the 256 positions of the first graphs


class Recorder:
    """A recorder without a GPU: its graphs run the work again, and count the replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Work) -> Work:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


def new_runner(model: MusicGen, max_slots: int = 6) -> ModelRunner:
    return ModelRunner(model, torch_backend(model), max_slots, STEPS, max_text_tokens=64)


@pytest.fixture
def runner(nano: Checkpoint) -> ModelRunner:
    return new_runner(nano.musicgen)


def decode(
    checkpoint: Checkpoint,
    runner: ModelRunner,
    step: Callable[[BatchShape], None],
    steps: int = STEPS,
) -> list[torch.Tensor]:
    """The codes of two sequences, the second of which joins halfway."""
    conditioner = Conditioner(
        checkpoint.text_encoder, checkpoint.musicgen, max_tokens=64, cache_size=4
    )
    half = steps // 2
    for slot, first in enumerate((0, half)):
        for done in range(first):
            step(BatchShape(1, bucket(done + 1), 64))
        text = conditioner.encode_here(conditioner.tokenize("lofi beat"))
        runner.start(slot, conditioner.condition(text), SamplingParams(seed=slot))
        runner.open_window(slot, torch.zeros(4, 0, dtype=torch.int64), steps)
    for done in range(half, steps):
        step(BatchShape(2, bucket(done + 1), 64))
    conditioner.shutdown()
    return [runner.codes(0, 0, steps - 3), runner.codes(1, 0, half - 3)]


def replayed_and_eager(checkpoint: Checkpoint, graphs: StepGraphs, runner: ModelRunner) -> Any:
    """The codes of replays, and those of eager steps of the same shapes: `graphs` rounds both.

    No backend promises equal bits for caches of other lengths.
    """
    replayed = decode(checkpoint, runner, graphs.step)
    again = new_runner(checkpoint.musicgen)
    eager = StepGraphs(again.step, again.max_slots, again.max_length, Recorder())
    codes = decode(checkpoint, again, eager.step)
    assert set(eager._graphs) <= set(graphs._graphs), "of equal shapes"
    return [part.tolist() for part in replayed], [part.tolist() for part in codes]


def copied(checkpoint: Checkpoint, device: str) -> Checkpoint:
    """The whole checkpoint on a device."""
    parts = {
        name: copy.deepcopy(getattr(checkpoint, name)).to(device)
        for name in ("musicgen", "codec", "text_encoder")
    }
    return replace(checkpoint, **parts)


def test_a_step_on_a_gpu_reads_no_value_from_it(nano: Checkpoint) -> None:
    """A graph holds no read of a GPU's values. These fake CUDA tensors have no values to read."""
    with fake_gpu():
        with torch.device("cuda"):
            model = MusicGen(nano.musicgen.config)
        runner = new_runner(model, max_slots=4)
        runner.step(BatchShape(slots=3, length=64, text_tokens=64))
        runner.step(BatchShape(slots=4, length=runner.max_length, text_tokens=64, guided=False))
        assert runner.codes(0, 0, 8).device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            runner.is_finite(0)


def test_a_copy_of_a_checkpoint_is_on_the_device_as_a_whole(nano: Checkpoint) -> None:
    """As the test on a GPU moves it. A text encoder left on the CPU fails at the projection."""
    moved = copied(nano, "meta")
    for part in (moved.musicgen, moved.codec, moved.text_encoder):
        assert {weight.device.type for weight in part.parameters()} == {"meta"}


def test_sequences_are_decoded_on_a_gpu_from_text_to_codes(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No operation mixes tensors of the CPU and of the GPU."""
    without_streams(monkeypatch)
    monkeypatch.setattr(ModelRunner, "is_finite", lambda *_: True)
    with fake_gpu():
        checkpoint = moved_checkpoint(nano)
        runner = new_runner(checkpoint.musicgen)
        graphs = StepGraphs(runner.step, runner.max_slots, runner.max_length, Recorder())
        codes = decode(checkpoint, runner, graphs.step, steps=8)
        assert [part.device.type for part in codes] == ["cuda", "cuda"]
        apart = moved_checkpoint(nano, text_device="cpu")
        with pytest.raises(RuntimeError, match="devices, cpu and cuda:0"):
            decode(apart, new_runner(apart.musicgen), runner.step, steps=8)


def test_replayed_steps_draw_the_same_codes_as_eager_steps(
    nano: Checkpoint, runner: ModelRunner
) -> None:
    recorder = Recorder()
    graphs = StepGraphs(runner.step, runner.max_slots, runner.max_length, recorder)
    replayed, eager = replayed_and_eager(nano, graphs, runner)
    assert recorder.recorded == 3, (
        "1 slot up to 256 positions; 2 slots up to 256, and up to the end"
    )
    assert recorder.replayed == STEPS - 3
    assert eager == replayed


def test_few_shapes_serve_all_batches() -> None:
    stepped: list[BatchShape] = []
    recorder = Recorder()
    graphs = StepGraphs(stepped.append, max_slots=12, max_length=1536, record=recorder)
    graphs.record_usual(64, padded_slots=0)
    assert {shape.slots for shape in stepped} == {1, 2, 4, 8, 12}
    assert {shape.length for shape in stepped} == set(range(LENGTH, 1537, LENGTH))
    assert (stepped[0].slots, stepped[0].length) == (12, 1536), "the widest is first"
    usual = recorder.recorded
    assert usual == 5 * 6
    for slots in range(1, 13):
        for length in range(64, 1537, 64):
            graphs.step(BatchShape(slots, length, 64))
    assert recorder.recorded == usual
    graphs.step(BatchShape(3, 640, 128, guided=False))
    assert recorder.recorded == usual + 1, (
        "a long prompt, or one without guidance, is recorded when it comes"
    )


def test_a_shape_never_exceeds_the_runner() -> None:
    stepped: list[BatchShape] = []
    graphs = StepGraphs(stepped.append, max_slots=5, max_length=320, record=Recorder())
    graphs.step(BatchShape(5, 320, 64))
    assert stepped[0][:2] == (5, 320)
    assert {shape.padded_slots for shape in graphs.usual_shapes(64, 5)} == {5}


def failing(_: Work) -> Work:
    raise torch.AcceleratorError("CUDA error: operation failed due to a previous error")


def test_the_number_of_graphs_is_bounded_and_larger_ones_stand_in() -> None:
    stepped: list[BatchShape] = []
    recorder = Recorder()
    graphs = StepGraphs(stepped.append, 4, max_length=1024, record=recorder, max_graphs=3)
    graphs.record_usual(64, padded_slots=0)
    recorded = [shape[:2] for shape in graphs._graphs]
    assert recorded == [(1, 768), (1, 512), (1, 256)], "the widest of 12 are left out"
    stepped.clear()
    graphs.step(BatchShape(1, 400, 64, guided=False))
    assert stepped == [BatchShape(1, 512, 64)], "the narrowest graph that fits"
    assert graphs.eager_steps_total == 0
    for _ in range(2):
        graphs.step(BatchShape(3, 400, 64))
        assert stepped[-1] == BatchShape(4, 512, 64), "none fits"
    assert graphs.eager_steps_total == 2
    assert recorder.recorded == len(graphs._graphs) == 3


def test_without_graphs_every_step_is_eager() -> None:
    stepped: list[BatchShape] = []
    graphs = StepGraphs(stepped.append, 4, max_length=256, record=failing, max_graphs=0)
    graphs.record_usual(64, padded_slots=0)
    assert stepped == []
    graphs.step(BatchShape(1, 64, 64))
    assert len(stepped) == graphs.eager_steps_total == 1


def test_a_shape_whose_capture_fails_runs_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    stepped: list[BatchShape] = []
    attempts: list[Work] = []
    recorder = Recorder()

    def record(work: Work) -> Work:
        attempts.append(work)
        return failing(work) if len(attempts) == 1 else recorder(work)

    graphs = StepGraphs(stepped.append, 1, max_length=512, record=record)
    graphs.record_usual(64, padded_slots=0)
    for _ in range(3):
        graphs.step(BatchShape(1, 300, 64))
    assert len(stepped) == 2 + 3
    assert graphs.eager_steps_total == 3
    assert len(attempts) == 2, "a failed capture is not tried again"
    assert [shape.length for shape in graphs._graphs] == [256]
    assert "runs without one: CUDA error" in caplog.text


def test_a_failed_capture_leaves_the_stream_and_the_allocator_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In place of torch.cuda: its `graph` leaves its stream current where a capture cannot end."""
    current = ["engine's"]
    captured: list[str] = []
    ended: list[str] = []

    @contextlib.contextmanager
    def stream(restored: str) -> Iterator[None]:
        try:
            yield
        finally:
            current[0] = restored

    @contextlib.contextmanager
    def graph(_: object, pool: str, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        captured.append(pool)
        current[0] = "capture's"
        yield
        if len(captured) == 1:
            raise torch.AcceleratorError("CUDA error: operation failed due to a previous error")

    pools = iter(["first", "second"])
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda _, pool: ended.append(pool))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    record = CudaRecorder()
    with pytest.raises(torch.AcceleratorError):
        record(lambda: None)
    assert current == ["engine's"]
    assert ended == ["first"], "or the allocator would keep memory that other streams have used"
    record(lambda: None)
    assert captured == ["first", "second"]
    assert ended == ["first"]


class Graph:
    """In place of torch.cuda.CUDAGraph."""

    def replay(self) -> None:
        raise NotImplementedError


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graphs_draw_the_same_codes_as_eager_steps(nano: Checkpoint) -> None:
    checkpoint = copied(nano, "cuda")
    checkpoint.musicgen.half()
    runner = new_runner(checkpoint.musicgen)
    stepper = CudaStepper(runner.step, runner.max_slots, runner.max_length)
    stepper.record_usual(64, padded_slots=0)
    replayed, eager = replayed_and_eager(checkpoint, stepper, runner)
    assert replayed == eager
