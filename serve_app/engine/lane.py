"""One checkpoint's lane in the engine: its batch, and the sequences that wait for it and run in it."""

from collections.abc import Callable
from time import perf_counter

from torch import Tensor

from serve_app.engine.batch import Batch
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.pace import StreamPace, peak_positions
from serve_app.engine.progress_reporter import ProgressReporter
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import Throughput
from serve_app.errors import GenerationFailed, ServeAppError


class Lane:
    """A batch and its scheduler. Called by the engine's thread alone.

    Lanes of one engine take turns, one step each. Their checkpoints have one shape, so that they
    share the output and the throughput.

    keep_pace: see EngineConfig; rest_s: returns the seconds that the other lanes' steps take, which
    come between two of this one; decoding: returns whether any lane has sequences to decode.
    """

    def __init__(
        self,
        batch: Batch,
        output: OutputProcessor,
        throughput: Throughput,
        frame_rate: float,
        keep_pace: bool = False,
        rest_s: Callable[[], float] = lambda: 0.0,
        decoding: Callable[[], bool] = lambda: False,
    ) -> None:
        self.batch = batch
        self._output = output
        self._throughput = throughput
        self._decoding = decoding
        self._rest_s = rest_s
        pace = StreamPace(self._expected_s, frame_rate)
        slots = batch.runner.max_slots
        self.scheduler = Scheduler(slots, pace.allows) if keep_pace else Scheduler(slots)
        self._progress = ProgressReporter(
            self.scheduler, throughput, frame_rate, lambda: output.final_s
        )

    @property
    def step_s(self) -> float:
        """Predicted seconds of a step with the longest contexts to come; 0 without sequences."""
        if not self.scheduler.running:
            return 0.0
        running = self.scheduler.running.values()
        return self._throughput.expected_s(len(running), peak_positions(running)) or 0.0

    def step(self) -> None:
        """Start sequences that are next, prefill one for a moment, and advance the others."""
        for sequence in self.scheduler.schedule():
            self.batch.start(sequence)
            self._output.open(sequence)
        if (filling := self.scheduler.filling) is not None:
            self._prefill(filling)
        if self.scheduler.decoding:
            self._decode()
        self._progress.report()

    def end(
        self, sequence: Sequence, error: ServeAppError | None = None, *, is_stopping: bool = False
    ) -> None:
        """Remove a sequence, waiting or running. Has no effect on one that has ended.

        is_stopping: leave the device alone, which may have failed.
        """
        if self.scheduler.abort_request(sequence.sequence_id) is None:
            return
        if sequence.slot is not None and not is_stopping:
            self.batch.stop(sequence)
            self._output.close(sequence)
        if error is not None:
            sequence.sink(error)

    def _expected_s(self, sequences: int, positions: int) -> float | None:
        """Predict the seconds from step to step of so many, among the steps of the other lanes."""
        own_s = self._throughput.expected_s(sequences, positions)
        return None if own_s is None else own_s + self._rest_s()

    def _prefill(self, sequence: Sequence) -> None:
        """Fill a sequence's cache for as long as a step takes, while others wait for their steps."""
        units = sequence.prefill_units
        started_at = perf_counter()
        self.batch.prefill(sequence, self._throughput.step_s if self._decoding() else None)
        elapsed_s = perf_counter() - started_at
        self._throughput.record_prefill(units - sequence.prefill_units, elapsed_s)

    def _decode(self) -> None:
        started_at = perf_counter()
        self.batch.step(self.scheduler.slots_in_reach, self.scheduler.running.values())
        stepped = self.scheduler.update()
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

    def _emit(self, sequence: Sequence, codes: Tensor | None) -> None:
        """Send codes that are due, then end the sequence or slide its window.

        codes: None for output that is not finite, which ends the sequence.
        """
        if codes is None:
            reason = "the model's output is not finite; try other sampling parameters"
            self.end(sequence, GenerationFailed(reason))
            return
        self._output.send(sequence, codes)
        if sequence.finished:
            self.end(sequence)
        elif sequence.window_finished:
            self.batch.slide(sequence)
