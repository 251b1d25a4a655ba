"""An HAProxy that ends is restarted, later each time, and given up in the end."""

import logging
from pathlib import Path

import pytest

from serve_app.edge import output_tail
from serve_app.edge import restarts as module
from serve_app.edge.edge import listen_on
from serve_app.edge.edge_error import EdgeEnded
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeProcess
from serve_app.edge.restarts import Restarts
from serve_app.machine import free_port
from tests.edge.conftest import LOOPBACK, PATIENCE_S

SCRIPT = """#!/bin/sh
case "$*" in *-c*|*-v*) exit 0;; esac
echo first words
echo 'last words' >&2
{ending}
"""


class FakeEdge(EdgeProcess):
    """An edge whose HAProxy ends when `is_over` is set."""

    def __init__(self) -> None:
        self.is_over = False
        self.restarts = 0

    def ended(self) -> bool:
        return self.is_over

    def ending(self) -> str:
        return "HAProxy has ended with status 7; its last output: none."

    def restart(self) -> None:
        self.is_over = False
        self.restarts += 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waited_s(edge: FakeEdge, restarts: Restarts, clock: Clock) -> float:
    """End the edge; return the seconds until it runs again."""
    edge.is_over = True
    ended_at = clock.now
    restarts.check()
    while edge.is_over:
        clock.now += 0.5
        restarts.check()
    return clock.now - ended_at


def test_each_restart_of_a_minute_is_later_than_the_one_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    edge = FakeEdge()
    clock = Clock()
    restarts = Restarts(edge, clock)
    with caplog.at_level(logging.WARNING, module.logger.name):
        assert [waited_s(edge, restarts, clock) for _ in range(5)] == [0, 1, 2, 4, 8]
    messages = [one.message for one in caplog.records if one.name == module.logger.name]
    assert len(messages) == 5
    assert messages[2].endswith("with status 7; its last output: none. It is restarted in 2 s.")
    edge.is_over = True
    with pytest.raises(EdgeEnded, match=r"status 7.* restarted 5 times within 60 s\. Check that"):
        restarts.check()


def test_a_restart_now_and_then_is_immediate_for_ever() -> None:
    edge = FakeEdge()
    clock = Clock()
    restarts = Restarts(edge, clock)
    for _ in range(20):
        assert waited_s(edge, restarts, clock) == 0
        clock.now += 61
        restarts.check()
    assert edge.restarts == 20


@pytest.mark.parametrize(
    ("ending", "how"), [("exit 3", "with status 3"), ("kill -SEGV $$", "by SIGSEGV")]
)
def test_the_end_is_told_with_its_status_and_its_output(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ending: str,
    how: str,
) -> None:
    program = tmp_path / "haproxy"
    program.write_text(SCRIPT.format(ending=ending))
    program.chmod(0o755)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(program))
    monkeypatch.setattr(output_tail, "_FLUSH_TIMEOUT_S", PATIENCE_S)
    with (
        listen_on(Address(LOOPBACK, free_port())) as listener,
        EdgeProcess(listener, lambda _: "global\n") as edge,
    ):
        words = "first words; last words"
        assert edge.ending() == f"HAProxy has ended {how}; its last output: {words}."
        assert edge.ended()
    assert "last words" in capfd.readouterr().err
