"""Precisions that the decode benchmark takes by default: those of a CPU and of a GPU."""

import sys

import pytest
import torch

from benchmarks import decode
from serve_app.engine.device import loading_dtype


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_defaults_are_precisions_that_the_device_has(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["decode", "--device", device])
    arguments = decode._arguments()
    assert list(arguments.precision) == ["fp32", "fp16", "int8"]
    for precision in arguments.precision:
        assert decode.BYTES[precision]
        assert loading_dtype(precision, torch.device(device)).is_floating_point
