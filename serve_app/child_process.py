"""Child processes that do not outlive their parent, even one that is killed."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)


def start_child(
    command: Sequence[str], signal_at_death: signal.Signals, **options: Any
) -> subprocess.Popen[str]:
    """Start `command`; on Linux it receives `signal_at_death` when this thread or process ends.

    options: of `subprocess.Popen`.
    """
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl  # looked up before the fork

        def signal_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, signal_at_death)

        options["preexec_fn"] = signal_with_parent
    return subprocess.Popen(command, text=True, **options)
