"""A process that stands still ends itself, and says where it stood. tests/cluster/test_hung.py has replicas."""

import subprocess
import sys

import pytest

LIMIT_S = 4.0  # a busy machine is slow
PROGRAM = """
import asyncio, ctypes, time
from serve_app.deployments import hang_guard

hang_guard.LIMIT_S = {limit_s}


async def main():
    guarding = asyncio.ensure_future(hang_guard.HangGuard({works}).run())
    await asyncio.sleep(0.1)
    {then}
    guarding.cancel()
    await asyncio.wait([guarding])

asyncio.run(main())
{after}
print("ended in order")
"""
FOR_LONG = "await asyncio.sleep(1.5 * hang_guard.LIMIT_S)"


def run(then: str, works: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(then=then, works=works, after=after, limit_s=LIMIT_S)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("then", "works"),
    [
        ("time.sleep(1000)", ""),
        ("ctypes.PyDLL(None).pause()", ""),
        (FOR_LONG, "lambda: False"),
    ],
    ids=["a busy event loop", "a lock that is never released", "work that stands still"],
)
def test_a_process_that_stands_still_ends(then: str, works: str) -> None:
    ended = run(then, works)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Timeout" in ended.stderr
    assert "in main" in ended.stderr or "in select" in ended.stderr


def test_a_process_that_works_goes_on() -> None:
    ended = run(FOR_LONG, after="time.sleep(1.2 * hang_guard.LIMIT_S)  # nobody watches any more")
    assert (ended.returncode, ended.stdout) == (0, "ended in order\n"), ended.stderr
