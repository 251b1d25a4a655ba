"""Progress of a launch on the terminal."""

import sys
from typing import Any


class ProgressLine:
    """Printer of progress: rewrites one line in a terminal, else prints each change of state."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, elapsed_s: float, state: str) -> None:
        """Show the state of the application after `elapsed_s` seconds."""
        line = f"{elapsed_s:4.0f} s  {state}"
        if sys.stdout.isatty():
            end = "\n" if state.startswith("RUNNING") else ""
            print(f"\r\033[K{line}", end=end, flush=True)
        elif state != self._shown:
            print(line, flush=True)
        self._shown = state

    def end(self) -> None:
        """Leave the line of a launch that failed, so that a message has a line of its own."""
        if sys.stdout.isatty() and self._shown and not self._shown.startswith("RUNNING"):
            print(flush=True)


def replica_counts(application: dict[str, Any]) -> str:
    """Format `running/target` replicas by deployment: `MusicGen:nano 0/1, Ingress 1/1`.

    application: its state as Ray's dashboard returns it.
    """
    parts: list[str] = []
    for name, deployment in application.get("deployments", {}).items():
        replicas = deployment.get("replicas", [])
        running = sum(replica.get("state") == "RUNNING" for replica in replicas)
        parts.append(f"{name} {running}/{deployment.get('target_num_replicas', len(replicas))}")
    return ", ".join(parts)
