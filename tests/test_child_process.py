"""Child processes end with their parent."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from serve_app.child_process import start_child

PARENT = """
import signal, sys
from serve_app.child_process import start_child
child = start_child(["sleep", "600"], signal.SIGTERM)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_is_signalled_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_options_reach_the_child(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """Other systems than Linux have no such signal: there a child outlives a killed parent."""
    monkeypatch.setattr(sys, "platform", platform)
    child = start_child(["cat"], signal.SIGTERM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, _ = child.communicate("a", timeout=60)
    assert output == "a"
