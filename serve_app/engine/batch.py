"""The batch: the running sequences' slots on the device, from the prompt to the codes."""

from collections.abc import Iterable, Iterator
from time import perf_counter

from torch import Tensor

from serve_app.config.app import EngineConfig
from serve_app.engine.bucket import bucket
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.cuda_streams import Handover
from serve_app.engine.drawing import select_draw
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.sequence import Sequence
from serve_app.engine.slices import run_slice
from serve_app.engine.step_graphs import CudaStepper
from serve_app.models.musicgen.conditioning import Conditions
from serve_app.models.musicgen.execution import ExecutionBackend
from serve_app.models.musicgen.model import MusicGen

_UNITS = 64  # of a prefill, where no sequence waits for its next step


class Batch:
    """Slots for `slots` sequences with windows of up to `window_frames` frames.

    Used by one thread.
    """

    def __init__(
        self,
        model: MusicGen,
        backend: ExecutionBackend,
        config: EngineConfig,
        conditioner: Conditioner,
        slots: int,
        window_frames: int,
    ) -> None:
        draw = select_draw(config.kernels, slots, model.embedding.weight.device)
        tokens = conditioner.max_tokens
        self.runner = ModelRunner(model, backend, slots, window_frames, tokens, draw)
        self._conditioner = conditioner
        self._always_guided = config.pin_batch_shape
        padded = config.pin_batch_shape and not backend.batch_invariant
        self._padded_slots = slots if padded else 0
        self._stepper: ModelRunner | CudaStepper = self.runner
        if self.runner.device.type == "cuda":
            self._stepper = CudaStepper(
                self.runner.step, slots, self.runner.max_length, config.max_graphs
            )

    @property
    def eager_steps_total(self) -> int:
        """Steps that ran without a CUDA graph on a GPU."""
        return self._stepper.eager_steps_total if isinstance(self._stepper, CudaStepper) else 0

    def warm_up(self) -> Iterator[None]:
        """Capture the CUDA graphs of the usual batches, one at a time, before the first sequence.

        On a CPU, run a step: it loads the kernels, and would pass for the pace of a track.
        """
        self.runner.compute_template()
        yield
        text_tokens = min(bucket(1), self.runner.max_text_tokens)
        shapes = [BatchShape(1, bucket(1), text_tokens)]
        if isinstance(self._stepper, CudaStepper):
            shapes = self._stepper.usual_within_limit(text_tokens, self._padded_slots)
        for shape in shapes:
            self._stepper.step(shape)
            yield

    def start(self, sequence: Sequence) -> None:
        """Condition the sequence's slot and open its first window."""
        if sequence.text is None:
            raise RuntimeError(f"sequence {sequence.sequence_id} has no encoded prompt")
        started_at = perf_counter()
        slot = slot_of(sequence)
        conditions = self._conditions(sequence.text, sequence.melody)
        self.runner.start(slot, conditions, sequence.request.sampling)
        sequence.prefix_positions = conditions.prefix_positions
        self._open(sequence, sequence.prefix_codes)
        sequence.compute_s += perf_counter() - started_at

    def prefill(self, sequence: Sequence, budget_s: float | None) -> None:
        """Do part of what precedes the sequence's next step, for about `budget_s` seconds.

        None: without a limit of time, but not all at once, so that a request can be cancelled.
        """
        started_at = perf_counter()
        slot = slot_of(sequence)

        def run_unit() -> int:
            sequence.prefill_units = self.runner.prefill(slot, 1)
            return sequence.prefill_units

        if budget_s is None:
            sequence.prefill_units = self.runner.prefill(slot, _UNITS)
        else:
            run_slice(run_unit, budget_s, self.runner.clock)
        sequence.compute_s += perf_counter() - started_at

    def step(self, slots: int, sequences: Iterable[Sequence]) -> None:
        """Advance the running sequences, all within the first `slots` slots, by one step."""
        self._stepper.step(self._shape(slots, list(sequences)))

    def codes(self, sequence: Sequence, frames: range) -> Tensor | None:
        """Return the codes [K, n] of the track's frames; None after NaN or Inf.

        Waits for the device.
        """
        slot = slot_of(sequence)
        if not self.runner.is_finite(slot):
            return None
        start = sequence.window.start
        return self.runner.codes(slot, frames.start - start, frames.stop - start)

    def slide(self, sequence: Sequence) -> None:
        """Open the sequence's next window, which begins with the end of the present one."""
        started_at = perf_counter()
        slot = slot_of(sequence)
        last = sequence.window
        changed = sequence.slide()
        start = sequence.window.start - last.start
        prefix_codes = self.runner.codes(slot, start, last.num_frames)
        if changed and sequence.text is not None:
            conditions = self._conditions(sequence.text, sequence.melody)
            self.runner.set_conditions(slot, conditions)
        self._open(sequence, prefix_codes)
        sequence.compute_s += perf_counter() - started_at

    def stop(self, sequence: Sequence) -> None:
        """Deactivate the sequence's slot."""
        self.runner.stop(slot_of(sequence))

    def _conditions(self, text: Handover, melody: Tensor | None) -> Conditions:
        return self._conditioner.condition(text, melody, self.runner.model)

    def _open(self, sequence: Sequence, prefix_codes: Tensor) -> None:
        """Open the sequence's present window."""
        slot = slot_of(sequence)
        window = sequence.window
        sequence.steps = self.runner.open_window(
            slot, prefix_codes, window.num_frames, window.start
        )
        sequence.prefill_units = self.runner.prefill(slot, 0)

    def _shape(self, slots: int, sequences: list[Sequence]) -> BatchShape:
        positions = max(sequence.positions for sequence in sequences)
        tokens = max(1, *(len(sequence.prompt_tokens) for sequence in sequences))
        guided = any(sequence.request.sampling.cfg_coef != 1 for sequence in sequences)
        return BatchShape(
            slots=slots,
            length=bucket(positions + 1),
            text_tokens=min(bucket(tokens), self.runner.max_text_tokens),
            guided=self._always_guided or guided,
            padded_slots=self._padded_slots,
        )


def slot_of(sequence: Sequence) -> int:
    """Return the sequence's slot. Raises RuntimeError if it has none."""
    if sequence.slot is None:
        raise RuntimeError(f"sequence {sequence.sequence_id} has no slot")
    return sequence.slot
