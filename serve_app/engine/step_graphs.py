"""A GPU's step as CUDA graphs: recorded once for each shape of the batch, then replayed as a single launch.

A step launches hundreds of kernels, each of which runs for less time than its launch takes the host.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator

import torch

from serve_app.engine.model_runner import BatchShape, bucket

LENGTH = 256  # positions: half of them are read for nothing, on average, which costs less than more graphs would
AHEAD = (
    2  # steps: enough to keep the GPU busy, few enough to let those who come and go be noticed soon
)

Work = Callable[[], None]
Record = Callable[[Work], Work]  # takes work, and returns what does it again, without doing it


class StepGraphs:
    """`step` for batches of up to `max_slots` slots and `max_length` positions.

    Shapes are rounded up, so that few graphs serve all batches. What a wider step computes besides is never read.
    """

    def __init__(
        self, step: Callable[[BatchShape], None], max_slots: int, max_length: int, record: Record
    ) -> None:
        self._step, self._record = step, record
        self._max_slots, self._max_length = max_slots, max_length
        self._graphs: dict[BatchShape, Work] = {}

    def step(self, shape: BatchShape) -> None:
        """One step. The first of a shape runs as it is, which readies its kernels, and is recorded thereafter."""
        shape = self._rounded(shape)
        if (replay := self._graphs.get(shape)) is not None:
            replay()
        else:
            self._step(shape)
            self._graphs[shape] = self._record(lambda: self._step(shape))

    def record_usual(self, padded_slots: int) -> None:
        """Record what prompts of a usual length with guidance need, before anyone waits for it. Widest first: later
        graphs use the memory that earlier ones needed."""
        for shape in self.usual_shapes(padded_slots):
            self.step(shape)

    def usual_shapes(self, padded_slots: int) -> Iterator[BatchShape]:
        """From the widest to the narrowest."""
        slots = sorted(
            {self._rounded_slots(n) for n in range(1, self._max_slots + 1)}, reverse=True
        )
        lengths = sorted(
            {self._rounded_length(n) for n in range(1, self._max_length + 1)}, reverse=True
        )
        for many, length in itertools.product(slots, lengths):
            yield BatchShape(many, length, bucket(1), guided=True, padded_slots=padded_slots)

    def _rounded(self, shape: BatchShape) -> BatchShape:
        return shape._replace(
            slots=self._rounded_slots(shape.slots), length=self._rounded_length(shape.length)
        )

    def _rounded_slots(self, slots: int) -> int:
        """A power of 2, or all."""
        return min(1 << (slots - 1).bit_length(), self._max_slots)

    def _rounded_length(self, length: int) -> int:
        return min(-(-length // LENGTH) * LENGTH, self._max_length)


class CudaRecorder:
    """Records as CUDA graphs. They share their memory, for only one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph, pool=self._pool, capture_error_mode="thread_local"
        ):  # other threads go on
            work()
        return graph.replay


class CudaStepper(StepGraphs):
    """StepGraphs on the present thread's stream, no more than AHEAD steps ahead of the GPU."""

    def __init__(self, step: Callable[[BatchShape], None], max_slots: int, max_length: int) -> None:
        super().__init__(step, max_slots, max_length, CudaRecorder())
        self._events: deque[torch.cuda.Event] = deque()

    def step(self, shape: BatchShape) -> None:
        """One step, launched. Waits for the one AHEAD before it."""
        super().step(shape)
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._events.append(torch.cuda.current_stream().record_event(event))
        if len(self._events) > AHEAD:
            self._events.popleft().synchronize()
