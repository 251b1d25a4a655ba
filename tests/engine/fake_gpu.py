"""Tensors of a GPU without a GPU: PyTorch's FakeTensorMode computes devices and shapes, no values.

An operation on tensors of two devices, or one that needs a value of the GPU, raises an error.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.models.t5 import TextEncoder

M = TypeVar("M", bound=nn.Module)


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    with FakeTensorMode(), torch.inference_mode():
        yield


def moved(module: M, device: str = "cuda") -> M:
    """A copy of the module whose weights are fake ones, on the fake GPU."""
    weights = {
        id(weight): nn.Parameter(_fake(weight, device), False) for weight in module.parameters()
    }
    buffers = {id(buffer): _fake(buffer, device) for buffer in module.buffers()}
    return copy.deepcopy(module, {**weights, **buffers})


def moved_checkpoint(checkpoint: Checkpoint, text_device: str = "cuda") -> Checkpoint:
    """The checkpoint on the fake GPU; the text encoder on `text_device`."""
    encoder = checkpoint.text_encoder
    t5 = moved(encoder.t5, text_device)
    return replace(
        checkpoint,
        musicgen=moved(checkpoint.musicgen),
        codec=moved(checkpoint.codec),
        text_encoder=TextEncoder(t5, encoder.tokenizer, encoder.hidden_size),
    )


def without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace CUDA's streams and events, which exist on a real GPU only."""
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: _Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: _Stream())
    monkeypatch.setattr(torch.cuda, "set_stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(Tensor, "record_stream", lambda *_: None)


class _Stream:
    def record_event(self) -> None:
        pass

    def wait_event(self, _: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


def _fake(tensor: Tensor, device: str) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the copies between the CPU and the GPU, and the values that the CPU reads.

    waiting: those for which the CPU waits; launched: the others.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waiting: list[str] = []
        self.launched: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, _: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        if name == "_local_scalar_dense" and args[0].is_cuda:
            self.waiting.append(name)
        result = operation(*args, **kwargs)
        if name in ("to", "_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            blocking = not (kwargs.get("non_blocking") or (name == "copy_" and True in args[2:]))
            self._record(source, result, blocking)
        return result

    def _record(self, source: Tensor, result: Tensor, blocking: bool) -> None:
        if source.is_cuda == result.is_cuda or not result.numel():
            return
        copies = self.waiting if blocking else self.launched
        copies.append(f"{tuple(result.shape)} from {source.device} to {result.device}")
