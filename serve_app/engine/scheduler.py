"""Scheduling of sequences to slots: bookkeeping without tensors."""

import heapq
from collections.abc import Callable
from time import perf_counter

from serve_app.engine.sequence import Sequence

_SMOOTHING = 0.05  # EMA weight of the newest step


class Scheduler:
    """Assigns the lowest free slot, first come, first served.

    Interactive requests come before background ones, which leave the last free slot to them where
    there are several slots. A background request that has waited its `patience_s` counts as an
    interactive one: it waits at most that long, and then for those that arrived before it.

    A finished or aborted sequence leaves at once. While sequences wait for another reason than a
    slot, none overtakes them.

    allows: returns whether the last sequence of a batch may join the others.
    admitted_slots: slots that are filled while more sequences wait than there is room for: all of
    them, or an exponential moving average of those in use while `allows` holds a sequence back.
    """

    def __init__(
        self, max_slots: int, allows: Callable[[list[Sequence]], bool] = lambda _: True
    ) -> None:
        self._allows = allows
        self.max_slots = max_slots
        self.admitted_slots = float(max_slots)
        self.waiting: dict[int, Sequence] = {}
        self.running: dict[int, Sequence] = {}
        self._free_slots = list(range(max_slots))

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def in_order(self) -> list[Sequence]:
        """The waiting sequences in the order in which they get slots, as far as is known now."""
        now = perf_counter()
        return sorted(self.waiting.values(), key=lambda sequence: sequence.yields(now))

    @property
    def background_requests(self) -> int:
        """Background requests, waiting and running."""
        held = (*self.waiting.values(), *self.running.values())
        return sum(sequence.request.background for sequence in held)

    @property
    def decoding(self) -> list[Sequence]:
        """The running sequences that take part in the next step."""
        return [sequence for sequence in self.running.values() if not sequence.prefill_units]

    @property
    def filling(self) -> Sequence | None:
        """The running sequence to prefill next: one whose track has begun goes before new ones."""
        waiting = [sequence for sequence in self.running.values() if sequence.prefill_units]
        return min(waiting, key=lambda sequence: sequence.window.start == 0, default=None)

    @property
    def slots_in_reach(self) -> int:
        """Slots of the batch that covers all decoding sequences, up to the highest of their slots."""
        return 1 + max((s.slot for s in self.decoding if s.slot is not None), default=-1)

    @property
    def slots_in_force(self) -> int:
        """Slots that are filled at a time: fewer than there are, while sequences wait beside free ones."""
        return len(self.running) or self.max_slots if self.waiting else self.max_slots

    def add_request(self, sequence: Sequence) -> None:
        self.waiting[sequence.sequence_id] = sequence

    def abort_request(self, sequence_id: int) -> Sequence | None:
        """Remove a sequence, waiting or running, and return it; None if it has ended already."""
        if (sequence := self.waiting.pop(sequence_id, None)) is not None:
            return sequence
        return self.finish(sequence_id)

    def schedule(self) -> list[Sequence]:
        """Assign free slots to the sequences that are next, and return them."""
        started = []
        while self._free_slots and (sequence := self._next()) is not None:
            if self.running and not self._allows([*self.running.values(), sequence]):
                self.admitted_slots += _SMOOTHING * (len(self.running) - self.admitted_slots)
                break
            self._start(sequence)
            started.append(sequence)
        self.admitted_slots = max(self.admitted_slots, len(self.running))
        return started

    def _next(self) -> Sequence | None:
        """Find the sequence that gets a slot next; None: those that wait leave the last slot free."""
        if not self.waiting:
            return None
        now = perf_counter()
        sequence = min(self.waiting.values(), key=lambda one: one.yields(now))
        is_last_slot = len(self._free_slots) == 1 < self.max_slots
        return None if is_last_slot and sequence.yields(now) else sequence

    def _start(self, sequence: Sequence) -> None:
        """Give a waiting sequence the lowest free slot."""
        del self.waiting[sequence.sequence_id]
        sequence.slot = heapq.heappop(self._free_slots)
        sequence.started_at = perf_counter()
        self.running[sequence.sequence_id] = sequence

    def update(self) -> list[Sequence]:
        """Count one step of every decoding sequence, and return them."""
        sequences = self.decoding
        for sequence in sequences:
            sequence.steps += 1
        return sequences

    def finish(self, sequence_id: int) -> Sequence | None:
        """Remove a running sequence, free its slot, and return it; None if it does not run."""
        sequence = self.running.pop(sequence_id, None)
        if sequence is not None and sequence.slot is not None:
            heapq.heappush(self._free_slots, sequence.slot)
        return sequence

    def clear(self) -> list[Sequence]:
        """Remove all sequences, and return them."""
        sequences = [*self.running.values(), *self.waiting.values()]
        for sequence in sequences:
            self.abort_request(sequence.sequence_id)
        return sequences
