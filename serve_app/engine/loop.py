"""The engine's thread: an inbox, and the loop that schedules, steps and sends.

The thread owns all state. Other threads reach it through the inbox alone.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.batch import Batch
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.cuda_streams import use_own_stream
from serve_app.engine.device import available_threads, is_device_failure
from serve_app.engine.lane import Lane
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.stats_board import StatsBoard
from serve_app.engine.step_watch import StepWatch
from serve_app.engine.throughput import Throughput
from serve_app.engine.warm_ups import WarmUps, settle
from serve_app.errors import ReplicaFailed, RequestAborted
from serve_app.models.audioseal.watermark import Watermark
from serve_app.models.multiband_diffusion import MultiBandDiffusion

logger = logging.getLogger(__name__)

Message = Callable[[], None]
T = TypeVar("T")
FIRST = ""  # name of the first lane


class EngineLoop:
    """Runs sequences in a thread of its own, which begins with the object.

    Each checkpoint has a lane, and lanes take turns. The first one, of `batch`, has no name.

    failure: the error that ended the thread.
    position_s: of `position_read_s`, by which the pace of larger batches is predicted.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        batch: Batch,
        conditioner: Conditioner,
        watermark: Watermark | None = None,
        position_s: float = 0.0,
        diffusion: MultiBandDiffusion | None = None,
    ) -> None:
        self.batch = batch
        self.stopping = False
        self.failure: BaseException | None = None
        self.step_watch = StepWatch()
        self._device = batch.runner.device
        self._num_threads = config.num_threads or available_threads()
        self._keep_pace = config.keep_pace
        self._frame_rate = checkpoint.frame_rate
        self._conditioner = conditioner
        self._throughput = Throughput(position_s)
        self._output = OutputProcessor(checkpoint, config, self.fail, watermark, diffusion)
        self._lanes: dict[str, Lane] = {FIRST: self._new_lane(FIRST, batch)}
        self._warm_ups = WarmUps()
        self.stats = StatsBoard(
            self._schedulers,
            self._throughput,
            checkpoint.frame_rate,
            lambda: sum(lane.batch.runner.kv_cache_bytes for lane in self._lanes.values()),
            lambda: (self._output.streamed_chunks, self._output.late_chunks),
            lambda: self._output.pending_frames,
        )
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="musicgen-engine", daemon=True)
        self._thread.start()

    # Called from any thread

    @property
    def alive(self) -> bool:
        return self.failure is None and self._thread.is_alive()

    @property
    def graphs_s(self) -> float:
        """Seconds that capturing CUDA graphs took."""
        return self._warm_ups.busy_s if self._device.type == "cuda" else 0.0

    def add_request(self, sequence: Sequence) -> None:
        """Queue a sequence in its lane.

        Its sink is called with each item of the stream, or with the error that ends it.
        """
        self._inbox.put(lambda: self._add(sequence))
        if self.stopping:  # the thread may have emptied its inbox for the last time
            sequence.sink(stopping_error())

    def abort_request(self, sequence: Sequence) -> None:
        """End a sequence within one step. Has no effect on one that has ended."""
        self._inbox.put(lambda: self._abort(sequence))

    def add_lane(self, name: str, batch: Batch) -> Future[None]:
        """Give a checkpoint a lane, warm, between the steps of the others.

        The future raises ReplicaFailed if the engine ends before.
        """
        return self._post(lambda future: self._add_lane(name, batch, future))

    def remove_lane(self, name: str) -> Future[Batch]:
        """Take a lane away, which has no sequences; the future returns its batch.

        The caller then has the last reference to the batch, and frees its memory.
        """
        return self._post(lambda future: settle(future, self._lanes.pop(name).batch))

    def warm_up(self) -> Future[None]:
        """Capture the CUDA graphs of the first lane's usual batches before its first sequence."""
        return self._post(lambda future: self._warm_up(FIRST, future))

    def fail(self, error: Exception) -> None:
        """End the engine after an error of another thread; it is no longer alive at once."""
        self.failure = self.failure or error
        self._inbox.put(self._stop)

    def shutdown(self) -> None:
        """End the thread and all sequences. Blocks until the step in progress is over."""
        self._inbox.put(self._stop)
        self._thread.join()

    def _post(self, task: Callable[[Future[T]], None]) -> Future[T]:
        future: Future[T] = Future()
        self._inbox.put(lambda: self._answer(task, future))
        if self.stopping:  # as in add_request
            settle(future, stopping_error())
        return future

    # Called in the engine's thread

    def _run(self) -> None:
        try:
            torch.set_num_threads(self._num_threads)
            use_own_stream(self._device)
            while not self.stopping:
                self._drain_inbox(block=self._idle)
                with self.step_watch:
                    self._step()
        except Exception as error:  # health checks report it, and the replica is replaced
            logger.exception("The engine's step failed; the engine ends")
            self.failure = self.failure or error
        self.stopping = True
        with self.step_watch:
            self._drain_inbox(block=False)
            self._output.shutdown()
            self._end_all()

    @property
    def _idle(self) -> bool:
        return not self._warm_ups and all(lane.scheduler.idle for lane in self._lanes.values())

    def _drain_inbox(self, block: bool) -> None:
        if block:
            self._throughput.rest()
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        for lane in self._lanes.values():
            if not lane.scheduler.idle:
                lane.step()
        self._warm_ups.go_on()
        self.stats.publish(
            self._output.codec_s,
            self._conditioner.text_encoder_s,
            sum(lane.batch.eager_steps_total for lane in self._lanes.values()),
        )

    def _answer(self, task: Callable[[Future[T]], None], future: Future[T]) -> None:
        if self.stopping:
            settle(future, stopping_error())
            return
        try:
            task(future)
        except Exception as error:
            settle(future, error)
            raise

    def _new_lane(self, name: str, batch: Batch) -> Lane:
        keep_pace = self._device.type == "cuda" if self._keep_pace is None else self._keep_pace
        return Lane(
            batch,
            self._output,
            self._throughput,
            self._frame_rate,
            keep_pace,
            lambda: sum(lane.step_s for other, lane in self._lanes.items() if other != name),
            lambda: any(lane.scheduler.decoding for lane in self._lanes.values()),
        )

    def _schedulers(self) -> list[Scheduler]:
        return [lane.scheduler for lane in self._lanes.values()]

    def _add_lane(self, name: str, batch: Batch, future: Future[None]) -> None:
        self._lanes[name] = self._new_lane(name, batch)
        self._warm_up(name, future)

    def _warm_up(self, name: str, future: Future[None]) -> None:
        units = self._lanes[name].batch.warm_up()
        self._warm_ups.add(units, future, lambda error: self._give_up(name, error))

    def _give_up(self, name: str, error: Exception) -> None:
        """Do without a lane that cannot be warmed up, unless the engine cannot do without it."""
        if name == FIRST or is_device_failure(error, self._device):
            raise error
        del self._lanes[name]

    def _add(self, sequence: Sequence) -> None:
        if self.stopping:
            sequence.sink(stopping_error())
        else:
            self._lanes[sequence.lane].scheduler.add_request(sequence)
            self._throughput.record_request(sequence.request.duration_s)

    def _abort(self, sequence: Sequence) -> None:
        self._output.abort(sequence)
        if (lane := self._lanes.get(sequence.lane)) is not None:
            error = RequestAborted("The request was cancelled.")
            lane.end(sequence, error, is_stopping=self.stopping)

    def _end_all(self) -> None:
        self._warm_ups.cancel(stopping_error())
        for scheduler in self._schedulers():
            for sequence in scheduler.clear():
                sequence.sink(
                    ReplicaFailed("The replica failed. The same request may be sent again.")
                )

    def _stop(self) -> None:
        self.stopping = True


def stopping_error() -> ReplicaFailed:
    """Return the error of a request to an engine that is stopping."""
    return ReplicaFailed("The replica is stopping. The same request may be sent again.")
