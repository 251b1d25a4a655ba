"""Device, precision and threads: the choices of `auto`; options and failures of a GPU."""

from collections.abc import Iterator

import pytest
import torch

from serve_app.config.app import EngineConfig
from serve_app.engine.device import (
    available_threads,
    configure_device,
    is_device_failure,
    loading_dtype,
    resolve_device,
    resolve_precision,
)

CPU = torch.device("cpu")
GPU = torch.device("cuda")


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


def options() -> dict[str, bool]:
    """PyTorch's options of a GPU. They can be read and set without one."""
    return {
        "cudnn_sdp": torch.backends.cuda.cudnn_sdp_enabled(),  # type: ignore[no-untyped-call]
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "deterministic": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
    }


def set_options(
    cudnn_sdp: bool, matmul_tf32: bool, cudnn_tf32: bool, deterministic: bool, benchmark: bool
) -> None:
    torch.backends.cuda.enable_cudnn_sdp(cudnn_sdp)
    torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = benchmark


@pytest.fixture
def restored_options() -> Iterator[None]:
    before = options()
    set_options(True, True, True, False, True)
    yield
    set_options(**before)


@pytest.mark.usefixtures("restored_options")
def test_a_gpu_computes_the_same_in_every_batch_and_each_time() -> None:
    configure_device(CPU)
    assert options()["cudnn_sdp"], "no effect on a CPU"
    configure_device(GPU)
    assert options() == {
        "cudnn_sdp": False,
        "matmul_tf32": False,
        "cudnn_tf32": False,
        "deterministic": True,
        "benchmark": False,
    }


class Stream:
    """In place of a CUDA stream: its work has failed, or not."""

    def __init__(self, failed: bool) -> None:
        self._failed = failed

    def synchronize(self) -> None:
        if self._failed:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("error", "failed", "expected"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("Triton Error [CUDA]: device-side assert triggered"), False, True),
        (torch.AcceleratorError("CUDA error: out of memory"), False, True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("a prompt of 0 samples"), False, False),
        (ValueError("found only because the device fails"), True, True),
    ],
)
def test_a_failure_of_the_device_is_told_from_others(
    error: Exception, failed: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream(failed))
    assert is_device_failure(error, GPU) is expected


def test_a_cpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream(failed=True))
    assert not is_device_failure(RuntimeError("shapes"), CPU)
