"""Progress of a launch: lines for a terminal and for a log."""

import sys

import pytest

from serve_app.launch.progress import ProgressLine, replica_counts

STATES = ((0.0, "starting Ray"), (0.5, "starting Ray"), (9.0, "RUNNING"))


def show(states: tuple[tuple[float, str], ...]) -> None:
    progress = ProgressLine()
    for elapsed_s, state in states:
        progress(elapsed_s, state)


def test_a_log_gets_a_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    show(STATES)
    assert capsys.readouterr().out == "   0 s  starting Ray\n   9 s  RUNNING\n"


def test_a_terminal_gets_one_rewritten_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(STATES[1:])
    assert capsys.readouterr().out == "\r\033[K   0 s  starting Ray\r\033[K   9 s  RUNNING\n"


def test_a_failed_launch_leaves_the_terminals_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = ProgressLine()
    progress(1.0, "DEPLOYING")
    progress.end()
    assert capsys.readouterr().out == "   1 s  DEPLOYING\n", "a log has whole lines"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ProgressLine().end()
    assert capsys.readouterr().out == "", "nothing was shown"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    progress.end()
    assert capsys.readouterr().out == "\n"


def test_replicas_are_counted_by_deployment() -> None:
    replicas = [{"state": "RUNNING"}, {"state": "STARTING"}]
    deployments = {
        "MusicGen:nano": {"replicas": replicas, "target_num_replicas": 3},
        "Ingress": {"replicas": replicas[:1]},
    }
    assert replica_counts({"deployments": deployments}) == "MusicGen:nano 1/3, Ingress 1/1"
    assert replica_counts({}) == ""
