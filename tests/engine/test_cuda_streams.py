"""CUDA streams: the order of the calls on a GPU, and no call on a CPU."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from serve_app.engine.cuda_streams import Handover, use_own_stream


class RecordingStream:
    """In place of a CUDA stream: records the calls."""

    def __init__(self, calls: list[tuple[str, object]], name: str) -> None:
        self._calls = calls
        self._name = name

    def record_event(self) -> str:
        self._calls.append((f"{self._name} records", None))
        return f"event of {self._name}"

    def wait_event(self, event: str) -> None:
        self._calls.append((f"{self._name} waits", event))


class GpuTensor:
    """In place of a tensor on a GPU: records the streams that use its memory."""

    is_cuda = True
    device = torch.device("cuda", 0)

    def __init__(self) -> None:
        self.used_by: list[object] = []

    def record_stream(self, stream: object) -> None:
        self.used_by.append(stream)


def forbid(*_: Any) -> None:
    raise AssertionError("a CPU has no CUDA streams")


def test_a_cpu_tensor_is_handed_over_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("synchronize", "set_stream", "current_stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, forbid)
    use_own_stream(torch.device("cpu"))
    tensor = torch.randn(3)
    assert Handover(tensor).take() is tensor


def test_a_gpu_thread_waits_for_other_streams_before_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(("wait", device)))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream on {device}")
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: calls.append(("set", stream)))
    device = torch.device("cuda", 1)
    use_own_stream(device)
    assert calls == [("wait", device), ("set", "stream on cuda:1")]


def test_a_gpu_tensor_is_taken_after_the_work_that_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, object]] = []
    giver = RecordingStream(calls, "giver")
    taker = RecordingStream(calls, "taker")
    tensor = GpuTensor()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: giver)
    handover = Handover(cast(Tensor, tensor))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: taker)
    assert cast(object, handover.take()) is tensor
    assert calls == [("giver records", None), ("taker waits", "event of giver")]
    assert tensor.used_by == [taker], "the allocator keeps the memory until the taker is done"
