"""The engine: continuous batching of music generation in a thread of its own.

The thread owns all state. Others reach it through the inbox alone: a request goes in, its audio comes out of an async
iterator chunk by chunk while it is being made, and leaving the iterator, for whatever reason, frees the slot.

A process with an engine keeps PyTorch's other threads out of its way with `torch.set_num_threads(1)` before it loads a
model: a second OpenMP pool on the same cores makes both sleep between operations, which slows every step.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from time import perf_counter

import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config import EngineConfig
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.cuda_streams import use_own_stream
from serve_app.engine.device import available_threads
from serve_app.engine.input_processor import InputProcessor
from serve_app.engine.memory import default_slots
from serve_app.engine.model_runner import BatchShape, ModelRunner, bucket
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.progress_reporter import ProgressReporter
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.step_graphs import CudaStepper
from serve_app.engine.throughput import WINDOW_S, Throughput
from serve_app.errors import GenerationFailed, ReplicaFailed, RequestAborted, ServeAppError
from serve_app.models.musicgen.cpu import is_fitted, precision_of
from serve_app.types import AudioChunk, EngineStats, GenerationRequest, LoadedModel

logger = logging.getLogger(__name__)

Message = Callable[[], None]
_STOPPING = "The replica is stopping. The same request may be sent again."


class Engine:
    """One loaded model, serving many requests at once."""

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self.checkpoint, self.config = checkpoint, config
        self.conditioner = Conditioner(
            checkpoint.text_encoder,
            checkpoint.musicgen,
            config.max_prompt_tokens,
            config.prompt_cache_size,
        )
        self.input_processor = InputProcessor(checkpoint, self.conditioner, config.max_duration_s)
        musicgen, frames, tokens = (
            checkpoint.musicgen,
            self.input_processor.window_frames,
            config.max_prompt_tokens,
        )
        slots = config.max_slots or default_slots(musicgen, frames, tokens)
        self.scheduler = Scheduler(slots)
        self.model_runner = runner = ModelRunner(musicgen, slots, frames, tokens)
        pinned = config.pin_batch_shape and not is_fitted(
            musicgen
        )  # whose rows do not depend on how many there are
        self._padded_slots = slots if pinned else 0
        on_gpu = runner.device.type == "cuda"
        self._stepper = CudaStepper(runner.step, slots, runner.max_length) if on_gpu else runner
        self._output = OutputProcessor(checkpoint, config, self._fail)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.graphs_s = 0.0  # what recording them took
        self._stopping = False
        self._failure: BaseException | None = None
        self._throughput = Throughput()
        self._progress = ProgressReporter(self.scheduler, self._throughput, checkpoint)
        self._stats = EngineStats(slots)
        self._stats_at = perf_counter()
        self._thread = threading.Thread(target=self._run, name="musicgen-engine", daemon=True)
        self._thread.start()

    # Called from any thread

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """The request's audio, in order; the last chunk has a finish reason.

        Raises InvalidRequest before anything is queued, GenerationFailed when this sequence alone failed, and
        ReplicaFailed when the engine did.
        """
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[AudioChunk | ServeAppError] = asyncio.Queue()

        def sink(item: AudioChunk | ServeAppError) -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop may be closed
                loop.call_soon_threadsafe(chunks.put_nowait, item)

        if self._stopping:
            raise ReplicaFailed(_STOPPING)
        sequence = await self.input_processor.process(request, sink)
        self.add_request(sequence)
        try:
            while True:
                item = await chunks.get()
                if isinstance(item, ServeAppError):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            self.abort_request(sequence)

    def add_request(self, sequence: Sequence) -> None:
        """Queue a sequence; its sink is called from the engine's thread with each chunk, or with an error."""
        self._inbox.put(lambda: self._add(sequence))
        if self._stopping:  # the thread may have emptied its inbox for the last time
            sequence.sink(ReplicaFailed(_STOPPING))

    def abort_request(self, sequence: Sequence) -> None:
        """Free whatever a sequence holds, within one step. Has no effect on one that has ended."""
        self._inbox.put(lambda: self._end(sequence, RequestAborted("The request was cancelled.")))

    def warm_up(self, duration_s: float = 0.5) -> None:
        """Make a short piece, so that the first request finds everything allocated and compiled. Blocks. On a GPU, the
        graphs of its steps are recorded before."""
        self._inbox.put(self._record_graphs)
        done: queue.SimpleQueue[AudioChunk | ServeAppError] = queue.SimpleQueue()
        duration_s = min(duration_s, self.input_processor.max_duration_s)
        request = GenerationRequest(
            request_id="warm-up", model="", prompt="music", duration_s=duration_s
        )
        self.add_request(self.input_processor.process_here(request, done.put))
        while True:
            item = done.get()
            if isinstance(item, ServeAppError):
                raise self._failure or item
            if item.finish_reason is not None:
                return

    def describe(self) -> LoadedModel:
        musicgen = self.checkpoint.musicgen
        return LoadedModel(
            sample_rate=self.checkpoint.sample_rate,
            channels=self.checkpoint.audio_channels,
            frame_rate=self.checkpoint.frame_rate,
            max_duration_s=self.input_processor.max_duration_s,
            parameters=musicgen.num_parameters,
            device=musicgen.embedding.weight.device.type,
            precision=precision_of(musicgen),
        )

    def stats(self) -> EngineStats:
        """A snapshot that the engine's thread made after its last step."""
        stale = perf_counter() - self._stats_at > WINDOW_S
        return replace(self._stats, steps_per_s=0.0, real_time_factor=0.0) if stale else self._stats

    def check_health(self) -> None:
        """Raises ReplicaFailed once the engine can no longer serve."""
        if self._failure is not None or not self._thread.is_alive():
            raise ReplicaFailed("The engine has stopped after a failure.")

    def shutdown(self) -> None:
        """End the thread; what was running ends with ReplicaFailed. Blocks until the step in progress is over."""
        self._inbox.put(self._stop)
        self._thread.join()
        self.conditioner.shutdown()

    # Called in the engine's thread

    def _run(self) -> None:
        torch.set_num_threads(self.config.num_threads or available_threads())
        use_own_stream(self.model_runner.device)
        try:
            while not self._stopping:
                self._drain_inbox(block=self.scheduler.idle)
                self._step()
        except Exception as error:  # the thread ends here; health checks see it
            logger.exception("The engine's step failed")
            self._failure = error
        self._stopping = True
        self._drain_inbox(block=False)
        self._output.shutdown()
        self._end_all(
            ReplicaFailed(
                "The replica failed while it made this piece. The same request may be sent again."
            )
        )

    def _record_graphs(self) -> None:
        if isinstance(self._stepper, CudaStepper):
            started_at = perf_counter()
            self._stepper.record_usual(self._padded_slots)
            self.graphs_s = perf_counter() - started_at

    def _drain_inbox(self, block: bool) -> None:
        if block:
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        for sequence in self.scheduler.schedule():
            self._start(sequence)
        if self.scheduler.running:
            started_at = perf_counter()
            self._stepper.step(self._batch_shape())
            stepped = self.scheduler.update()
            for sequence in stepped:
                self._emit(sequence)
            step_s = perf_counter() - started_at
            self._throughput.record_step(len(stepped), step_s)
            for sequence in stepped:
                sequence.compute_s += step_s / len(stepped)
                sequence.first_step_s = sequence.first_step_s or step_s
        self._progress.report()
        self._publish_stats()

    def _batch_shape(self) -> BatchShape:
        tokens = max(
            1, *(len(sequence.prompt_tokens) for sequence in self.scheduler.running.values())
        )
        return BatchShape(
            slots=self.scheduler.slots_in_reach,
            length=bucket(self.scheduler.longest + 1),
            text_tokens=bucket(tokens),
            guided=self.config.pin_batch_shape or self.scheduler.guided,
            padded_slots=self._padded_slots,
        )

    def _add(self, sequence: Sequence) -> None:
        if self._stopping:
            sequence.sink(ReplicaFailed(_STOPPING))
        else:
            self.scheduler.add_request(sequence)
            self._throughput.record_request(sequence.request.duration_s)

    def _start(self, sequence: Sequence) -> None:
        """Put a sequence into its slot."""
        if sequence.text is None:
            raise RuntimeError(f"sequence {sequence.sequence_id} has no text")
        slot, text = self._slot(sequence), self.conditioner.project(sequence.text)
        self.model_runner.start(slot, text, sequence.seed, sequence.request.sampling)
        sequence.steps = self.model_runner.open_window(
            slot, sequence.known, sequence.window.num_frames
        )
        self._output.open(sequence)

    def _emit(self, sequence: Sequence) -> None:
        """Send the audio that this step completed, if a chunk is due; end the sequence after its last."""
        frames = self._output.due(sequence)
        if frames is None:
            return
        slot, start = self._slot(sequence), sequence.window.start
        if not self.model_runner.is_finite(slot):
            self._end(
                sequence,
                GenerationFailed("the model's output is not finite; try other sampling parameters"),
            )
            return
        self._output.send(
            sequence, self.model_runner.codes(slot, frames.start - start, frames.stop - start)
        )
        if sequence.finished:
            self._end(sequence)
        elif sequence.window_finished:
            self._slide(sequence)

    def _slide(self, sequence: Sequence) -> None:
        """On to the sequence's next window, which begins with the end of this one."""
        slot, last = self._slot(sequence), sequence.windows.pop(0)
        window = sequence.window
        known = self.model_runner.codes(slot, window.start - last.start, last.num_frames)
        sequence.steps = self.model_runner.open_window(slot, known, window.num_frames, window.start)

    def _end(self, sequence: Sequence, error: ServeAppError | None = None) -> None:
        """Take a sequence out, wherever it is; one that is not here any more has ended already."""
        if self.scheduler.abort_request(sequence.sequence_id) is None:
            return
        if sequence.slot is not None:
            self.model_runner.stop(sequence.slot)
            self._output.close(sequence)
        if error is not None:
            sequence.sink(error)

    def _end_all(self, error: ServeAppError) -> None:
        for sequence in self.scheduler.clear():
            sequence.sink(error)

    def _fail(self, error: Exception) -> None:
        """End the engine. Called from any thread."""
        self._inbox.put(lambda: self._stop(error))

    def _stop(self, failure: Exception | None = None) -> None:
        self._stopping, self._failure = True, self._failure or failure

    def _publish_stats(self) -> None:
        scheduler, rate = self.scheduler, self.checkpoint.frame_rate
        steps_per_s, frames_per_s = self._throughput.rates()
        self._stats_at = perf_counter()
        self._stats = EngineStats(
            slots=scheduler.max_slots,
            slots_used=len(scheduler.running),
            queued_requests=len(scheduler.waiting),
            queued_audio_s=sum(s.frames_left for s in scheduler.waiting.values()) / rate,
            running_audio_s=sum(s.frames_left for s in scheduler.running.values()) / rate,
            steps_total=self._throughput.steps_total,
            steps_per_s=steps_per_s,
            real_time_factor=frames_per_s / rate,
            step_s=self._throughput.step_s,
            mean_audio_s=self._throughput.mean_audio_s,
            codec_s=self._output.codec_s,
            text_encoder_s=self.conditioner.text_encoder_s,
            kv_cache_bytes=self.model_runner.kv_cache_bytes,
        )

    @staticmethod
    def _slot(sequence: Sequence) -> int:
        if sequence.slot is None:
            raise RuntimeError(f"sequence {sequence.sequence_id} has no slot")
        return sequence.slot
