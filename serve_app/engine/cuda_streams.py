"""Streams of a GPU: what one thread does there goes beside what the others do. On a CPU there is nothing to do."""

import torch
from torch import Tensor


def use_own_stream(device: torch.device) -> None:
    """From here on this thread has a stream of its own. What was begun elsewhere before is done first."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


class Handover:
    """A tensor on its way from this thread's stream to that of the thread which takes it."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._ready = (
            torch.cuda.current_stream(tensor.device).record_event() if tensor.is_cuda else None
        )

    def take(self) -> Tensor:
        """The tensor, to be used once it is there."""
        if self._ready is not None:
            stream = torch.cuda.current_stream(self._tensor.device)
            stream.wait_event(self._ready)
            self._tensor.record_stream(stream)
        return self._tensor
