"""Output of a child process, passed on, of which the last lines are kept."""

import sys
import threading
from collections import deque
from typing import IO

_LINES = 5
_LINE_LENGTH = 500
_FLUSH_TIMEOUT_S = 1.0  # a grandchild may keep the stream open


class OutputTail:
    """Copy a stream to stderr in a thread of its own until the stream ends."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Join the last lines; call it when the process has ended."""
        self._thread.join(_FLUSH_TIMEOUT_S)
        return "; ".join(self._lines)

    def _copy(self) -> None:
        with self._stream:
            for line in self._stream:
                sys.stderr.write(line)
                if line.strip():
                    self._lines.append(line.strip()[:_LINE_LENGTH])
