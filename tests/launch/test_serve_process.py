"""The process of `serve run`, with a script in its place. tests/test_start.py has the real one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve_app.launch import serve_process
from serve_app.launch.error import LaunchError
from serve_app.launch.ray_dashboard import RayDashboard
from serve_app.launch.serve_process import ServeProcess
from serve_app.ray_token import RayToken

Start = Callable[[str], ServeProcess]
DASHBOARD = "View the dashboard at \x1b[1m\x1b[32mhttp://127.0.0.1:8265 \x1b[39m"
PATIENCE_S = 60.0
RUNNING = {"status": "RUNNING", "deployments": {}}
FAILED = {"status": "DEPLOY_FAILED", "message": "No module named x", "deployments": {}}


def fake_serve(folder: Path, script: str) -> Path:
    """Write a command `serve` that runs a shell script, beside a Python that does not exist."""
    file = folder / "bin" / "serve"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file.with_name("python")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    started: list[ServeProcess] = []

    def start(script: str) -> ServeProcess:
        monkeypatch.setattr(sys, "executable", str(fake_serve(tmp_path, script)))
        started.append(ServeProcess({"applications": []}, RayToken("secret"), tmp_path))
        return started[-1]

    monkeypatch.setattr(serve_process, "POLL_S", 0.02)
    yield start
    for process in started:
        process.stop(0.1)


def fail(process: ServeProcess) -> str:
    with pytest.raises(LaunchError) as caught:
        process.wait_until_running(lambda *_: None)
    process.stop()
    assert process.processes() == []
    return str(caught.value)


def test_a_process_that_ends_with_a_traceback_is_told_by_its_error(start: Start) -> None:
    script = """printf 'Traceback (most recent call last):\\n  File "x", line 1, in y\\nValueError: no\\n'"""
    assert fail(start(script)) == "`serve run` has ended: ValueError: no"


def test_a_process_that_ends_otherwise_is_told_by_its_last_lines(start: Start) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; exit 3"
    message = fail(start(script))
    assert message.startswith("`serve run` has ended: line 2\n")
    assert message.endswith("\nline 9")


def test_it_waits_for_the_application(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, Any]] = [{}, {"status": "DEPLOYING"}, RUNNING]
    monkeypatch.setattr(RayDashboard, "application", lambda _: states.pop(0))
    monkeypatch.setattr(RayDashboard, "nodes", lambda _: [{"CPU": 2.0}])
    shown: list[str] = []
    process = start(f"printf '{DASHBOARD}\\n'; exec sleep 60")
    process.wait_until_running(lambda _, state: shown.append(state))
    assert process.dashboard_url == "http://127.0.0.1:8265"
    assert list(dict.fromkeys(shown)) == ["starting Ray", "DEPLOYING  importing it", "RUNNING"]
    assert not process.ended()
    process.stop(0.1)
    assert process.ended()


def test_a_failure_that_ray_reports_ends_the_wait(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayDashboard, "application", lambda _: FAILED)
    monkeypatch.setattr(RayDashboard, "nodes", lambda _: [])
    message = fail(start(f"printf '{DASHBOARD}\\n'; exec sleep 60"))
    assert message == "The application could not be built: No module named x"


def test_the_wait_has_an_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_process, "_START_TIMEOUT_S", 0.3)
    message = fail(start("echo slow; exec sleep 60"))
    assert message.startswith("Not RUNNING after 0 s.")


def test_a_process_that_ignores_ctrl_c_is_killed(start: Start) -> None:
    process = start("trap '' INT; echo ready; while :; do sleep 0.05; done")
    while "ready" not in process.log:
        assert not process.ended()
    process.stop(0.2)
    assert process.processes() == []


def test_a_descendant_that_ends_before_it_is_killed_is_no_error(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has outlived `serve run`, and its parent reaps it in the moment before its turn."""
    process = start("sh -c 'sleep 600; while :; do sleep 0.1; done' & wait")
    while len(started := process.processes()) < 3:
        assert not process.ended()
    ended: list[psutil.Process] = []

    def wait_and_end_one(
        processes: list[psutil.Process], timeout: float | None = None
    ) -> tuple[list[psutil.Process], list[psutil.Process]]:
        gone, alive = wait_procs(processes, timeout=timeout)
        if not ended:
            ended.extend(one for one in alive if one.name() == "sleep")
            for one in ended:
                one.kill()
            assert wait_procs(ended, timeout=PATIENCE_S) == (ended, [])
        return gone, alive

    wait_procs = psutil.wait_procs
    monkeypatch.setattr(psutil, "wait_procs", wait_and_end_one)
    process.stop(0.1)
    assert len(ended) == 1
    assert [one for one in started if one.is_running()] == []
