"""The doctor finds what is missing on a machine and says what to do."""

import builtins
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from typing import Any

import psutil
import pytest

from serve_app import doctor
from serve_app.doctor import Finding, examine
from serve_app.machine import free_port


def findings(port: int) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(port)}


def test_every_subject_is_examined_in_the_order_of_a_start() -> None:
    found = findings(free_port())
    subjects = ["Python", "packages", "memory", "disk", "GPU", "port", "audio", "models"]
    assert list(found) == subjects
    assert all(finding.good or finding.advice for finding in found.values())
    assert found["Python"].good
    assert found["packages"].good
    assert found["port"].good
    assert found["audio"].good


def test_an_old_python_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    found = findings(free_port())["Python"]
    assert not found.good
    assert found.state == "3.9.1"
    assert "3.11 or 3.12" in found.advice


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "torch":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)
    found = findings(free_port())["packages"]
    assert not found.good
    assert "torch 1.0" not in found.state
    assert found.advice.startswith("Install torch")


def test_short_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(2**30))
    found = findings(free_port())["memory"]
    assert not found.good
    assert found.state == "1.0 GiB free"
    assert "Close other programs" in found.advice


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30))
    found = findings(free_port())["disk"]
    assert not found.good
    assert found.state.startswith("1 GiB free at ")
    assert "HF_HOME" in found.advice


def test_a_machine_without_a_gpu_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    found = findings(free_port())["GPU"]
    assert found.good
    assert found.state.startswith("none")


@pytest.mark.parametrize(
    ("status", "output", "state"),
    [(0, "NVIDIA L4, 23034 MiB, 0 MiB\n", "NVIDIA L4, 23034 MiB, 0 MiB"), (9, "", "nvidia-smi")],
)
def test_a_gpu_and_its_driver_are_examined(
    monkeypatch: pytest.MonkeyPatch, status: int, output: str, state: str
) -> None:
    run = subprocess.CompletedProcess[str]([], status, output, "")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: run)
    found = findings(free_port())["GPU"]
    assert found.good == (status == 0)
    assert state in found.state


def test_a_taken_port_is_found() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = findings(port)["port"]
    assert not found.good
    assert found.state == f"{port} is taken"
    assert "--port" in found.advice


def test_a_broken_pyav_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def broken(name: str, *arguments: Any) -> Any:
        if name == "av":
            raise ImportError("libavcodec.so is missing")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", broken)
    found = findings(free_port())["audio"]
    assert not found.good
    assert "libavcodec.so is missing" in found.state
    assert "av" in found.advice


def test_missing_encoders_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ENCODERS", ("flac", "libunheardof"))
    found = findings(free_port())["audio"]
    assert not found.good
    assert "libunheardof" in found.state
    assert "PyAV" in found.advice


def test_the_encoders_are_those_of_the_formats() -> None:
    assert doctor.ENCODERS == ["flac", "libmp3lame", "libopus"]
