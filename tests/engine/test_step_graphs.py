"""Steps are captured once for each shape; replays compute the same as eager steps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.model_runner import BatchShape, ModelRunner, bucket
from serve_app.engine.step_graphs import LENGTH, CudaStepper, StepGraphs
from serve_app.models.musicgen.execution import torch_backend
from serve_app.models.musicgen.model import MusicGen
from serve_app.types import SamplingParams

STEPS = 300
NOTHING = torch.zeros(4, 0, dtype=torch.int64)


class Recorder:
    """A recorder without a GPU: its graphs run the work again, and count the replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
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
    nano: Checkpoint, runner: ModelRunner, step: Callable[[BatchShape], None]
) -> list[list[Any]]:
    """The codes of two sequences, the second of which joins halfway."""
    conditioner = Conditioner(nano.text_encoder, nano.musicgen, max_tokens=64, cache_size=4)
    for slot, first in enumerate((0, STEPS // 2)):
        if first:
            for done in range(first):
                step(BatchShape(1, bucket(done + 1), 64))
        text = conditioner.encode_here(conditioner.tokenize("lofi beat"))
        runner.start(slot, conditioner.condition(text), SamplingParams(seed=slot))
        runner.open_window(slot, NOTHING, STEPS)
    for done in range(STEPS // 2, STEPS):
        step(BatchShape(2, bucket(done + 1), 64))
    return [runner.codes(0, 0, STEPS - 3).tolist(), runner.codes(1, 0, STEPS // 2 - 3).tolist()]


def test_a_step_on_a_gpu_reads_no_value_from_it(nano: Checkpoint) -> None:
    """A graph holds no read of a GPU's values. These fake CUDA tensors have no values to read."""
    with FakeTensorMode(), torch.inference_mode():
        with torch.device("cuda"):
            model = MusicGen(nano.musicgen.config)
        runner = new_runner(model, max_slots=4)
        runner.step(BatchShape(slots=3, length=64, text_tokens=64))
        runner.step(BatchShape(slots=4, length=runner.max_length, text_tokens=64, guided=False))
        assert runner.codes(0, 0, 8).device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            runner.is_finite(0)


def test_replayed_steps_draw_the_same_codes_as_eager_steps(
    nano: Checkpoint, runner: ModelRunner
) -> None:
    recorder = Recorder()
    graphs = StepGraphs(runner.step, runner.max_slots, runner.max_length, recorder)
    replayed = decode(nano, runner, graphs.step)
    assert recorder.recorded == 3, (
        "1 slot up to 256 positions; 2 slots up to 256, and up to the end"
    )
    assert recorder.replayed == STEPS - 3
    again = new_runner(nano.musicgen)
    assert decode(nano, again, again.step) == replayed


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graphs_draw_the_same_codes_as_eager_steps(nano: Checkpoint) -> None:
    musicgen = nano.musicgen.to("cuda", torch.float16)
    try:
        runner, eager = (new_runner(musicgen) for _ in range(2))
        stepper = CudaStepper(runner.step, runner.max_slots, runner.max_length)
        stepper.record_usual(64, padded_slots=0)
        assert decode(nano, runner, stepper.step) == decode(nano, eager, eager.step)
    finally:
        nano.musicgen.to("cpu", torch.float32)
