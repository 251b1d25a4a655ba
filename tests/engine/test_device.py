"""Device, precision and threads: the choices of `auto`."""

import pytest
import torch

from serve_app.config.app import EngineConfig
from serve_app.engine.device import (
    available_threads,
    loading_dtype,
    resolve_device,
    resolve_precision,
)


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert resolve_device(EngineConfig()).type == device
    assert resolve_device(EngineConfig(device="cpu")).type == "cpu"


@pytest.mark.parametrize(
    ("precision", "device", "resolved"),
    [
        ("auto", "cuda", "fp16"),
        ("auto", "cpu", "fp32"),
        ("bf16", "cpu", "bf16"),
        ("fp32", "cuda", "fp32"),
    ],
)
def test_auto_precision_follows_the_device(precision: str, device: str, resolved: str) -> None:
    config = EngineConfig.model_validate({"precision": precision})
    assert resolve_precision(config, torch.device(device)) == resolved


@pytest.mark.parametrize(
    ("precision", "on_gpu"),
    [
        ("fp32", torch.float32),
        ("fp16", torch.float16),
        ("bf16", torch.bfloat16),
        ("int8", torch.float16),
    ],
)
def test_weights_are_loaded_in_the_dtype_from_which_they_are_narrowed(
    precision: str, on_gpu: torch.dtype
) -> None:
    assert loading_dtype(precision, torch.device("cuda")) == on_gpu
    assert loading_dtype(precision, torch.device("cpu")) == torch.float32


def test_threads_are_those_that_ray_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert available_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert available_threads() >= 1
