"""Drivers that are too old for PyTorch's CUDA are a problem, a missing compiler is a note."""

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from serve_app.config.app import AppConfig
from serve_app.doctor import Finding, Level, gpu_software
from serve_app.doctor.gpu_software import DRIVERS, check_gpu_software, pytorch_cuda

LOADING = {"model_id": "small", "model_source": "facebook/musicgen-small"}
GPU = {"ray_actor_options": {"num_gpus": 1}}


def install(monkeypatch: pytest.MonkeyPatch, driver: str, compiler: str | None = "gcc") -> None:
    """Put an nvidia-smi that answers `driver`, and one compiler, into the place of this machine's."""

    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, f"{driver}\n{driver}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == compiler else None)


def findings(**deployment: Any) -> list[Finding]:
    model = {"model_loading_config": LOADING, "deployment_config": deployment}
    return list(check_gpu_software(AppConfig.model_validate({"models": [model]})))


def test_the_driver_must_be_new_enough_for_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = DRIVERS[pytorch_cuda()]
    install(monkeypatch, f"{needed - 5}.1.2")
    [found] = findings(**GPU)
    assert found.level is Level.PROBLEM
    assert found.state == (
        f"NVIDIA's driver is {needed - 5}.1.2, and PyTorch is built for CUDA {pytorch_cuda()}"
    )
    assert found.advice.startswith(f"Install driver {needed} or later")
    assert findings() == [], "a model without a GPU needs no driver"
    install(monkeypatch, f"{needed}.95.05")
    assert findings(**GPU) == []


def test_a_missing_compiler_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "999.1", compiler=None)
    monkeypatch.delenv("CC", raising=False)
    [found] = findings(**GPU)
    assert (found.level, found.advice.partition("`")[2]) == (
        Level.NOTE,
        "apt install gcc libc6-dev` (Debian, Ubuntu).",
    )
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "clang" else None)
    assert findings(**GPU) == []


@pytest.mark.parametrize("answer", ["", "N/A", "Failed to initialize NVML"])
def test_a_driver_that_does_not_tell_is_left_to_the_cards_check(
    monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    install(monkeypatch, answer, compiler=None)
    assert findings(**GPU) == []


def test_without_nvidia_smi_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", run)
    assert findings(**GPU) == []


def test_another_build_of_pytorch_has_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(gpu_software, "version", missing)
    install(monkeypatch, "470.1")
    assert findings(**GPU) == []
