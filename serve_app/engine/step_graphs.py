"""Steps on a GPU as CUDA graphs: captured once for each batch shape, then replayed.

A replay is a single launch. An eager step launches hundreds of kernels, each of which runs for less
time than its launch takes on the host.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator

import torch

from serve_app.engine.model_runner import BatchShape

# Positions. Half a bucket is wasted on average, which costs less than capturing more graphs.
LENGTH = 256
# Steps. Enough to keep the GPU busy, few enough for new and cancelled requests to be noticed soon.
AHEAD = 2

Work = Callable[[], None]
Record = Callable[[Work], Work]  # capture `work`; return its replay


class StepGraphs:
    """Replays of `step` for batches of up to `max_slots` slots and `max_length` positions.

    Shapes are rounded up, so that few graphs serve all batches. The output of slots beyond the
    batch is ignored.
    """

    def __init__(
        self, step: Callable[[BatchShape], None], max_slots: int, max_length: int, record: Record
    ) -> None:
        self._step = step
        self._record = record
        self._max_slots = max_slots
        self._max_length = max_length
        self._graphs: dict[BatchShape, Work] = {}

    def step(self, shape: BatchShape) -> None:
        """Run one step.

        The first of a shape runs eagerly, which loads its kernels, and is captured afterwards.
        """
        shape = self._rounded(shape)
        if (replay := self._graphs.get(shape)) is not None:
            replay()
        else:
            self._step(shape)
            self._graphs[shape] = self._record(lambda: self._step(shape))

    def record_usual(self, text_tokens: int, padded_slots: int) -> None:
        """Capture the shapes of guided batches whose prompts have up to `text_tokens` tokens.

        The widest shape is first, because later graphs reuse the memory of earlier ones.
        """
        for shape in self.usual_shapes(text_tokens, padded_slots):
            self.step(shape)

    def usual_shapes(self, text_tokens: int, padded_slots: int) -> Iterator[BatchShape]:
        """Yield the shapes that `record_usual` captures, from the widest to the narrowest."""
        slots = sorted(
            {self._rounded_slots(n) for n in range(1, self._max_slots + 1)}, reverse=True
        )
        lengths = sorted(
            {self._rounded_length(n) for n in range(1, self._max_length + 1)}, reverse=True
        )
        for many, length in itertools.product(slots, lengths):
            yield BatchShape(many, length, text_tokens, guided=True, padded_slots=padded_slots)

    def _rounded(self, shape: BatchShape) -> BatchShape:
        return shape._replace(
            slots=self._rounded_slots(shape.slots), length=self._rounded_length(shape.length)
        )

    def _rounded_slots(self, slots: int) -> int:
        """Round up to a power of 2, or to all slots."""
        return min(1 << (slots - 1).bit_length(), self._max_slots)

    def _rounded_length(self, length: int) -> int:
        return min(-(-length // LENGTH) * LENGTH, self._max_length)


class CudaRecorder:
    """Captures CUDA graphs. They share one memory pool, because only one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads go on using the GPU during the capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            work()
        return graph.replay


class CudaStepper(StepGraphs):
    """StepGraphs on the calling thread's stream, at most AHEAD steps ahead of the GPU."""

    def __init__(self, step: Callable[[BatchShape], None], max_slots: int, max_length: int) -> None:
        super().__init__(step, max_slots, max_length, CudaRecorder())
        self._events: deque[torch.cuda.Event] = deque()

    def step(self, shape: BatchShape) -> None:
        """Launch one step, and wait for the one AHEAD before it."""
        super().step(shape)
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._events.append(torch.cuda.current_stream().record_event(event))
        if len(self._events) > AHEAD:
            self._events.popleft().synchronize()
