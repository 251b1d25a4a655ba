"""Who waits, who runs, and in which slot: bookkeeping without tensors."""

import heapq
from time import perf_counter

from serve_app.engine.sequence import Sequence


class Scheduler:
    """First come, first served, into the lowest free slot. A finished or aborted sequence leaves at once."""

    def __init__(self, max_slots: int) -> None:
        self.max_slots = max_slots
        self.waiting: dict[int, Sequence] = {}
        self.running: dict[int, Sequence] = {}
        self._free_slots = list(range(max_slots))

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def slots_in_reach(self) -> int:
        """Slots from the first up to the highest that is used: the batch that covers all running sequences."""
        return 1 + max((s.slot for s in self.running.values() if s.slot is not None), default=-1)

    @property
    def longest(self) -> int:
        """The most steps that a running sequence has behind it in its window."""
        return max((sequence.steps for sequence in self.running.values()), default=0)

    @property
    def guided(self) -> bool:
        """Whether any running sequence asks for guidance."""
        return any(sequence.request.sampling.cfg_coef != 1 for sequence in self.running.values())

    def add_request(self, sequence: Sequence) -> None:
        self.waiting[sequence.sequence_id] = sequence

    def abort_request(self, sequence_id: int) -> Sequence | None:
        """Forget a sequence wherever it is. None when it is not here (any more)."""
        if (sequence := self.waiting.pop(sequence_id, None)) is not None:
            return sequence
        return self.finish(sequence_id)

    def schedule(self) -> list[Sequence]:
        """Give free slots to the sequences that have waited longest; returns those that start."""
        started = []
        while self._free_slots and self.waiting:
            sequence = self.waiting.pop(next(iter(self.waiting)))
            sequence.slot = heapq.heappop(self._free_slots)
            sequence.started_at = perf_counter()
            self.running[sequence.sequence_id] = sequence
            started.append(sequence)
        return started

    def update(self) -> list[Sequence]:
        """Count one step of every running sequence; returns them."""
        sequences = list(self.running.values())
        for sequence in sequences:
            sequence.steps += 1
        return sequences

    def finish(self, sequence_id: int) -> Sequence | None:
        """Free a running sequence's slot. None when it does not run."""
        sequence = self.running.pop(sequence_id, None)
        if sequence is not None and sequence.slot is not None:
            heapq.heappush(self._free_slots, sequence.slot)
        return sequence

    def clear(self) -> list[Sequence]:
        """Forget all sequences; returns them."""
        sequences = [*self.running.values(), *self.waiting.values()]
        for sequence in sequences:
            self.abort_request(sequence.sequence_id)
        return sequences
