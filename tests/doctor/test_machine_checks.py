"""Python, packages, encoders, memory and disk: what is missing is found, with a remedy."""

import builtins
import shutil
import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from typing import Any

import psutil
import pytest

from serve_app.config.app import AppConfig
from serve_app.doctor import Level, machine_checks
from serve_app.doctor.machine_checks import (
    check_disk,
    check_encoders,
    check_memory,
    check_packages,
    check_python,
)


def app(*sources: str) -> AppConfig:
    """A configuration of models with these sources."""
    models = [
        {"model_loading_config": {"model_id": f"m{number}", "model_source": source}}
        for number, source in enumerate(sources)
    ]
    return AppConfig.model_validate({"models": models})


def test_this_machine_has_what_tests_need() -> None:
    for check in (check_python, check_packages, check_encoders):
        finding = check()
        assert (finding.level, finding.advice) == (Level.OK, "")


def test_an_old_python_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    found = check_python()
    assert not found.good
    assert found.state == "3.9.1"
    assert "3.11 or 3.12" in found.advice


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "torch":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(machine_checks, "version", version)
    found = check_packages()
    assert not found.good
    assert "torch 1.0" not in found.state
    assert found.advice.startswith("Install torch")


def test_short_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(2**30))
    found = check_memory()
    assert not found.good
    assert found.state == "1.0 GiB free"
    assert "Close other programs" in found.advice


@pytest.mark.parametrize(
    ("free_gib", "sources", "level"),
    [
        (0.5, ["embedded:musicgen-nano"], Level.PROBLEM),
        (2, ["embedded:musicgen-nano"], Level.NOTE),
        (9, ["embedded:musicgen-nano"], Level.OK),
        (9, ["facebook/musicgen-small"], Level.OK),
        (9, ["facebook/musicgen-small", "facebook/musicgen-large"], Level.PROBLEM),
    ],
)
def test_the_disk_is_compared_with_the_downloads(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, sources: list[str], level: Level
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free_gib * 2**30))
    found = check_disk(app(*sources))
    assert found.level is level
    assert " GiB free at " in found.state
    assert ("HF_HOME" in found.advice) is (level is Level.PROBLEM)


def test_a_broken_pyav_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def broken(name: str, *arguments: Any) -> Any:
        if name == "av":
            raise ImportError("libavcodec.so is missing")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", broken)
    found = check_encoders()
    assert not found.good
    assert "libavcodec.so is missing" in found.state
    assert "av" in found.advice


def test_missing_encoders_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "ENCODERS", ("flac", "libunheardof"))
    found = check_encoders()
    assert not found.good
    assert "libunheardof" in found.state
    assert "PyAV" in found.advice


def test_the_encoders_are_those_of_the_formats() -> None:
    assert machine_checks.ENCODERS == ["flac", "libmp3lame", "libopus"]
