"""The engine's thread: an inbox, and the loop that schedules, steps and sends.

The thread owns all state. Other threads reach it through the inbox alone.
"""

import logging
import queue
import threading
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.batch import Batch
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.cuda_streams import use_own_stream
from serve_app.engine.device import available_threads
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.pace import StreamPace
from serve_app.engine.progress_reporter import ProgressReporter
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.stats_board import StatsBoard
from serve_app.engine.throughput import Throughput
from serve_app.errors import GenerationFailed, ReplicaFailed, RequestAborted, ServeAppError
from serve_app.models.audioseal.watermark import Watermark
from serve_app.models.multiband_diffusion import MultiBandDiffusion

logger = logging.getLogger(__name__)

Message = Callable[[], None]


class EngineLoop:
    """Runs sequences in a thread of its own, which begins with the object.

    graphs_s: seconds that capturing CUDA graphs took; failure: the error that ended the thread.
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
        self.graphs_s = 0.0
        self.stopping = False
        self.failure: BaseException | None = None
        self._num_threads = config.num_threads or available_threads()
        self._conditioner = conditioner
        self._throughput = Throughput(position_s)
        self._scheduler = self._new_scheduler(config, checkpoint.frame_rate)
        self._output = OutputProcessor(checkpoint, config, self.fail, watermark, diffusion)
        rate = checkpoint.frame_rate
        self._progress = ProgressReporter(
            self._scheduler, self._throughput, rate, lambda: self._output.final_s
        )
        self.stats = StatsBoard(
            self._scheduler,
            self._throughput,
            rate,
            batch.runner.kv_cache_bytes,
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

    def add_request(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Its sink is called with each item of the stream, or with the error that ends it.
        """
        self._inbox.put(lambda: self._add(sequence))
        if self.stopping:  # the thread may have emptied its inbox for the last time
            sequence.sink(stopping_error())

    def abort_request(self, sequence: Sequence) -> None:
        """End a sequence within one step. Has no effect on one that has ended."""
        self._inbox.put(lambda: self._abort(sequence))

    def record_graphs(self) -> None:
        """Capture the CUDA graphs of the usual batches before the next sequence starts."""
        self._inbox.put(self._record_graphs)

    def fail(self, error: Exception) -> None:
        """End the engine after an error of another thread; it is no longer alive at once."""
        self.failure = self.failure or error
        self._inbox.put(self._stop)

    def shutdown(self) -> None:
        """End the thread and all sequences. Blocks until the step in progress is over."""
        self._inbox.put(self._stop)
        self._thread.join()

    # Called in the engine's thread

    def _run(self) -> None:
        try:
            torch.set_num_threads(self._num_threads)
            use_own_stream(self.batch.runner.device)
            while not self.stopping:
                self._drain_inbox(block=self._scheduler.idle)
                self._step()
        except Exception as error:  # health checks report it, and the replica is replaced
            logger.exception("The engine's step failed; the engine ends")
            self.failure = self.failure or error
        self.stopping = True
        self._drain_inbox(block=False)
        self._output.shutdown()
        self._end_all()

    def _drain_inbox(self, block: bool) -> None:
        if block:
            self._throughput.rest()
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        for sequence in self._scheduler.schedule():
            self.batch.start(sequence)
            self._output.open(sequence)
        if (filling := self._scheduler.filling) is not None:
            self._prefill(filling)
        if self._scheduler.decoding:
            self._decode()
        self._progress.report()
        self.stats.publish(
            self._output.codec_s, self._conditioner.text_encoder_s, self.batch.eager_steps_total
        )

    def _prefill(self, sequence: Sequence) -> None:
        """Fill a sequence's cache for as long as a step takes, while others wait for their steps."""
        units = sequence.prefill_units
        started_at = perf_counter()
        limited = bool(self._scheduler.decoding)
        self.batch.prefill(sequence, self._throughput.step_s if limited else None)
        elapsed_s = perf_counter() - started_at
        self._throughput.record_prefill(units - sequence.prefill_units, elapsed_s)

    def _decode(self) -> None:
        started_at = perf_counter()
        self.batch.step(self._scheduler.slots_in_reach, self._scheduler.running.values())
        stepped = self._scheduler.update()
        due = [
            (sequence, self.batch.codes(sequence, frames))
            for sequence in stepped
            if (frames := self._output.due(sequence)) is not None
        ]
        self._record_step(stepped, perf_counter() - started_at)
        for sequence, codes in due:
            self._emit(sequence, codes)

    def _record_step(self, stepped: list[Sequence], step_s: float) -> None:
        positions = sum(sequence.positions for sequence in stepped)
        self._throughput.record_step(len(stepped), step_s, positions)
        for sequence in stepped:
            sequence.record_step(step_s, step_s / len(stepped))

    def _new_scheduler(self, config: EngineConfig, frame_rate: float) -> Scheduler:
        runner = self.batch.runner
        keep_pace = config.keep_pace
        if keep_pace is None:
            keep_pace = runner.device.type == "cuda"
        if not keep_pace:
            return Scheduler(runner.max_slots)
        return Scheduler(
            runner.max_slots, StreamPace(self._throughput.expected_s, frame_rate).allows
        )

    def _emit(self, sequence: Sequence, codes: Tensor | None) -> None:
        """Send codes that are due, then end the sequence or slide its window.

        codes: None for output that is not finite, which ends the sequence.
        """
        if codes is None:
            reason = "the model's output is not finite; try other sampling parameters"
            self._end(sequence, GenerationFailed(reason))
            return
        self._output.send(sequence, codes)
        if sequence.finished:
            self._end(sequence)
        elif sequence.window_finished:
            self.batch.slide(sequence)

    def _add(self, sequence: Sequence) -> None:
        if self.stopping:
            sequence.sink(stopping_error())
        else:
            self._scheduler.add_request(sequence)
            self._throughput.record_request(sequence.request.duration_s)

    def _abort(self, sequence: Sequence) -> None:
        self._output.abort(sequence)
        self._end(sequence, RequestAborted("The request was cancelled."))

    def _end(self, sequence: Sequence, error: ServeAppError | None = None) -> None:
        """Remove a sequence, waiting or running. Has no effect on one that has ended."""
        if self._scheduler.abort_request(sequence.sequence_id) is None:
            return
        if sequence.slot is not None and not self.stopping:  # the device may have failed
            self.batch.stop(sequence)
            self._output.close(sequence)
        if error is not None:
            sequence.sink(error)

    def _end_all(self) -> None:
        for sequence in self._scheduler.clear():
            sequence.sink(
                ReplicaFailed(
                    "The replica failed during this request. The same request may be sent again."
                )
            )

    def _record_graphs(self) -> None:
        if self.stopping:
            return
        started_at = perf_counter()
        self.batch.record_graphs()
        if self.batch.runner.device.type == "cuda":
            self.graphs_s = perf_counter() - started_at

    def _stop(self) -> None:
        self.stopping = True


def stopping_error() -> ReplicaFailed:
    """Return the error of a request to an engine that is stopping."""
    return ReplicaFailed("The replica is stopping. The same request may be sent again.")
