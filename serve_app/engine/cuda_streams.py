"""One CUDA stream per thread, so that their kernels overlap. No effect on a CPU."""

import torch
from torch import Tensor


def use_own_stream(device: torch.device) -> None:
    """Give the calling thread its own stream. Waits for work begun on other streams."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


class Handover:
    """A tensor handed from the calling thread's stream to that of the thread that calls `take`."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._ready = (
            torch.cuda.current_stream(tensor.device).record_event() if tensor.is_cuda else None
        )

    def take(self) -> Tensor:
        """Return the tensor, and let the calling thread's stream wait for it."""
        if self._ready is not None:
            stream = torch.cuda.current_stream(self._tensor.device)
            stream.wait_event(self._ready)
            self._tensor.record_stream(stream)
        return self._tensor
