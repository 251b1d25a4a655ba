"""Steps on a GPU as CUDA graphs: captured once for each batch shape, then replayed.

A replay is a single launch. An eager step launches hundreds of kernels, each of which runs for less
time than its launch takes on the host.
"""

import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator

import torch

from serve_app.config.app import MAX_GRAPHS
from serve_app.engine.model_runner import BatchShape

logger = logging.getLogger(__name__)

# Positions. Half a bucket is wasted on average, which costs less than capturing more graphs.
LENGTH = 256
# Steps. Enough to keep the GPU busy, few enough for new and cancelled requests to be noticed soon.
AHEAD = 2

Work = Callable[[], None]
Record = Callable[[Work], Work]  # capture `work`; return its replay


class StepGraphs:
    """Replays of `step` for batches of up to `max_slots` slots and `max_length` positions.

    Shapes are rounded up, so that few graphs serve all batches. The output of slots beyond the
    batch is ignored. Once there are `max_graphs` graphs, a further shape is run by a graph of a
    larger one, or else eagerly, as is a shape whose capture has failed.

    eager_steps_total: steps for which there was no graph and none could be captured.
    """

    def __init__(
        self,
        step: Callable[[BatchShape], None],
        max_slots: int,
        max_length: int,
        record: Record,
        max_graphs: int = MAX_GRAPHS,
    ) -> None:
        self.eager_steps_total = 0
        self._step = step
        self._record = record
        self._max_slots = max_slots
        self._max_length = max_length
        self._max_graphs = max_graphs
        self._graphs: dict[BatchShape, Work] = {}
        self._failed: set[BatchShape] = set()

    def step(self, shape: BatchShape) -> None:
        """Run one step.

        The first of a shape runs eagerly, which loads its kernels, and is captured afterwards.
        """
        shape = self._rounded(shape)
        if (replay := self._replay(shape)) is not None:
            replay()
            return
        self._step(shape)
        if self._may_capture(shape):
            self._capture(shape)
        else:
            self.eager_steps_total += 1

    def record_usual(self, text_tokens: int, padded_slots: int) -> None:
        """Capture the usual shapes, as far as `max_graphs` allows."""
        for shape in self.usual_within_limit(text_tokens, padded_slots):
            self.step(shape)

    def usual_within_limit(self, text_tokens: int, padded_slots: int) -> list[BatchShape]:
        """List the shapes of guided batches whose prompts have up to `text_tokens` tokens.

        The widest shape is first, because later graphs reuse the memory of earlier ones. If they
        are more than `max_graphs`, the widest are left out.
        """
        shapes = list(self.usual_shapes(text_tokens, padded_slots))
        return shapes[max(0, len(shapes) - self._max_graphs) :]

    def usual_shapes(self, text_tokens: int, padded_slots: int) -> Iterator[BatchShape]:
        """Yield the usual shapes, from the widest to the narrowest."""
        slots = sorted(
            {self._rounded_slots(n) for n in range(1, self._max_slots + 1)}, reverse=True
        )
        lengths = sorted(
            {self._rounded_length(n) for n in range(1, self._max_length + 1)}, reverse=True
        )
        for many, length in itertools.product(slots, lengths):
            yield BatchShape(many, length, text_tokens, guided=True, padded_slots=padded_slots)

    def _replay(self, shape: BatchShape) -> Work | None:
        """Return the graph that runs a shape. A larger one's serves where none may be captured."""
        if shape in self._graphs or self._may_capture(shape):
            return self._graphs.get(shape)
        larger = [other for other in self._graphs if _covers(other, shape)]
        return self._graphs[min(larger)] if larger else None

    def _may_capture(self, shape: BatchShape) -> bool:
        return len(self._graphs) < self._max_graphs and shape not in self._failed

    def _capture(self, shape: BatchShape) -> None:
        try:
            self._graphs[shape] = self._record(lambda: self._step(shape))
        except RuntimeError as error:  # a device that has failed fails the next step, too
            logger.warning("No CUDA graph of %s, which runs without one: %s", shape, error)
            self._failed.add(shape)

    def _rounded(self, shape: BatchShape) -> BatchShape:
        return shape._replace(
            slots=self._rounded_slots(shape.slots), length=self._rounded_length(shape.length)
        )

    def _rounded_slots(self, slots: int) -> int:
        """Round up to a power of 2, or to all slots."""
        return min(1 << (slots - 1).bit_length(), self._max_slots)

    def _rounded_length(self, length: int) -> int:
        return min(-(-length // LENGTH) * LENGTH, self._max_length)


def _covers(larger: BatchShape, shape: BatchShape) -> bool:
    """Return whether a step of the shape `larger` advances a batch of `shape` as well."""
    return all(ours >= theirs for ours, theirs in zip(larger, shape, strict=True))


class CudaRecorder:
    """Captures CUDA graphs. They share one memory pool, because only one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # After a failure torch.cuda.graph leaves its own stream as the current one.
        stream = torch.cuda.stream(torch.cuda.current_stream())
        # thread_local: other threads go on using the GPU during the capture.
        capture = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
        try:
            with stream, capture:
                work()
        except RuntimeError:
            self._abandon_pool()
            raise
        return graph.replay

    def _abandon_pool(self) -> None:
        """Let the next capture use a new pool, after a failed one.

        A capture that could not be ended leaves the allocator in its state of a capture, in which
        it takes back no memory that several streams have used, and no further capture of the pool.
        """
        with contextlib.suppress(RuntimeError):  # the capture was ended
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
        self._pool = torch.cuda.graph_pool_handle()


class CudaStepper(StepGraphs):
    """StepGraphs on the calling thread's stream, at most AHEAD steps ahead of the GPU."""

    def __init__(
        self,
        step: Callable[[BatchShape], None],
        max_slots: int,
        max_length: int,
        max_graphs: int = MAX_GRAPHS,
    ) -> None:
        super().__init__(step, max_slots, max_length, CudaRecorder(), max_graphs)
        self._events: deque[torch.cuda.Event] = deque()

    def step(self, shape: BatchShape) -> None:
        """Launch one step, and wait for the one AHEAD before it."""
        super().step(shape)
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._events.append(torch.cuda.current_stream().record_event(event))
        if len(self._events) > AHEAD:
            self._events.popleft().synchronize()
