"""Check 2: capture of the step's CUDA graphs for all usual shapes and for unusual ones."""

import contextlib
from collections.abc import Iterable, Iterator

import torch

from benchmarks.gpu_check.clock import seconds
from benchmarks.gpu_check.measurement import Measurement, Setting, at_most, found, holds
from benchmarks.gpu_check.models import SIZES, begin, language_model, new_runner, slots_that_fit
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.step_graphs import CudaStepper, StepGraphs

_MOST_S = 10.0  # for small's usual shapes
_TEXT_TOKENS = 256
_MOST_GRAPHS = 1000  # all that a check steps through


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield seconds, memory and nodes of the graphs of each size.

    Compilation has a time of its own: later processes find the kernels in Triton's cache.
    """
    for size in ("small",) if setting.tiny else SIZES:
        yield from _capture(size, setting)
        if setting.on_gpu:
            torch.cuda.empty_cache()


@torch.inference_mode()
def _capture(size: str, setting: Setting) -> Iterator[Measurement]:
    model, backend = language_model(size, "fp16", setting)
    slots = slots_that_fit(size, setting)
    frames = 60 if setting.tiny else 1500
    runner = new_runner(model, backend, slots, frames, _TEXT_TOKENS)
    begin(runner, slots, frames)
    graphs = stepper(runner, slots, setting)
    usual = list(graphs.usual_shapes(64, 0))
    eager_s = seconds(lambda: _step_each(runner, usual), setting.device)
    yield found(f"{size}: first eager steps, which compile kernels", round(eager_s, 2), "s")
    before = _allocated(setting)
    elapsed_s = seconds(lambda: graphs.record_usual(64, 0), setting.device)
    label = f"{size}, {slots} slots: {len(usual)} usual graphs"
    timed = found(label, round(elapsed_s, 2), "s")
    yield at_most(label, round(elapsed_s, 2), _MOST_S, "s") if size == "small" else timed
    mib = (_allocated(setting) - before) / 2**20 / len(usual)
    yield found(f"{size}: memory of a graph", round(mib, 2), "MiB")
    if setting.on_gpu:
        yield found(f"{size}: nodes of a graph", nodes(runner, usual[-1]))
    unusual = list(_unusual(runner))
    for shape in [*unusual, *usual, *unusual]:
        graphs.step(shape)
    if setting.on_gpu:
        torch.cuda.synchronize(setting.device)
    name = f"{size}: {len(usual)} usual and {len(unusual)} unusual shapes are captured and replayed"
    eager = graphs.eager_steps_total
    yield holds(name, eager == 0, f"{eager} steps without a graph" if eager else "")


def _step_each(runner: ModelRunner, shapes: Iterable[BatchShape]) -> None:
    for shape in shapes:
        runner.step(shape)


def _unusual(runner: ModelRunner) -> Iterator[BatchShape]:
    """Yield unguided batches, and prompts of 128 to 256 tokens."""
    for slots in (1, runner.max_slots):
        yield BatchShape(slots, runner.max_length, 64, guided=False)
        for tokens in (128, 192, 256):
            yield BatchShape(slots, 64, tokens)


def stepper(runner: ModelRunner, slots: int, setting: Setting) -> StepGraphs:
    """Return steps as CUDA graphs; on a CPU, a graph runs its work again."""
    if setting.on_gpu:
        return CudaStepper(runner.step, slots, runner.max_length, _MOST_GRAPHS)
    return StepGraphs(runner.step, slots, runner.max_length, lambda work: work, _MOST_GRAPHS)


def nodes(runner: ModelRunner, shape: BatchShape) -> float | str:
    """Count the nodes of the graph of one step; a text where they cannot be counted."""
    graph = torch.cuda.CUDAGraph(keep_graph=True)
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        runner.step(shape)
    with contextlib.suppress(ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        from cuda.bindings import runtime

        handle = runtime.cudaGraph_t(graph.raw_cuda_graph())
        return int(runtime.cudaGraphGetNodes(handle, 0)[-1])
    return "unknown"


def _allocated(setting: Setting) -> int:
    if not setting.on_gpu:
        return 0
    free, total = torch.cuda.mem_get_info(setting.device)
    return total - free
