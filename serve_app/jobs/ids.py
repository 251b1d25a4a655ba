"""Ids of jobs, files and messages: ULIDs in small letters."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32


class _Ids:
    """Monotonic ULIDs (github.com/ulid/spec): within a millisecond each id is above the last one."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self, milliseconds: int) -> int:
        with self._lock:
            if self._last >> 80 == milliseconds:
                self._last += 1 + secrets.randbits(64)
            else:
                self._last = milliseconds << 80 | secrets.randbits(80)
            return self._last


_ids = _Ids()


def new_id(at_s: float | None = None) -> str:
    """Draw an id of 26 characters: 10 of the time in milliseconds, 16 random (the ULID's form).

    Ids sort by the Unix time `at_s` (default: now, by this machine's clock), to the millisecond;
    those that a process draws one after the other for a millisecond sort in this order.
    """
    number = _ids.next(time.time_ns() // 1_000_000 if at_s is None else int(at_s * 1000))
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_id(text: str) -> bool:
    """Whether the text has the form of an id."""
    return len(text) == 26 and set(text) <= set(_ALPHABET)
